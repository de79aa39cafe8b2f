// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

func newKeysetOf(t testing.TB) *Keyset {
	t.Helper()
	k, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func encode(t testing.TB, k *Keyset, kms KMS) []byte {
	t.Helper()
	text, err := k.Encode(kms)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// testKMS is what the client of a key management service is to Tink: an AEAD whose key is elsewhere.
func testKMS(t testing.TB) KMS {
	t.Helper()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	a, err := aead.New(handle)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// away is a KMS that can't be reached.
type away struct{ tink.AEAD }

func (away) Decrypt([]byte, []byte) ([]byte, error) {
	return nil, errors.New("dial tcp: no route to host")
}

func TestKeysetIsWrittenAndRead(t *testing.T) {
	k, id, err := newKeysetOf(t).Add()
	if err != nil {
		t.Fatal(err)
	}
	of := Of{"org", "account", "accessToken"}
	for name, kms := range map[string]KMS{"in clear text": nil, "encrypted by a KMS": testKMS(t)} {
		text := encode(t, k, kms)
		read, err := ParseKeyset(text, kms)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if read.Primary() != k.Primary() || !slices.Equal(read.Keys(), k.Keys()) || !read.Has(id) {
			t.Errorf("%s: read %v, wrote %v", name, read, k)
		}
		sealed, err := k.seal([]byte("token"), of)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := read.open(sealed, of); err != nil || string(plain) != "token" {
			t.Errorf("%s: opened %q, %v", name, plain, err)
		}
		if clear := encode(t, k, nil); kms != nil && strings.Contains(string(text), string(clear[100:140])) {
			t.Errorf("%s: the keys stand in it", name)
		}
	}
}

// foreign is a keyset of Tink's that is not the vault's.
func foreign(t *testing.T, change func(*keyset.Manager)) []byte {
	t.Helper()
	manager := keyset.NewManager()
	change(manager)
	handle, err := manager.Handle()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
		t.Fatal(err)
	}
	return []byte(text.String())
}

func TestBrokenKeysets(t *testing.T) {
	whole := encode(t, newKeysetOf(t), nil)
	kms := testKMS(t)
	encrypted := encode(t, newKeysetOf(t), kms)
	add := func(m *keyset.Manager) uint32 {
		id, err := m.Add(aead.AES256GCMKeyTemplate())
		if err != nil {
			t.Fatal(err)
		}
		if err := m.SetPrimary(id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	for _, tc := range []struct {
		reason string
		text   []byte
		kms    KMS
		want   string
	}{
		{"empty", nil, nil, "it is empty"},
		{"white space", []byte(" \n"), nil, "it is empty"},
		{"cut off", whole[:len(whole)/2], nil, "no whole JSON"},
		{"another file", []byte("-----BEGIN CERTIFICATE-----"), nil, "no whole JSON"},
		{"far too large", slices.Repeat([]byte("x"), maxKeyset+1), nil, "more than 65536 bytes"},
		{"JSON of something else", []byte(`{"a": 1}`), nil, "no keyset"},
		{"a list", []byte(`[]`), nil, "no keyset"},
		{"null", []byte(`null`), nil, "no keyset"},
		{"no keys", []byte(`{"primaryKeyId": 1, "key": []}`), nil, "no keyset"},
		{"a key of no kind", []byte(`{"primaryKeyId": 1, "key": [{"keyId": 1, "status": "ENABLED"}]}`), nil, "no keyset"},
		{"encrypted, and no KMS", encrypted, nil, "none is given"},
		{"encrypted by another KMS", encrypted, testKMS(t), "does not decrypt it"},
		{"the KMS is away", encrypted, away{}, "no route to host"},
		{"in clear text, and a KMS", whole, kms, "in clear text"},
		{"keys of 128 bits", foreign(t, func(m *keyset.Manager) {
			add(m)
			if _, err := m.Add(aead.AES128GCMKeyTemplate()); err != nil {
				t.Fatal(err)
			}
		}), nil, "not of AES-256-GCM"},
		{"keys without their id in front", foreign(t, func(m *keyset.Manager) {
			add(m)
			if _, err := m.Add(aead.AES256GCMNoPrefixKeyTemplate()); err != nil {
				t.Fatal(err)
			}
		}), nil, "not of AES-256-GCM"},
		{"a key that is disabled", foreign(t, func(m *keyset.Manager) {
			first := add(m)
			add(m)
			if err := m.Disable(first); err != nil {
				t.Fatal(err)
			}
		}), nil, "not enabled"},
	} {
		k, err := ParseKeyset(tc.text, tc.kms)
		if !errors.Is(err, ErrKeyset) || !strings.Contains(err.Error(), tc.want) || k != nil {
			t.Errorf("%s: %v, %v; want no keyset and an error with %q", tc.reason, k, err, tc.want)
		}
	}
}

// TestErrorsHideKeys: a keyset with a mistake in it is still one with keys in it.
func TestErrorsHideKeys(t *testing.T) {
	k := newKeysetOf(t)
	whole := string(encode(t, k, nil))
	value := strings.Split(strings.Split(whole, `"value":"`)[1], `"`)[0]
	for _, broken := range []string{
		strings.Replace(whole, `"value":"`, `"value":"!`, 1),
		strings.Replace(whole, `"value":`, `"valeu":`, 1),
		strings.Replace(whole, value, value[:len(value)-4], 1),
		strings.Replace(whole, `"keyMaterialType":"`, `"keyMaterialType":"`+value, 1),
		value, `"` + value + `"`,
	} {
		_, err := ParseKeyset([]byte(broken), nil)
		if err == nil {
			t.Errorf("%d bytes were taken", len(broken))
		} else if strings.Contains(err.Error(), value[4:20]) {
			t.Errorf("the error shows a key")
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		if shown := fmt.Sprintf(verb, k); !strings.HasPrefix(shown, "keys [") {
			t.Errorf("%s shows %s", verb, shown)
		}
	}
}

func TestRotation(t *testing.T) {
	first := newKeysetOf(t)
	of := Of{"org", "account", "name"}
	old, err := first.seal([]byte("old"), of)
	if err != nil {
		t.Fatal(err)
	}
	added, id, err := first.Add()
	if err != nil {
		t.Fatal(err)
	}
	if added.Primary() != first.Primary() || !slices.Equal(added.Keys(), []uint32{first.Primary(), id}) {
		t.Errorf("added: %v, want %d still primary and %d behind it", added, first.Primary(), id)
	}
	if _, err := added.Retire(first.Primary()); !errors.Is(err, ErrKeyset) {
		t.Errorf("the primary key is retired: %v", err)
	}
	promoted, err := added.Promote(id)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := promoted.seal([]byte("new"), of)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := KeyID(sealed); !ok || got != id {
		t.Errorf("sealed under %d, want %d", got, id)
	}
	for name, k := range map[string]*Keyset{"added": added, "promoted": promoted} {
		for want, text := range map[string][]byte{"old": old, "new": sealed} {
			if plain, err := k.open(text, of); err != nil || string(plain) != want {
				t.Errorf("%s: opened %q, %v; want %q", name, plain, err, want)
			}
		}
	}
	if _, err := first.open(sealed, of); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("who does not know the key: %v, want ErrUnknownKey", err)
	}
	retired, err := promoted.Retire(first.Primary())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := retired.open(old, of); !errors.Is(err, ErrUnknownKey) || !slices.Equal(retired.Keys(), []uint32{id}) {
		t.Errorf("retired: %v, %v", retired, err)
	}
	for _, unknown := range []uint32{0, first.Primary()} {
		_, promote := retired.Promote(unknown)
		_, retire := retired.Retire(unknown)
		if !errors.Is(promote, ErrKeyset) || !errors.Is(retire, ErrKeyset) {
			t.Errorf("key %d, which is not there: %v, %v", unknown, promote, retire)
		}
	}
}

func FuzzParseKeyset(f *testing.F) {
	whole := encode(f, newKeysetOf(f), nil)
	kms := testKMS(f)
	f.Add(whole)
	f.Add(whole[:len(whole)-9])
	f.Add(encode(f, newKeysetOf(f), kms))
	f.Add([]byte(`{"primaryKeyId":1,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.AesGcmKey",` +
		`"value":"GiAAAA==","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":1,"outputPrefixType":"TINK"}]}`))
	of := Of{"org", "account", "name"}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, with := range []KMS{nil, kms} {
			k, err := ParseKeyset(text, with)
			if err != nil {
				if !errors.Is(err, ErrKeyset) || k != nil {
					t.Fatalf("%v, %v", k, err)
				}
				continue
			}
			// What was taken works, and survives being written.
			sealed, err := k.seal([]byte("x"), of)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseKeyset(encode(t, k, with), with)
			if err != nil {
				t.Fatal(err)
			}
			if plain, err := again.open(sealed, of); err != nil || string(plain) != "x" {
				t.Fatalf("%q, %v", plain, err)
			}
		}
	})
}
