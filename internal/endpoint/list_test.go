// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
)

func FuzzParseCursor(f *testing.F) {
	f.Add(cursorOf(store.Position{At: time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC), ID: "id"}))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte("0000-01-01T00:00:00Z|x")))
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := parseCursor(s); ok && cursorOf(p) != s {
			t.Errorf("%q is read as %+v, which is written as %q", s, p, cursorOf(p))
		}
	})
}
