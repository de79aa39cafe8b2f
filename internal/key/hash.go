// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package key

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
)

// halfLen is half of a digest, in bytes: what is published is 128 bits to find a key by, and 128 bits to prove it.
const halfLen = sha256.Size / 2

// Digest is the SHA-256 of a whole key. 190 bits of entropy need no slow function (NIST SP 800-63B-4, ASVS 5.0 6.5.2).
//
// Its second half never leaves a process that has seen the key: whoever knew it could bind the key to an organization
// of theirs. What is stored and shown is a Hash.
type Digest [sha256.Size]byte

// DigestOf returns the digest of a key.
func DigestOf(key string) Digest { return sha256.Sum256(bytesOf(key)) }

// Lookup is the first half of a digest. It finds a key, and proves nothing.
type Lookup [halfLen]byte

// Binding is the beginning of SHA-256(second half of a digest, owner). It proves, to whoever is shown the key, that the
// key is this owner's. To make it for another owner takes the second half of the digest, which neither Lookup nor any
// number of Bindings gives away: each of them is 2^128 guesses from it.
type Binding [halfLen]byte

// Hash is what is published of a key. It is worth nothing to who sees it: named by anybody else, it opens nothing.
type Hash struct {
	Lookup  Lookup
	Binding Binding
}

// Owner is the organization that a key is bound to.
type Owner struct {
	kind, name string
}

// Kinds keep an organization from being named like the id of another: a UID is a valid name of a namespace.
const (
	ofID        = "id:" // and a UID of 36 characters fill one block of SHA-256
	ofNamespace = "ns:"
)

// OwnerID is the organization with this id: that of a minted key.
func OwnerID(id string) Owner { return Owner{ofID, id} }

// OwnerNamespace is whichever organization has this namespace: that of a key brought by its hash, which is made before
// the namespace's UID is known.
func OwnerNamespace(name string) Owner { return Owner{ofNamespace, name} }

// Hex is the digest as 64 hexadecimal digits, by which a key that has leaked is known for good.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// ParseHex reads what Digest.Hex writes.
func ParseHex(s string) (Digest, error) { return ParseDigest(digestPrefix + s) }

// BoundTo returns what is published of the key for this owner.
func (d Digest) BoundTo(o Owner) Hash { return Hash{d.Lookup(), d.binding(o)} }

// Lookup returns what the key is found by.
func (d Digest) Lookup() Lookup { return Lookup(d[:halfLen]) }

// Proves tells, in constant time, whether b binds the key to this owner. It allocates nothing.
func (d Digest) Proves(b *Binding, o Owner) bool {
	want := d.binding(o)
	return subtle.ConstantTimeCompare(want[:], b[:]) == 1
}

func (d Digest) binding(o Owner) Binding {
	var room [2 * sha256.BlockSize]byte // enough for any name or UID of a namespace
	text := append(room[:0], d[halfLen:]...)
	text = append(text, o.kind...)
	text = append(text, o.name...)
	sum := sha256.Sum256(text)
	return Binding(sum[:halfLen])
}

const (
	hashPrefix   = "bound:"
	digestPrefix = "sha256:"
	hexLen       = 2 * halfLen
)

// String is the form in which a hash stands in a resource: "bound:", lookup, ":", binding, each of 32 hexadecimal
// digits.
func (h Hash) String() string {
	return hashPrefix + hex.EncodeToString(h.Lookup[:]) + ":" + hex.EncodeToString(h.Binding[:])
}

// ParseHash reads what Hash.String writes.
func ParseHash(s string) (Hash, error) {
	var h Hash
	digits, ok := strings.CutPrefix(s, hashPrefix)
	lookup, binding, two := strings.Cut(digits, ":")
	if !ok || !two || !unhex(h.Lookup[:], lookup) || !unhex(h.Binding[:], binding) {
		return Hash{}, fmt.Errorf("hash: want %q, %d lower-case hexadecimal digits, %q and %d more",
			hashPrefix, hexLen, ":", hexLen)
	}
	return h, nil
}

// ParseDigest reads "sha256:" and the 64 hexadecimal digits of a digest. That is what versions before 0.2 published:
// whoever saw it can bind the key to anybody.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if digits, ok := strings.CutPrefix(s, digestPrefix); !ok || !unhex(d[:], digits) {
		return Digest{}, fmt.Errorf("digest: want %q and %d lower-case hexadecimal digits", digestPrefix, 2*len(d))
	}
	return d, nil
}

// unhex fills dst with what digits say, and tells whether they are just as many, and in lower case: one hash has one
// form.
func unhex(dst []byte, digits string) bool {
	if len(digits) != hex.EncodedLen(len(dst)) || strings.ToLower(digits) != digits {
		return false
	}
	_, err := hex.Decode(dst, []byte(digits))
	return err == nil
}
