// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package authn

func preferHugePages[T any]([]T) {}
