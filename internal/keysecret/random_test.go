// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keysecret_test

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/key"
)

// rand32 is the same stream in every run.
func rand32(seed uint64) io.Reader {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return rand.NewChaCha8(s)
}

func mint(t testing.TB, word string, env key.Environment) string {
	t.Helper()
	f, err := key.NewFormat(word)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Mint(rand32(20260802), env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
