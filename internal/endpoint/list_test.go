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
	f.Add(CursorOf(store.Position{At: time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC), ID: "id"}))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte("0000-01-01T00:00:00Z|x")))
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := ParseCursor(s); ok && CursorOf(p) != s {
			t.Errorf("%q is read as %+v, which is written as %q", s, p, CursorOf(p))
		}
	})
}

// TestPagesThatStopEarly: who pages goes on from where the page has ended, which may be after its last item, or without
// any.
func TestPagesThatStopEarly(t *testing.T) {
	end := store.Position{At: time.UnixMicro(7).UTC(), ID: "looked-at"}
	l := Listed[store.Position, string]{
		Position: func(p store.Position) store.Position { return p },
		Show:     func(p store.Position) string { return p.ID },
		Stopped:  func() store.Position { return end },
	}
	for _, items := range [][]store.Position{nil, {{At: end.At.Add(time.Hour), ID: "found"}}} {
		next := l.page(items, true).NextCursor
		if next == nil {
			t.Fatalf("a page of %d that has stopped early has no next one", len(items))
		}
		if at, ok := ParseCursor(*next); !ok || at != end {
			t.Errorf("the page after one of %d begins after %v, want %v", len(items), at, end)
		}
		if l.page(items, false).NextCursor != nil {
			t.Errorf("there is a page after the last")
		}
	}
}
