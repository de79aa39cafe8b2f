// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"errors"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/key"
)

func TestParseAcceptsWhatIsMinted(t *testing.T) {
	random := newRandom()
	for _, word := range []string{"lmp", "a", "Z9", "live", "test", "abcdefghijklmnop"} {
		for _, want := range []key.Environment{key.Live, key.Test} {
			f := format(t, word)
			for range 200 {
				s := mint(t, f, random, want)
				if env, err := f.Parse(s); err != nil || env != want {
					t.Fatalf("seed %d: Parse(%s) = %q, %v; want %q", seed, s, env, err, want)
				}
			}
		}
	}
}

func TestParseRefusesAnotherWord(t *testing.T) {
	s := mint(t, format(t, "lmp"), newRandom(), key.Live)
	for _, word := range []string{"lm", "lmpx", "Lmp", "acme"} {
		refused(t, format(t, word), s)
	}
}

// TestParseRefusesEveryNeighbour walks the whole neighbourhood of a key: whatever one slip of a finger makes of it.
func TestParseRefusesEveryNeighbour(t *testing.T) {
	f, random := format(t, key.DefaultWord), newRandom()
	for _, env := range []key.Environment{key.Live, key.Test} {
		s := mint(t, f, random, env)
		for i := range s {
			refused(t, f, s[:i])
			refused(t, f, s[i+1:])
			refused(t, f, s[:i]+s[i+1:])
			refused(t, f, s[:i]+s[i:i+1]+s[i:])
			for c := range 256 {
				if changed := s[:i] + string([]byte{byte(c)}) + s[i+1:]; changed != s {
					refused(t, f, changed)
				}
			}
			for j := i + 1; j < len(s); j++ {
				swapped := []byte(s)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				if string(swapped) != s {
					refused(t, f, string(swapped))
				}
			}
		}
		for c := range 256 {
			refused(t, f, s+string([]byte{byte(c)}))
			refused(t, f, string([]byte{byte(c)})+s)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	f := format(t, key.DefaultWord)
	s := mint(t, f, newRandom(), key.Live)
	body, checksum := s[len("lmp_live_"):len(s)-6], s[len(s)-6:]
	for _, tc := range []struct{ reason, s string }{
		{"empty", ""},
		{"the prefix alone", "lmp_live_"},
		{"right body and checksum under the other prefix: the checksum covers the prefix", "lmp_test_" + body + checksum},
		{"a third environment, with its right checksum", checksummed("lmp_prod_" + body)},
		{"an environment in capitals, with its right checksum", checksummed("lmp_LIVE_" + body)},
		{"NUL in the body, with its right checksum", checksummed("lmp_live_\x00" + body[1:])},
		{"an underscore in the body, with its right checksum", checksummed("lmp_live_" + body[:31] + "_")},
		{"non-ASCII in the body, with its right checksum", checksummed("lmp_live_é" + body[2:])},
		{"a body too short, with its right checksum", checksummed("lmp_live_" + body[1:])},
		{"a body too long, with its right checksum", checksummed("lmp_live_" + body + "0")},
		{"a checksum of which only the lower 32 bits are right", "lmp_live_" + body + base62(crcOf("lmp_live_"+body)+1<<32)},
		{"no checksum", "lmp_live_" + body},
		{"a space before", " " + s},
		{"a line feed behind", s + "\n"},
		{"two keys", s + s},
		{"a megabyte of it", s + strings.Repeat("0", 1<<20)},
		{"a megabyte before it", strings.Repeat("0", 1<<20) + s},
		{"a megabyte of prefixes", strings.Repeat("lmp_live_", 1<<17)},
	} {
		t.Run(tc.reason, func(t *testing.T) { refused(t, f, tc.s) })
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	f := format(t, "abcdefghijklmnop")
	s := mint(t, f, newRandom(), key.Test)
	for _, tc := range []struct{ reason, s string }{
		{"the longest key", s},
		{"a wrong checksum", s[:len(s)-1] + "!"},
		{"another prefix", "x" + s},
		{"a megabyte", s + strings.Repeat("x", 1<<20)},
		{"nothing", ""},
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = f.Parse(tc.s) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", tc.reason, n)
		}
	}
}

func refused(t testing.TB, f key.Format, s string) {
	t.Helper()
	if env, err := f.Parse(s); env != "" || !errors.Is(err, key.ErrMalformed) {
		t.Errorf("Parse(%.80q) = %q, %v; want ErrMalformed", s, env, err)
	}
}

// FuzzParse holds Parse against referenceParse, on the input as it is and with the checksum that it ought to have: a
// fuzzer alone would never come upon one.
func FuzzParse(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v.key)
	}
	words := []string{"lmp", "a", "acmepublishing16"}
	f.Fuzz(func(t *testing.T, s string) {
		inputs := []string{s}
		if len(s) < 1024 {
			inputs = append(inputs, checksummed(s))
		}
		if len(s) >= 6 && len(s) < 1024 {
			inputs = append(inputs, checksummed(s[:len(s)-6]))
		}
		for _, word := range words {
			for _, in := range inputs {
				env, err := format(t, word).Parse(in)
				want, ok := referenceParse(word, in)
				if env != want || (err == nil) != ok || err != nil && !errors.Is(err, key.ErrMalformed) {
					t.Errorf("format %s: Parse(%q) = %q, %v; want %q, ok=%t", word, in, env, err, want, ok)
				}
			}
		}
	})
}

// referenceParse is the format as the documentation puts it, with nothing done for speed.
func referenceParse(word, s string) (key.Environment, bool) {
	m := regexp.MustCompile(`\A` + word + `_(live|test)_[0-9A-Za-z]{32}([0-9A-Za-z]{6})\z`).FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	if base62(crcOf(s[:len(s)-6])) != m[2] {
		return "", false
	}
	return key.Environment(m[1]), true
}

func checksummed(head string) string { return head + base62(crcOf(head)) }

// crcOf is CRC-32 by its definition: the remainder of a division of polynomials, bit by bit.
func crcOf(s string) uint64 {
	crc := ^uint32(0)
	for _, b := range []byte(s) {
		crc ^= uint32(b)
		for range 8 {
			if crc&1 == 1 {
				crc = crc>>1 ^ crc32.IEEE
			} else {
				crc >>= 1
			}
		}
	}
	return uint64(^crc)
}

// base62 goes by way of math/big, whose digits are 0-9a-zA-Z: letters change their case.
func base62(n uint64) string {
	digits := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, new(big.Int).SetUint64(n).Text(62))
	return strings.Repeat("0", max(0, 6-len(digits))) + digits
}
