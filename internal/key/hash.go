// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package key

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"encoding/binary"
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

// DigestOf returns the digest of a key. It allocates nothing.
func DigestOf(key string) Digest {
	if len(key) > maxOneBlock { // one whose word has more than eleven characters, or what is no key
		return sha256.Sum256(bytesOf(key))
	}
	var b block
	return b.sum(copy(b[:], key))
}

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
	var b block // or no more than a buffer, if a name is long
	n := copy(b[:], d[halfLen:])
	n += copy(b[n:], o.kind)
	if n+len(o.name) > maxOneBlock {
		sum := sha256.Sum256(append(b[:n], o.name...))
		return Binding(sum[:halfLen])
	}
	sum := b.sum(n + copy(b[n:], o.name))
	return Binding(sum[:halfLen])
}

// block is a text with zeros behind it, that is to be hashed as one block of SHA-256; and half a block of zeros more,
// see sum.
type block [sha256.BlockSize + sha256.BlockSize/2]byte

// maxOneBlock is the longest text that has room in one block for what stands behind it (FIPS 180-4 section 5.1.1): one
// byte, and its length in eight.
const maxOneBlock = sha256.BlockSize - 1 - 8

// sum is the SHA-256 of the first n bytes; n is maxOneBlock at most.
//
// It is sha256.Sum256 in four fifths of its time, and a request waits for two of them, which are most of what it takes
// to recognise a key. Sum256 pads the text, copies its state and puts the sum together in small pieces. Here the text
// is padded in place, and the sum is what the state of the hash says after its only block: four bytes, and then the
// eight words of the sum. A version of Go that writes it otherwise is found out by TestDigestOf before it is used.
//
// The half block of zeros is there because the state ends with what is not hashed yet, filled up to a block. To fill up
// more than half of one allocates under the race detector.
func (b *block) sum(n int) [sha256.Size]byte {
	const sumAt, stateLen = 4, 4 + sha256.Size + sha256.BlockSize + 8
	b[n] = 1 << 7
	binary.BigEndian.PutUint16(b[sha256.BlockSize-2:], uint16(8*n))
	h := sha256.New()
	_, _ = h.Write(b[:]) // a hash never fails
	var room [stateLen]byte
	state, err := h.(encoding.BinaryAppender).AppendBinary(room[:0])
	if err != nil {
		panic(err) // nor does it here
	}
	return [sha256.Size]byte(state[sumAt:])
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
