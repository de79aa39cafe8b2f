// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// needles finds keys in any text, in whatever form a program may have written them, whole or in part.
type needles struct {
	patterns []needle
	heads    map[[headLen]byte][]int // by the first bytes of a pattern, so that many keys cost no more than one
	// begins says of the first four bytes of a text, hashed, whether a pattern may begin so. All that a suite leaves
	// behind is gone through byte by byte, and looking into heads at each takes most of a minute.
	begins [1 << beginsBits]bool
}

const beginsBits = 20

// begin is the place in begins of four bytes, the first of which is the lowest. The factor is 2^32 by the golden ratio
// (Fibonacci hashing), which spreads digits and letters over all places.
func begin(window uint32) uint32 { return window * 2654435769 >> (32 - beginsBits) }

// needle is one form of one key.
type needle struct {
	plaintext string
	form      string
	text      []byte
}

// find is a needle found at an offset of a text.
type find struct {
	needle
	at int
}

// The search is for the middle of a key's random part: that also finds one that was cut short at either end. What of a
// key may be shown, its prefix and its last four characters, lies outside.
const (
	coreFrom = 12
	coreTo   = 36
	headLen  = 6
)

// coreOf is what is searched for of a text. Of a token of three parts (a JWT, RFC 7519) that is in its signature: the
// first part says what kind it is, and is the same for many. A short text, such as an app password, is searched for but
// for its ends.
func coreOf(plaintext string) string {
	if parts := strings.Split(plaintext, "."); len(parts) == 3 && len(parts[2]) >= coreTo {
		plaintext = parts[2]
	}
	if len(plaintext) < coreTo {
		return plaintext[2 : len(plaintext)-2]
	}
	return plaintext[coreFrom:coreTo]
}

func newNeedles(plaintexts ...string) *needles {
	n := &needles{heads: map[[headLen]byte][]int{}}
	for _, plaintext := range plaintexts {
		core := coreOf(plaintext)
		n.add(plaintext, "as it is", core)
		n.add(plaintext, "hexadecimal", hex.EncodeToString([]byte(core)))
		decimals := strings.Trim(fmt.Sprintf("%d", []byte(core)), "[]")
		n.add(plaintext, "decimal bytes", decimals)
		n.add(plaintext, "decimal bytes, as JSON", strings.ReplaceAll(decimals, " ", ","))
		for shift := range 3 {
			n.add(plaintext, "base64", base64Core(core, shift))
		}
		// With the second half of its digest, anybody could bind the key to an organization of theirs.
		digest := sha256.Sum256([]byte(plaintext))
		half := digest[16:]
		n.add(plaintext, "the secret half of its digest", string(half))
		n.add(plaintext, "the secret half of its digest, hexadecimal", hex.EncodeToString(half))
		n.add(plaintext, "the secret half of its digest, base64", base64.RawStdEncoding.EncodeToString(half))
	}
	return n
}

// base64Core is what base64 makes of core when it stands so many bytes behind a multiple of three. What also depends on
// its neighbours is left out.
func base64Core(core string, shift int) string {
	encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + core))
	from := (shift*8 + 5) / 6
	to := (shift + len(core)) * 8 / 6
	return encoded[from:to]
}

func (n *needles) add(plaintext, form, text string) {
	n.patterns = append(n.patterns, needle{plaintext, form, []byte(text)})
	head := [headLen]byte([]byte(text))
	n.heads[head] = append(n.heads[head], len(n.patterns)-1)
	n.begins[begin(binary.LittleEndian.Uint32(head[:]))] = true
}

// in returns what a text gives away, once each, and where.
//
// Not for the race detector: it would look at each byte of all that a suite leaves behind, which took four times as
// long as the search, and nobody writes to what is searched.
//
//go:norace
func (n *needles) in(text []byte) (found []find) {
	if len(text) < headLen {
		return nil
	}
	seen := map[int]bool{}
	window := binary.LittleEndian.Uint32(text) << 8
	for i := range len(text) - headLen + 1 {
		window = window>>8 | uint32(text[i+3])<<24
		if !n.begins[begin(window)] {
			continue
		}
		for _, p := range n.heads[[headLen]byte(text[i:])] {
			if !seen[p] && bytes.HasPrefix(text[i:], n.patterns[p].text) {
				seen[p] = true
				found = append(found, find{n.patterns[p], i})
			}
		}
	}
	return found
}
