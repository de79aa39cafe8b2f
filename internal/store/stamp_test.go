// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"strings"
	"testing"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestStamp is one for all processes of a database, another for each database, and never goes back.
func TestStamp(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		first, err := db.Work().Stamp(t.Context())
		if err != nil || first.Database == "" || first.Sweep != 0 {
			t.Fatalf("the first stamp: %+v, %v", first, err)
		}
		counted, err := db.Work().CountSweep(t.Context())
		if want := (store.Stamp{Database: first.Database, Sweep: 1}); counted != want || err != nil {
			t.Errorf("counted: %+v, %v, want %+v", counted, err, want)
		}
		later, _ := open(t, url, clocktesting.NewFakeClock(now))
		if got, err := later.Work().Stamp(t.Context()); got != counted || err != nil {
			t.Errorf("another process: %+v, %v, want %+v", got, err, counted)
		}
		other, _ := opened(t, "sqlite:"+t.TempDir()+"/other")
		if got, err := other.Work().Stamp(t.Context()); got.Database == first.Database || err != nil {
			t.Errorf("another database: %+v, %v", got, err)
		}
	})
}

func TestStampCovers(t *testing.T) {
	ours := store.Stamp{Database: "a", Sweep: 5}
	for _, tc := range []struct {
		reason string
		copied store.Stamp
		want   bool
	}{
		{"the same", ours, true},
		{"an earlier one", store.Stamp{Database: "a", Sweep: 4}, true},
		{"a later one: the database went back", store.Stamp{Database: "a", Sweep: 6}, false},
		{"another database's", store.Stamp{Database: "b", Sweep: 5}, false},
	} {
		if got := ours.Covers(tc.copied); got != tc.want {
			t.Errorf("%s: %v", tc.reason, got)
		}
	}
}

func FuzzParseStamp(f *testing.F) {
	for _, text := range []string{"", "a", "a ", "a 1", "a 1\n", " a 1", "a 1 2", "a -1", "a +1", "a 9223372036854775808", "\x00 1", strings.Repeat("a", 200) + " 1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := store.ParseStamp(text)
		if err != nil {
			if s != (store.Stamp{}) {
				t.Errorf("%+v with an error", s)
			}
			return
		}
		if again, err := store.ParseStamp(s.String()); again != s || err != nil || s.Database == "" || s.Sweep < 0 {
			t.Errorf("%q is %+v, and that again is %+v, %v", text, s, again, err)
		}
	})
}
