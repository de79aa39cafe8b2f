// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// --version needs no other flag, and is answered like --help.
func TestVersion(t *testing.T) {
	var out strings.Builder
	_, err := parse([]string{"--version"}, noEnv, &out)
	if !errors.Is(err, pflag.ErrHelp) || !strings.HasPrefix(out.String(), "letmepost controller devel (go1.") || !strings.HasSuffix(out.String(), ")\n") {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
