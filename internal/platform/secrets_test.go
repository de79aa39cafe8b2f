// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// TestSecretsAreNotShown by anything that writes values without being told what they are.
func TestSecretsAreNotShown(t *testing.T) {
	s := platform.Secrets{platform.SecretAccessToken: "hunter2"}
	within := platform.Connection{DisplayName: "alice", Secrets: s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+"\n", s, within)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "secrets", s, "within", within)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("JSON", "secrets", s, "within", within)
	fmt.Fprintln(&out, fmt.Errorf("with %v: %w", s, errors.New("some error")))
	if err := json.NewEncoder(&out).Encode([]any{s, within}); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") {
		t.Errorf("a secret is shown:\n%s", text)
	}
	if !strings.Contains(out.String(), "[1 secrets]") || !strings.Contains(out.String(), "alice") {
		t.Errorf("nothing is shown:\n%s", &out)
	}
}
