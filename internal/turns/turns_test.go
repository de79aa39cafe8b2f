// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package turns_test

import (
	"cmp"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/turns"
)

func TestSort(t *testing.T) {
	for _, tc := range []struct{ reason, items, want string }{
		{"nothing", "", ""},
		{"one organization: as they compare", "a3 a1 a2", "a1 a2 a3"},
		{"of many of one, another waits for one", "a1 a2 a3 a4 b9", "a1 b9 a2 a3 a4"},
		{"in one turn, as they compare", "a3 a4 b1 b5 c2", "b1 c2 a3 a4 b5"},
	} {
		items := strings.Fields(tc.items)
		turns.Sort(items, func(s string) string { return s[:1] }, func(a, b string) int { return cmp.Compare(a[1:], b[1:]) })
		if got := strings.Join(items, " "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.reason, got, tc.want)
		}
	}
}

// TestQueue: items are pushed, "-" pops one, and "!" removes one. Their first letter is the organization.
func TestQueue(t *testing.T) {
	for _, tc := range []struct{ reason, steps, want string }{
		{"nothing waits", "-", "none"},
		{"one organization: as they came", "a3 a1 a2 - - -", "a3 a1 a2"},
		{"of many of one, another waits for one", "a1 a2 a3 a4 b9 - - - - -", "a1 b9 a2 a3 a4"},
		{"one that comes while others are served", "a1 a2 a3 - b1 c1 - - - -", "a1 a2 b1 c1 a3"},
		{"one that comes back goes to the end", "a1 b1 - a2 b2 - - -", "a1 b1 a2 b2"},
		{"one is removed", "a1 a2 b1 !a1 - - -", "a2 b1 none"},
		{"the last of an organization is removed", "a1 b1 b2 !a1 - a2 - -", "b1 b2 a2"},
		{"what does not wait is removed", "a1 !a2 !b1 - -", "a1 none"},
	} {
		var q turns.Queue[string]
		var got []string
		waiting := map[string]bool{}
		for _, step := range strings.Fields(tc.steps) {
			switch item, isRemoved := strings.CutPrefix(step, "!"); {
			case isRemoved:
				is := q.Remove(item[:1], func(s string) bool { return s == item })
				if is != waiting[item] {
					t.Errorf("%s: %s was removed: %t", tc.reason, item, is)
				}
				delete(waiting, item)
			case step != "-":
				q.Push(step[:1], step)
				waiting[step] = true
			default:
				item, ok := q.Pop()
				if !ok {
					item = "none"
				}
				got = append(got, item)
				delete(waiting, item)
			}
			of := map[string]int{}
			for item := range waiting {
				of[item[:1]]++
			}
			if q.Len() != len(waiting) || q.LenOf("a") != of["a"] || q.LenOf("b") != of["b"] {
				t.Errorf("%s: after %s it has %d, %d of a and %d of b, want %d, %v", tc.reason, step,
					q.Len(), q.LenOf("a"), q.LenOf("b"), len(waiting), of)
			}
		}
		if got := strings.Join(got, " "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.reason, got, tc.want)
		}
	}
}
