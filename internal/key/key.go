// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package key knows what an API key is: how one is minted, recognised, hashed and hidden. It is the only place that
// knows the format, and imports the standard library alone.
//
// A key is a prefix, a body and a checksum, 47 characters with the default prefix word:
//
//	lmp_live_ 0sJ4vQ2mBzX8cT1kRfN6yWdL3hGpEuA9 2Kx0aP
//	prefix    32 characters, 190 bits          6 characters
//
// The prefix is the word, an underscore, the environment (live or test) and an underscore. Body and checksum are base62
// (0-9A-Za-z), so that a double click takes the whole key. The checksum is the CRC-32 (IEEE) of everything before it,
// most significant digit first, padded with zeros. It tells a typo from a key before anything is hashed, and lets a
// scanner verify a finding offline. It is not a defence: that is the 190 random bits.
//
// Changing any of this invalidates every key ever minted.
package key

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unsafe"
)

// Lengths in characters.
const (
	bodyLen     = 32
	checksumLen = 6
	hintLen     = 4
)

// DefaultWord is the first part of the prefix of every key.
const DefaultWord = "lmp"

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Environment is the part of the prefix that says which world a key opens.
type Environment string

// The environments, as they stand in a key.
const (
	Live Environment = "live"
	Test Environment = "test"
)

// ErrMalformed is returned by Parse for whatever is not a key. It says no more, so that nothing of the input leaks.
var ErrMalformed = errors.New("malformed API key")

// Format is the shape of keys that begin with one word.
type Format struct {
	live, test string // prefixes, with both underscores
}

// NewFormat returns the format of keys whose prefix begins with word: 1 to 16 characters of 0-9A-Za-z.
func NewFormat(word string) (Format, error) {
	if word == "" || len(word) > 16 || strings.Trim(word, alphabet) != "" {
		return Format{}, fmt.Errorf("key prefix %q: want 1 to 16 letters and digits", word)
	}
	return Format{live: word + "_live_", test: word + "_test_"}, nil
}

// Prefix returns the characters that every key of env begins with, such as "lmp_live_".
func (f Format) Prefix(env Environment) string {
	if env == Test {
		return f.test
	}
	return f.live
}

// Mint makes a new key from random, which must be a CSPRNG.
func (f Format) Mint(random io.Reader, env Environment) (string, error) {
	prefix := f.Prefix(env)
	b := make([]byte, len(prefix)+bodyLen+checksumLen)
	n := copy(b, prefix)
	if err := FillBase62(random, b[n:n+bodyLen]); err != nil {
		return "", fmt.Errorf("mint key: %w", err)
	}
	putChecksum(b)
	return string(b), nil
}

// Parse tells whether s is a well-formed key, prefix and checksum included, and of which environment. Its cost does not
// grow with s, and it allocates nothing. The error is ErrMalformed.
func (f Format) Parse(s string) (Environment, error) {
	env := Live
	prefix := f.live
	if !strings.HasPrefix(s, prefix) {
		env, prefix = Test, f.test
		if !strings.HasPrefix(s, prefix) {
			return "", ErrMalformed
		}
	}
	if len(s) != len(prefix)+bodyLen+checksumLen || !hasChecksum(s) {
		return "", ErrMalformed
	}
	for i := len(prefix); i < len(prefix)+bodyLen; i++ {
		if digit[s[i]] == notADigit {
			return "", ErrMalformed
		}
	}
	return env, nil
}

// Hint shortens a key to what may be shown: its prefix and its last four characters, as in "lmp_live_…wxyz". They are
// part of the checksum, so a hint leaves at least 166 of the 190 bits unknown. It is "" for what is not a key.
func (f Format) Hint(key string) string {
	env, err := f.Parse(key)
	if err != nil {
		return ""
	}
	return f.HintOf(env, key[len(key)-hintLen:])
}

// HintGap stands in a hint where the key has what is secret.
const HintGap = "…"

// HintOf returns the hint of a key by its last four characters; "": they are not known, as of a key brought by its
// hash.
func (f Format) HintOf(env Environment, last4 string) string { return f.Prefix(env) + HintGap + last4 }

// Last4 returns the last four characters of a key by its hint; "" if the hint does not have them.
func Last4(hint string) string {
	_, last4, _ := strings.Cut(hint, HintGap)
	return last4
}

const notADigit = 0xff

// digit maps a character to its base62 value.
var digit = func() (t [256]byte) {
	for i := range t {
		t[i] = notADigit
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	return t
}()

// FillBase62 fills dst with uniformly distributed characters of 0-9A-Za-z, each of 5.95 random bits. The error is
// random's. A byte of 248 or more is thrown away: taking it modulo 62 would favour the first eight characters.
func FillBase62(random io.Reader, dst []byte) error {
	const fair = 256 - 256%len(alphabet)
	var buf [48]byte
	for n := 0; n < len(dst); {
		if _, err := io.ReadFull(random, buf[:]); err != nil {
			return err
		}
		for _, b := range buf {
			if int(b) < fair && n < len(dst) {
				dst[n] = alphabet[int(b)%len(alphabet)]
				n++
			}
		}
	}
	clear(buf[:])
	return nil
}

// putChecksum writes the checksum of b's beginning into its last characters.
func putChecksum(b []byte) {
	sum := crc32.ChecksumIEEE(b[:len(b)-checksumLen])
	for i := len(b) - 1; i >= len(b)-checksumLen; i-- {
		b[i] = alphabet[sum%uint32(len(alphabet))]
		sum /= uint32(len(alphabet))
	}
}

// hasChecksum tells whether s ends with the checksum of its beginning. The caller has bounded its length.
func hasChecksum(s string) bool {
	var want uint64
	for _, c := range []byte(s[len(s)-checksumLen:]) {
		d := digit[c]
		if d == notADigit {
			return false
		}
		want = want*uint64(len(alphabet)) + uint64(d)
	}
	return uint64(crc32.ChecksumIEEE(bytesOf(s[:len(s)-checksumLen]))) == want
}

// bytesOf returns the bytes of s without a copy, for a reader that keeps none of them. A copy would escape to the heap:
// crc32 reads through a function variable.
func bytesOf(s string) []byte {
	return unsafe.Slice(unsafe.StringData(s), len(s)) //nolint:gosec // G103: only ever read
}
