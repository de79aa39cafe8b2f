// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestDocumentedShell: the lines in the documentation make of a key the hash that the product makes.
func TestDocumentedShell(t *testing.T) {
	page, err := os.ReadFile("../../docs/spec/v1alpha1/apikey.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```bash\n(NAMESPACE=acme .*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("the page has no shell block that begins with NAMESPACE=acme")
	}
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		plaintext, err := format.Mint(rand.Reader, key.Live)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "my-key"), []byte(plaintext+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", string(block[1]))
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		want := "secretHash: " + key.DigestOf(plaintext).BoundTo(key.OwnerNamespace("acme")).String()
		if got := strings.TrimSpace(string(out)); got != want {
			t.Fatalf("the shell says %q, want %q", got, want)
		}
	}
}
