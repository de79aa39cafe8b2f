// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package key

import (
	"hash/crc32"
	"io"
	"unsafe"
)

const notADigit = 0xff

// digit maps a character to its base62 value.
var digit = func() (t [256]byte) {
	for i := range t {
		t[i] = notADigit
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	return t
}()

// FillBase62 fills dst with uniformly distributed characters of 0-9A-Za-z, each of 5.95 random bits. The error is
// random's. A byte of 248 or more is thrown away: taking it modulo 62 would favour the first eight characters.
func FillBase62(random io.Reader, dst []byte) error {
	const fair = 256 - 256%len(alphabet)
	var buf [48]byte
	for n := 0; n < len(dst); {
		if _, err := io.ReadFull(random, buf[:]); err != nil {
			return err
		}
		for _, b := range buf {
			if int(b) < fair && n < len(dst) {
				dst[n] = alphabet[int(b)%len(alphabet)]
				n++
			}
		}
	}
	clear(buf[:])
	return nil
}

// putChecksum writes the checksum of b's beginning into its last characters.
func putChecksum(b []byte) {
	sum := crc32.ChecksumIEEE(b[:len(b)-checksumLen])
	for i := len(b) - 1; i >= len(b)-checksumLen; i-- {
		b[i] = alphabet[sum%uint32(len(alphabet))]
		sum /= uint32(len(alphabet))
	}
}

// hasChecksum tells whether s ends with the checksum of its beginning. The caller has bounded its length.
func hasChecksum(s string) bool {
	var want uint64
	for _, c := range []byte(s[len(s)-checksumLen:]) {
		d := digit[c]
		if d == notADigit {
			return false
		}
		want = want*uint64(len(alphabet)) + uint64(d)
	}
	return uint64(crc32.ChecksumIEEE(bytesOf(s[:len(s)-checksumLen]))) == want
}

// bytesOf returns the bytes of s without a copy, for a reader that keeps none of them. A copy would escape to the heap:
// crc32 reads through a function variable.
func bytesOf(s string) []byte {
	return unsafe.Slice(unsafe.StringData(s), len(s)) //nolint:gosec // G103: only ever read
}
