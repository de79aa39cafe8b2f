// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestTampering: nothing but what was sealed, for what it was sealed, is ever opened.
func TestTampering(t *testing.T) {
	k := newKeysetOf(t)
	v := Fixed(k)
	chance := rand.New(rand.NewPCG(1, 2)) // a seed, so that a failure comes again
	part := func() string { return string([]byte("abc\x00\x01")[:chance.IntN(6)]) }
	for i := range 1000 {
		of, other := Of{part(), part(), part()}, Of{part(), part(), part()}
		plain := bytes.Repeat([]byte{byte(i)}, chance.IntN(300))
		sealed, err := v.Seal(plain, of)
		if err != nil {
			t.Fatal(err)
		}
		if opened, err := v.Open(sealed, of); err != nil || !bytes.Equal(opened, plain) {
			t.Fatalf("untouched: %v", err)
		}
		neighbour, err := v.Seal([]byte("a neighbour's"), other)
		if err != nil {
			t.Fatal(err)
		}
		tampered := map[string][]byte{
			"cut off":   sealed[:chance.IntN(len(sealed))],
			"longer":    append(bytes.Clone(sealed), byte(chance.Uint32())),
			"shortened": sealed[1+chance.IntN(len(sealed)-1):],
		}
		flipped := bytes.Clone(sealed)
		flipped[chance.IntN(len(flipped))] ^= 1 << chance.IntN(8)
		tampered["a bit flipped"] = flipped
		if of != other {
			tampered["another row's"] = neighbour
			spliced := append(bytes.Clone(sealed[:len(sealed)/2]), neighbour[min(len(sealed)/2, len(neighbour)):]...)
			tampered["half another row's"] = spliced
		}
		for what, text := range tampered {
			if _, err := v.Open(text, of); !errors.Is(err, ErrTampered) && !errors.Is(err, ErrUnknownKey) {
				t.Errorf("%d: %s: opened, or %v", i, what, err)
			}
		}
		if _, err := Fixed(newKeysetOf(t)).Open(sealed, of); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%d: another cluster's keyset: %v, want ErrUnknownKey", i, err)
		}
	}
}

// TestSwaps: a text that moves by one field does not open, and neither does one whose fields run into each other.
func TestSwaps(t *testing.T) {
	v := Fixed(newKeysetOf(t))
	of := Of{"org", "account", "token"}
	sealed, err := v.Seal([]byte("secret"), of)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []Of{
		{"other", "account", "token"},
		{"org", "other", "token"},
		{"org", "account", "other"},
		{"account", "org", "token"},
		{"orgaccount", "", "token"},
		{"org", "accounttoken", ""},
		{"", "orgaccount", "token"},
		{},
	} {
		_, err := v.Open(sealed, other)
		if !errors.Is(err, ErrTampered) {
			t.Errorf("as %v: %v, want ErrTampered", other, err)
			continue
		}
		if want := fmt.Sprintf("account %s: %v", other.Account, ErrTampered); err.Error() != want {
			t.Errorf("%q, want %q: the account and nothing else", err, want)
		}
	}
}

// TestAssociatedData: its bytes stand behind every row that there is, so they never change.
func TestAssociatedData(t *testing.T) {
	got := hex.EncodeToString(Of{"o", strings.Repeat("a", 200), ""}.associated())
	want := hex.EncodeToString([]byte("letmepost/vault/1")) + "016f" + "c801" + strings.Repeat("61", 200) + "00"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestKeyID(t *testing.T) {
	for _, tc := range []struct {
		sealed string
		id     uint32
		ok     bool
	}{
		{"", 0, false},
		{"01020304", 0, false},
		{"0102030405", 0x02030405, true},
		{"0002030405ff", 0, false},
		{"01ffffffff00", 1<<32 - 1, true},
	} {
		sealed, err := hex.DecodeString(tc.sealed)
		if err != nil {
			t.Fatal(err)
		}
		if id, ok := KeyID(sealed); id != tc.id || ok != tc.ok {
			t.Errorf("%s: %d, %v; want %d, %v", tc.sealed, id, ok, tc.id, tc.ok)
		}
	}
}
