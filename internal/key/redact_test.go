// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/key"
)

func TestRedact(t *testing.T) {
	s := mint(t, format(t, key.DefaultWord), newRandom(), key.Live)
	other := mint(t, format(t, key.DefaultWord), newRandom(), key.Test)
	b64 := base64.StdEncoding.EncodeToString([]byte(s))
	for _, tc := range []struct{ reason, text, key, want string }{
		{"in clear", "denied: " + s + " is too long", s, "denied: [redacted] is too long"},
		{"as a Secret's data", `data: {"LMP_API_KEY":"` + b64 + `"}`, s, `data: {"LMP_API_KEY":"[redacted]"}`},
		{"as a Secret's data, escaped", `"` + strings.TrimRight(b64, "=") + `\u003d"`, s, `"[redacted]\u003d"`},
		{"as a Secret's data, cut short of its padding", strings.TrimRight(b64, "="), s, "[redacted]"},
		{"every time, in both forms", s + s + b64 + s, s, "[redacted][redacted][redacted][redacted]"},
		{"amid letters", "x" + s + "x", s, "x[redacted]x"},
		{"another key is not this one's business", "denied: " + other, s, "denied: " + other},
		{"text without it is left as it is", "quota exceeded: secrets=10", s, "quota exceeded: secrets=10"},
		{"no key hides nothing, and does not cut the text to pieces", "quota exceeded", "", "quota exceeded"},
		{"no text", "", s, ""},
		{"decimal bytes, as %v prints them", fmt.Sprintf("data: map[LMP_API_KEY:%v]", []byte(s)), s, "data: map[LMP_API_KEY:[[redacted]]]"},
		{"decimal bytes, as Rust and Python print them", "[" + strings.ReplaceAll(strings.Trim(fmt.Sprintf("%d", []byte(s)), "[]"), " ", ", ") + "]", s, "[[redacted]]"},
		{"decimal bytes in JSON", strings.ReplaceAll(fmt.Sprintf("%d", []byte(s)), " ", ","), s, "[[redacted]]"},
		{"bytes, as %#v prints them", fmt.Sprintf("%#v", []byte(s)), s, "[]byte{[redacted]}"},
		{"hexadecimal", fmt.Sprintf("%x %X", s, s), s, "[redacted] [redacted]"},
		{"hexadecimal, spaced", fmt.Sprintf("% x", s), s, "[redacted]"},
		{"octal", fmt.Sprintf("%o", []byte(s)), s, "[[redacted]]"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got := key.Redact(tc.text, tc.key); got != tc.want {
				t.Errorf("Redact = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPatternFindsKeys(t *testing.T) {
	pattern := regexp.MustCompile(key.Pattern)
	f, random := format(t, key.DefaultWord), newRandom()
	for _, env := range []key.Environment{key.Live, key.Test} {
		for range 500 {
			s := mint(t, f, random, env)
			for _, around := range []string{"%", "key=%&x=1", "LMP_API_KEY: \"%\"", "Bearer %\n", "(%)", "`%`", "https://h/?k=%#f", "é%é"} {
				text := strings.Replace(around, "%", s, 1)
				if got := pattern.FindString(text); got != s {
					t.Fatalf("seed %d: in %q the pattern finds %q", seed, text, got)
				}
			}
		}
	}
}

func TestPatternFindsNothingElse(t *testing.T) {
	s := mint(t, format(t, key.DefaultWord), newRandom(), key.Live)
	for _, tc := range []struct{ reason, text string }{
		{"part of a longer word", "x" + s},
		{"one character more", s + "0"},
		{"one character less", s[:len(s)-1]},
		{"another environment", strings.Replace(s, "live", "prod", 1)},
		{"another word", strings.Replace(s, "lmp", "lmq", 1)},
		{"a hint", "lmp_live_…" + s[len(s)-4:]},
	} {
		if got := regexp.MustCompile(key.Pattern).FindString(tc.text); got != "" {
			t.Errorf("%s: the pattern finds %q in %q", tc.reason, got, tc.text)
		}
	}
}
