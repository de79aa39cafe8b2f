// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package problem_test

import (
	"testing"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

func TestExcerpt(t *testing.T) {
	for _, c := range []struct{ reason, text, want string }{
		{"nothing", "", ""},
		{"as much as may be", "abcd", "abcd"},
		{"more", "abcde", "abcd…"},
		{"more, with a character that would be cut", "abcéf", "abc…"},
		{"what is no UTF-8, and is not cut", "a\xff", "a\xff"},
		{"what is no UTF-8, and is cut", "a\xffbcd", "abc…"},
	} {
		if got := problem.Excerpt(c.text, 4); got != c.want {
			t.Errorf("%s: %q, want %q", c.reason, got, c.want)
		}
	}
}
