// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package authn

// preferHugePages does nothing: there is no such hint here.
func preferHugePages[T any]([]T) {}
