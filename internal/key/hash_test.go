// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/key"
)

func TestDigestOf(t *testing.T) {
	random := newRandom()
	lengths := []int{95, 96, 97, 128, 1 << 20}
	for n := range 80 { // around the end of a block, each of them
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		b := make([]byte, n)
		_, _ = random.Read(b)
		if key.DigestOf(string(b)) != key.Digest(sha256.Sum256(b)) {
			t.Errorf("DigestOf of %d bytes is not their SHA-256", n)
		}
	}
}

// TestBindingIsItsHash: whatever an owner is called, and whether that fits a block of SHA-256 or not.
func TestBindingIsItsHash(t *testing.T) {
	digest := key.DigestOf("lmp_live_mine")
	for n := range 130 {
		name := strings.Repeat("n", n)
		for text, owner := range map[string]key.Owner{
			"id:" + name: key.OwnerID(name), "ns:" + name: key.OwnerNamespace(name),
		} {
			want := sha256.Sum256(append(digest[16:len(digest):len(digest)], text...))
			if got := digest.BoundTo(owner).Binding; got != key.Binding(want[:16]) {
				t.Errorf("the binding to %s is %x, want %x", text, got, want[:16])
			}
		}
	}
}

// TestBindings: a hash opens its owner's door, and nobody else's, whatever others are called.
func TestBindings(t *testing.T) {
	const uid = "0ac3e000-0000-4000-8000-000000000000"
	mine, other := key.DigestOf("lmp_live_mine"), key.DigestOf("lmp_live_other")
	var owners []key.Owner
	kinds := []string{"id:", "ns:", "id:", "ns:", "ns:", "ns:", "ns:", "ns:", "ns:"}
	names := []string{ // the first two: a namespace that is named like a UID; the last one fills a block
		uid, uid, "acme", "acme", "acme2", "", strings.Repeat("x", 63), strings.Repeat("x", 62), strings.Repeat("x", 36),
	}
	for i, name := range names {
		if kinds[i] == "id:" {
			owners = append(owners, key.OwnerID(name))
		} else {
			owners = append(owners, key.OwnerNamespace(name))
		}
	}
	for i, of := range owners {
		hash := mine.BoundTo(of)
		if hash.Lookup != mine.Lookup() || hash.Lookup == other.Lookup() {
			t.Errorf("the lookup of a key depends on its owner, or not on the key")
		}
		for j, who := range owners {
			if got := mine.Proves(&hash.Binding, who); got != (i == j) {
				t.Errorf("a hash for owner %d proves the key owner %d's: %t", i, j, got)
			}
			if other.Proves(&hash.Binding, who) {
				t.Errorf("a hash for owner %d proves another key owner %d's", i, j)
			}
		}
		proof := sha256.Sum256([]byte(string(mine[16:]) + kinds[i] + names[i]))
		if hash.Binding != key.Binding(proof[:16]) {
			t.Errorf("the binding to owner %d is not the SHA-256 that the documentation says", i)
		}
		// What the second half of the digest is, nothing published says.
		text := hash.String()
		if half := hex.EncodeToString(mine[16:]); strings.Contains(text, half) || strings.Contains(text, half[:16]) {
			t.Errorf("%s holds the secret half of the digest", text)
		}
	}
}

func TestHashingAllocatesNothing(t *testing.T) {
	s := mint(t, format(t, "abcdefghijklmnop"), newRandom(), key.Live)
	for _, o := range []key.Owner{key.OwnerID(strings.Repeat("f", 64)), key.OwnerNamespace(strings.Repeat("x", 63))} {
		digest := key.DigestOf(s)
		hash := digest.BoundTo(o)
		n := testing.AllocsPerRun(100, func() {
			if d := key.DigestOf(s); !d.Proves(&hash.Binding, o) {
				panic("not proven")
			}
		})
		if n != 0 {
			t.Errorf("to recognise the longest key allocates %v times, want 0", n)
		}
	}
}

func TestParseHash(t *testing.T) {
	digest := key.DigestOf("anything")
	h := digest.BoundTo(key.OwnerNamespace("acme"))
	got, err := key.ParseHash(h.String())
	if err != nil || got != h {
		t.Errorf("ParseHash(%s) = %v, %v", h, got, err)
	}
	lookup, binding := hex.EncodeToString(h.Lookup[:]), hex.EncodeToString(h.Binding[:])
	for _, tc := range []struct{ reason, s string }{
		{"empty", ""},
		{"no prefix", lookup + ":" + binding},
		{"the prefix alone", "bound:"},
		{"the digest, as versions before had it", "sha256:" + hex.EncodeToString(digest[:])},
		{"the prefix in capitals", "BOUND:" + lookup + ":" + binding},
		{"no binding", "bound:" + lookup},
		{"an empty binding", "bound:" + lookup + ":"},
		{"nothing between", "bound:" + lookup + binding},
		{"31 digits", "bound:" + lookup[1:] + ":" + binding},
		{"33 digits", "bound:" + lookup + ":" + binding + "0"},
		{"a third part", "bound:" + lookup + ":" + binding + ":" + binding},
		{"the colon elsewhere", "bound:" + lookup + binding[:2] + ":" + binding[2:]},
		{"capital digits: one hash has one form", "bound:" + strings.ToUpper(lookup) + ":" + binding},
		{"a letter beyond f", "bound:g" + lookup[1:] + ":" + binding},
		{"a space before", " bound:" + lookup + ":" + binding},
		{"a line feed behind", "bound:" + lookup + ":" + binding + "\n"},
		{"a line feed as the last digit", "bound:" + lookup + ":" + binding[1:] + "\n"},
		{"NUL among the digits", "bound:" + lookup[:16] + "\x00" + lookup[17:] + ":" + binding},
		{"the prefix twice", "bound:bound:" + lookup + ":" + binding},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got, err := key.ParseHash(tc.s); err == nil || got != (key.Hash{}) {
				t.Errorf("ParseHash(%q) = %v, %v; want the zero hash and an error", tc.s, got, err)
			}
		})
	}
}

func TestParseDigest(t *testing.T) {
	d := key.DigestOf("anything")
	digits := hex.EncodeToString(d[:])
	if got, err := key.ParseDigest("sha256:" + digits); err != nil || got != d {
		t.Errorf("ParseDigest(sha256:%s) = %v, %v", digits, got, err)
	}
	for _, tc := range []struct{ reason, s string }{
		{"empty", ""},
		{"no algorithm", digits},
		{"another algorithm", "sha512:" + digits},
		{"63 digits", "sha256:" + digits[1:]},
		{"65 digits", "sha256:" + digits + "0"},
		{"capital digits", "sha256:" + strings.ToUpper(digits)},
		{"a line feed behind", "sha256:" + digits + "\n"},
		{"a hash", d.BoundTo(key.OwnerNamespace("acme")).String()},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got, err := key.ParseDigest(tc.s); err == nil || got != (key.Digest{}) {
				t.Errorf("ParseDigest(%q) = %v, %v; want the zero digest and an error", tc.s, got, err)
			}
		})
	}
}
