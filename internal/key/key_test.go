// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/key"
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// seed makes every run the same. Failures print what is needed to repeat them.
const seed = 20260801

func newRandom() *rand.ChaCha8 {
	return rand.NewChaCha8([32]byte{0: seed & 0xff, 1: seed >> 8 & 0xff, 2: seed >> 16 & 0xff})
}

func format(t testing.TB, word string) key.Format {
	t.Helper()
	f, err := key.NewFormat(word)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mint(t testing.TB, f key.Format, random io.Reader, env key.Environment) string {
	t.Helper()
	s, err := f.Mint(random, env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewFormat(t *testing.T) {
	for _, tc := range []struct {
		reason string
		word   string
		ok     bool
	}{
		{"the default", key.DefaultWord, true},
		{"one character is enough", "x", true},
		{"16 characters is the most", "abcdefghijklmnop", true},
		{"digits and capitals are letters of a prefix", "ACME2", true},
		{"a prefix without a word cannot be found by a scanner", "", false},
		{"17 characters do not fit", "abcdefghijklmnopq", false},
		{"an underscore would make the parts ambiguous", "lmp_x", false},
		{"a hyphen in the middle breaks a double click", "a-b", false},
		{"a hyphen at the end does too", "ab-", false},
		{"a space ends a token", "a b", false},
		{"only ASCII is in the alphabet", "clé", false},
		{"NUL is not in the alphabet", "a\x00b", false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if _, err := key.NewFormat(tc.word); (err == nil) != tc.ok {
				t.Errorf("NewFormat(%q): error %v, want ok=%t", tc.word, err, tc.ok)
			}
		})
	}
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		f := format(t, v.word)
		prefix := f.Prefix(v.env)
		if want := v.word + "_" + string(v.env) + "_"; prefix != want {
			t.Errorf("Prefix = %q, want %q", prefix, want)
		}
		// The body's own digits, as bytes, are what a reader must yield for it to be minted.
		if got := mint(t, f, digitsOf(v.body), v.env); got != v.key {
			t.Errorf("minted %s, want %s", got, v.key)
		}
		if env, err := f.Parse(v.key); err != nil || env != v.env {
			t.Errorf("Parse(%s) = %q, %v; want %q", v.key, env, err, v.env)
		}
		digest := key.DigestOf(v.key)
		if got := hex.EncodeToString(digest[:]); got != v.sha256 {
			t.Errorf("DigestOf(%s) = %s, want %s", v.key, got, v.sha256)
		}
		id, namespace := key.OwnerID("0ac3e000-0000-4000-8000-000000000000"), key.OwnerNamespace("acme")
		if got := digest.BoundTo(id).String(); got != v.id {
			t.Errorf("the hash of %s for an id is %s, want %s", v.key, got, v.id)
		}
		if got := digest.BoundTo(namespace).String(); got != v.namespace {
			t.Errorf("the hash of %s for a namespace is %s, want %s", v.key, got, v.namespace)
		}
	}
}

type vector struct {
	word, body, key, sha256, id, namespace string
	env                                    key.Environment
}

// readVectors reads what testdata/vectors.py computed.
func readVectors(t testing.TB) []vector {
	t.Helper()
	file, err := os.ReadFile("testdata/vectors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	for line := range strings.Lines(string(file)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		c := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		vectors = append(vectors, vector{
			word: c[0], env: key.Environment(c[1]), body: c[2], key: c[3], sha256: c[4], id: c[5], namespace: c[6],
		})
	}
	if len(vectors) < 20 {
		t.Fatalf("%d vectors: the file is cut short", len(vectors))
	}
	return vectors
}

func digitsOf(body string) io.Reader {
	b := make([]byte, 0, len(body))
	for _, c := range []byte(body) {
		b = append(b, byte(strings.IndexByte(alphabet, c)))
	}
	return io.MultiReader(bytes.NewReader(b), newRandom())
}

func TestMintShape(t *testing.T) {
	for _, env := range []key.Environment{key.Live, key.Test} {
		f, random := format(t, key.DefaultWord), newRandom()
		seen := map[string]bool{}
		for range 1000 {
			s := mint(t, f, random, env)
			rest, ok := strings.CutPrefix(s, "lmp_"+string(env)+"_")
			if !ok || len(rest) != 38 || strings.Trim(rest, alphabet) != "" {
				t.Fatalf("seed %d: %q is not a prefix and 38 base62 characters", seed, s)
			}
			if seen[s] {
				t.Fatalf("seed %d: %q was minted twice", seed, s)
			}
			seen[s] = true
		}
	}
}

// TestMintIsUniform counts the characters of 4,000 bodies. With modulo bias the first eight would each come up a
// quarter more often than they should: chi-square would be in the thousands.
func TestMintIsUniform(t *testing.T) {
	const keys, body = 4000, 32
	f, random := format(t, key.DefaultWord), newRandom()
	var count [62]float64
	var columns [body]map[byte]bool
	for range keys {
		s := mint(t, f, random, key.Live)[len("lmp_live_"):]
		for i := range body {
			count[strings.IndexByte(alphabet, s[i])]++
			if columns[i] == nil {
				columns[i] = map[byte]bool{}
			}
			columns[i][s[i]] = true
		}
	}
	const expected, freedom = float64(keys) * body / 62, 61.0
	var chi2 float64
	for _, n := range count {
		chi2 += (n - expected) * (n - expected) / expected
	}
	if bound := freedom + 5*math.Sqrt(2*freedom); chi2 > bound {
		t.Errorf("seed %d: chi-square %.0f over %.0f: the characters of a body are not uniform", seed, chi2, bound)
	}
	for i, column := range columns {
		if len(column) != 62 {
			t.Errorf("seed %d: character %d of the body takes %d values of 62", seed, i, len(column))
		}
	}
}

func TestMintThrowsUnfairBytesAway(t *testing.T) {
	unfair := []byte{248, 249, 250, 251, 252, 253, 254, 255}
	fair := make([]byte, 0, 32)
	for i := range 32 {
		fair = append(fair, byte(216+i)) // 216…247, the last fair ones; 247 is 'z'
	}
	var stream []byte
	for i, b := range fair {
		stream = append(append(stream, unfair[:1+i%8]...), b)
	}
	got := mint(t, format(t, key.DefaultWord), io.MultiReader(bytes.NewReader(stream), newRandom()), key.Live)
	var want strings.Builder
	for _, b := range fair {
		want.WriteByte(alphabet[int(b)%62])
	}
	if diff := cmp.Diff(want.String(), got[len("lmp_live_"):len("lmp_live_")+32]); diff != "" {
		t.Errorf("the body is not the fair bytes in their order (-want +got):\n%s", diff)
	}
}

func TestMintFails(t *testing.T) {
	broken := errors.New("entropy source broke")
	for _, tc := range []struct {
		reason string
		random io.Reader
		want   error
	}{
		{"no randomness at all", bytes.NewReader(nil), io.EOF},
		{"a source that ends early must not leave a body half filled", bytes.NewReader(make([]byte, 20)), io.ErrUnexpectedEOF},
		{"the source's own error is kept", iotest.ErrReader(broken), broken},
		{"an error that comes later is kept", io.MultiReader(bytes.NewReader(make([]byte, 20)), iotest.ErrReader(broken)), broken},
		{
			"bytes that are all thrown away are not an end: it asks for more",
			io.MultiReader(bytes.NewReader(bytes.Repeat([]byte{0xff}, 480)), iotest.ErrReader(broken)), broken,
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, err := format(t, key.DefaultWord).Mint(tc.random, key.Live)
			if got != "" || !errors.Is(err, tc.want) {
				t.Errorf("Mint = %q, %v; want no key and %v", got, err, tc.want)
			}
		})
	}
}

func TestMintFromASlowSource(t *testing.T) {
	f := format(t, key.DefaultWord)
	want := mint(t, f, newRandom(), key.Test)
	if got := mint(t, f, iotest.OneByteReader(newRandom()), key.Test); got != want {
		t.Errorf("from a source that yields one byte at a time: %s, want %s", got, want)
	}
}

func TestHint(t *testing.T) {
	for _, env := range []key.Environment{key.Live, key.Test} {
		for _, word := range []string{"lmp", "acme2"} {
			f := format(t, word)
			s := mint(t, f, newRandom(), env)
			if got, want := f.Hint(s), f.Prefix(env)+"…"+s[len(s)-4:]; got != want {
				t.Errorf("Hint = %q, want %q", got, want)
			}
			for _, no := range []string{"", s[1:], s + "0", "lmp_live_secret", "other"} {
				if got := f.Hint(no); got != "" {
					t.Errorf("Hint(%q) = %q, want nothing of what is not a key", no, got)
				}
			}
		}
	}
}
