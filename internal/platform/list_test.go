// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

func TestSentence(t *testing.T) {
	for _, tc := range []struct {
		names []platform.Name
		want  string
	}{
		{nil, "There are no platforms."},
		{[]platform.Name{"a"}, "The only platform is a."},
		{[]platform.Name{"a", "b"}, "The platforms are a and b."},
		{[]platform.Name{"a", "b", "c"}, "The platforms are a, b and c."},
		{[]platform.Name{"a", "b", "c", "d"}, "The platforms are a, b, c and d."},
	} {
		var list platform.List
		for _, name := range tc.names {
			list = append(list, platform.Platform{Name: name})
		}
		if got := list.Sentence(); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.names, got, tc.want)
		}
		if got := list.Names(); len(got) != len(tc.names) {
			t.Errorf("%v: names are %q", tc.names, got)
		}
	}
}
