// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// preferHugePages asks the kernel for huge pages (2 MiB) under a large array. Its elements are fetched at random, so
// with small pages nearly every fetch waits for its page's address to be fetched first: a fifth of a lookup among a
// million keys. It is a hint, which changes nothing but the time; that it can't be had, as where transparent huge pages
// are off, is no error.
func preferHugePages[T any](array []T) {
	const huge = 2 << 20
	start := unsafe.Pointer(unsafe.SliceData(array)) //nolint:gosec // G103: for the address only
	size := len(array) * int(unsafe.Sizeof(array[0]))
	skip := int(-uintptr(start) % huge)
	if aligned := (size - skip) / huge * huge; aligned > 0 {
		pages := unsafe.Slice((*byte)(unsafe.Add(start, skip)), aligned) //nolint:gosec // G103: for the address only
		_ = unix.Madvise(pages, unix.MADV_HUGEPAGE)
	}
}
