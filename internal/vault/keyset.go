// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// KMS encrypts a keyset as a whole, so that whoever reads its file has nothing yet. It is Tink's own interface, which
// the clients of every key management service have (tink-go-awskms, -gcpkms, -hcvault). None of them is linked: each
// brings the SDK of a cloud.
type KMS = tink.AEAD

const (
	// maxKeyset is far more than the keys of a hundred rotations: what is larger is another file.
	maxKeyset = 64 << 10
	keySize   = 32 // bytes: AES-256
)

// keysetAssociated is what a KMS binds an encrypted keyset to: another program's keyset is none of ours.
var keysetAssociated = []byte("letmepost/vault/keyset")

// ErrKeyset is what is wrong with a keyset, and no key of it.
var ErrKeyset = errors.New("the keyset can't be used")

// keysetError is an ErrKeyset with its reason. Whoever calls it sees that no key is in there.
func keysetError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrKeyset, fmt.Errorf(format, args...))
}

// Keyset is the keys of a vault: it opens with each, and seals with the primary one. It never changes; Add, Promote and
// Retire return another. Printing it shows ids alone.
type Keyset struct {
	handle  *keyset.Handle
	aead    tink.AEAD
	primary uint32
	ids     []uint32 // in the order in which they were added
}

// NewKeyset makes a keyset of one new key. It opens nothing that was sealed before.
func NewKeyset() (*Keyset, error) {
	manager := keyset.NewManager()
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, keysetError("make a key: %w", err)
	}
	return primaryOf(manager, id)
}

// ParseKeyset reads what Encode wrote: JSON as Tink has it, encrypted if there is a KMS. No error repeats anything of
// text: a parser quotes what it does not understand, and that may be a key.
func ParseKeyset(text []byte, kms KMS) (*Keyset, error) {
	text = bytes.TrimSpace(text)
	var shape struct {
		EncryptedKeyset string            `json:"encryptedKeyset"`
		Key             []json.RawMessage `json:"key"`
	}
	switch {
	case len(text) == 0:
		return nil, keysetError("it is empty")
	case len(text) > maxKeyset:
		return nil, keysetError("it has more than %d bytes: it is another file", maxKeyset)
	case !json.Valid(text):
		return nil, keysetError("it is no whole JSON: it was cut off, or is another file")
	case json.Unmarshal(text, &shape) != nil:
		return nil, keysetError("it is JSON, but no keyset: it is another file")
	case kms == nil && shape.EncryptedKeyset != "":
		return nil, keysetError("a KMS has encrypted it, and none is given")
	case kms != nil && len(shape.Key) > 0:
		return nil, keysetError("it is in clear text, and a KMS is given: encrypt it, or leave the KMS out")
	}
	handle, err := readHandle(text, kms)
	if err != nil {
		return nil, err
	}
	return newKeyset(handle)
}

// readHandle has Tink read it. What Tink says of clear text is not repeated: it might quote a key.
func readHandle(text []byte, kms KMS) (*keyset.Handle, error) {
	reader := keyset.NewJSONReader(bytes.NewReader(text))
	if kms == nil {
		handle, err := insecurecleartextkeyset.Read(reader)
		if err != nil {
			return nil, keysetError("it is no keyset of Tink's in JSON")
		}
		return handle, nil
	}
	handle, err := keyset.ReadWithAssociatedData(reader, kms, keysetAssociated)
	if err != nil { // which may be the network's, so it is told: it is about bytes that are encrypted
		return nil, keysetError("the KMS does not decrypt it: %w", err)
	}
	return handle, nil
}

// newKeyset takes keys of one kind alone: each must be found by the id in front of what it sealed. A key that is
// disabled would be one that status shows and nothing opens.
func newKeyset(handle *keyset.Handle) (*Keyset, error) {
	k := &Keyset{handle: handle}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, keysetError("it is no keyset of Tink's")
		}
		p, ok := entry.Key().Parameters().(*aesgcm.Parameters)
		if !ok || p.KeySizeInBytes() != keySize || p.Variant() != aesgcm.VariantTink {
			return nil, keysetError("key %d is not of AES-256-GCM with Tink's prefix", entry.KeyID())
		}
		if entry.KeyStatus() != keyset.Enabled {
			return nil, keysetError("key %d is not enabled: take it out, or enable it", entry.KeyID())
		}
		if entry.IsPrimary() {
			k.primary = entry.KeyID()
		}
		k.ids = append(k.ids, entry.KeyID())
	}
	if !slices.Contains(k.ids, k.primary) {
		return nil, keysetError("none of its keys is primary")
	}
	var err error
	if k.aead, err = aead.New(handle); err != nil {
		return nil, keysetError("it is no keyset of AEAD keys")
	}
	return k, nil
}

// Encode writes the keyset for ParseKeyset. Without a KMS that is the keys in clear text.
func (k *Keyset) Encode(kms KMS) ([]byte, error) {
	var text bytes.Buffer
	var err error
	if kms == nil {
		err = insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&text))
	} else {
		err = k.handle.WriteWithAssociatedData(keyset.NewJSONWriter(&text), kms, keysetAssociated)
	}
	if err != nil {
		return nil, keysetError("write it: %w", err)
	}
	return append(text.Bytes(), '\n'), nil
}

// Keys are the ids of all keys, in the order in which they were added.
func (k *Keyset) Keys() []uint32 { return slices.Clone(k.ids) }

// Primary is the id of the key that seals.
func (k *Keyset) Primary() uint32 { return k.primary }

// Has tells whether the keyset has a key of this id.
func (k *Keyset) Has(id uint32) bool { return slices.Contains(k.ids, id) }

// serves tells whether the keyset is that of the texts that there are, and has lost no key that last had and a text
// needs. Some may be without a key: those of a key that was lost stay closed, and must not close the others.
func (k *Keyset) serves(needs map[uint32]int, last *Keyset) error {
	texts, closed := 0, 0
	for id, n := range needs {
		texts += n
		if k.Has(id) {
			continue
		}
		closed += n
		if last != nil && last.Has(id) {
			return keysetError("it has no key %d any more, under which %d secrets are sealed", id, n)
		}
	}
	if texts > 0 && closed == texts {
		return keysetError("it opens none of the %d secrets in the database: it is that of another installation, or older "+
			"than all of them; put the right one back", texts)
	}
	return nil
}

// Format is fmt.Formatter's: no verb prints a key.
func (k *Keyset) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "keys %d, primary %d", k.ids, k.primary) }

// Add returns the keyset with one more key, which opens and does not seal yet.
func (k *Keyset) Add() (*Keyset, uint32, error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, 0, keysetError("make a key: %w", err)
	}
	added, err := primaryOf(manager, k.primary)
	return added, id, err
}

// Promote returns the keyset with another of its keys as the primary one. Every process has to know that key before:
// else some could not open what others seal.
func (k *Keyset) Promote(id uint32) (*Keyset, error) {
	if !k.Has(id) {
		return nil, keysetError("it has no key %d", id)
	}
	return primaryOf(keyset.NewManagerFromHandle(k.handle), id)
}

// Retire returns the keyset without a key. What that key has sealed is lost. Whoever calls it has made sure that no
// row needs the key and no process seals with it (cmd/api).
func (k *Keyset) Retire(id uint32) (*Keyset, error) {
	switch {
	case !k.Has(id):
		return nil, keysetError("it has no key %d", id)
	case id == k.primary:
		return nil, keysetError("key %d is the primary one: promote another first", id)
	}
	manager := keyset.NewManagerFromHandle(k.handle)
	if err := manager.Delete(id); err != nil {
		return nil, keysetError("%w", err)
	}
	return primaryOf(manager, k.primary)
}

// primaryOf takes what a manager holds, with one of its keys as the primary one. It is held against the same rules as
// a keyset that is read.
func primaryOf(manager *keyset.Manager, id uint32) (*Keyset, error) {
	if err := manager.SetPrimary(id); err != nil {
		return nil, keysetError("%w", err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, keysetError("%w", err)
	}
	return newKeyset(handle)
}

// Of is what a sealed text belongs to; it can be opened as that alone.
type Of struct{ Organization, Account, Name string }

// associated is what the cipher binds a text to. The lengths keep ("ab", "c") apart from ("a", "bc"). Its bytes stand
// behind every text that there is: if they changed, none would open any more.
func (of Of) associated() []byte {
	data := []byte("letmepost/vault/1")
	for _, part := range []string{of.Organization, of.Account, of.Name} {
		data = binary.AppendUvarint(data, uint64(len(part)))
		data = append(data, part...)
	}
	return data
}

// seal makes another text each time: the nonce is random. That bounds how many a key may seal, to some 2^32 (NIST SP
// 800-38D, section 8.3).
func (k *Keyset) seal(plaintext []byte, of Of) ([]byte, error) {
	return k.aead.Encrypt(plaintext, of.associated())
}

// open has two errors alone, ErrTampered and ErrUnknownKey: the one is final, and the other passes when the key is
// back.
func (k *Keyset) open(sealed []byte, of Of) ([]byte, error) {
	id, ok := KeyID(sealed)
	switch {
	case !ok:
		return nil, ErrTampered
	case !k.Has(id):
		return nil, ErrUnknownKey
	}
	plaintext, err := k.aead.Decrypt(sealed, of.associated())
	if err != nil {
		return nil, ErrTampered // and not err: it helps nobody
	}
	return plaintext, nil
}

// prefixSize and prefixStart are Tink's prefix of what it sealed: 0x01, then the key's id, big-endian.
const (
	prefixSize  = 5
	prefixStart = 0x01
)

// KeyID returns the id of the key that sealed a text; false: it is no sealed text. It is read without a key, and
// vouches for nothing: whoever can change the text can change it.
func KeyID(sealed []byte) (id uint32, ok bool) {
	if len(sealed) < prefixSize || sealed[0] != prefixStart {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:prefixSize]), true
}
