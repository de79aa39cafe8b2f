// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// Credential is what a person acts with in the cluster.
type Credential struct {
	Token   string `json:"token"`             // a bearer token
	Refresh string `json:"refresh,omitempty"` // by which the provider renews it; "": it is not renewed
	Subject string `json:"subject,omitempty"` // whom the provider has named; "": it is not of one
}

// until is when the token says itself that it expires; zero: it does not.
func (c Credential) until() time.Time { _, until := c.times(); return until }

// times are from when to when the token says itself that it is good; zero: it does not. Nothing of it is verified
// here: the apiserver does that with each request, and a session that is told a wrong time is refused there. A token
// that is no JWT says nothing, and is good until the apiserver refuses it.
func (c Credential) times() (from, until time.Time) {
	parts := strings.Split(c.Token, ".")
	if len(parts) != 3 {
		return from, until
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return from, until
	}
	var claims struct {
		Issued  *float64 `json:"iat"` // NumericDate of RFC 7519, section 2
		Expires *float64 `json:"exp"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return from, until
	}
	return timeOf(claims.Issued), timeOf(claims.Expires)
}

func timeOf(seconds *float64) time.Time {
	const farAway = 1 << 40 // more seconds than any calendar has
	if seconds == nil || *seconds < 0 || *seconds > farAway {
		return time.Time{}
	}
	return time.Unix(int64(*seconds), 0)
}

// contents is what is sealed of a session. Replicas of two releases read one another's: a member keeps its name and
// its meaning.
type contents struct {
	Credential Credential `json:"credential"`
	Username   string     `json:"username"`
	Groups     []string   `json:"groups,omitempty"`
	SignedInAt time.Time  `json:"signedInAt"`
	ExpiresAt  time.Time  `json:"expiresAt"`
}

// person is the reference that the row has in clear, by which the database bounds how many sessions one person has.
func (c *contents) person() string {
	a := caller.PersonActor(c.Username, c.ExpiresAt)
	return a.Ref()
}

// A session is sealed twice. Its own token seals it first: that is stored nowhere, so that whoever has the database,
// with the vault's keyset or without, opens no session that its browser does not show. The vault seals it once more, if
// there is one: who has a stolen cookie's token and a copy of the database opens nothing either, and who can write to
// the database makes no session, as its name would be any that they like.

// ownKey makes of a token what its session is sealed with. It is bound to the environment, and to the row by its id.
func ownKey(token string, environment key.Environment) (cipher.AEAD, error) {
	// Without a salt: the token is random by itself, of 128 bits at least (Options.NewToken).
	secret, err := hkdf.Key(sha256.New, []byte(token), nil, "letmepost/session/1/"+string(environment), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// vaultOf is what the vault binds it to. A session is of no organization: the environment stands in the place of one.
func (m *Manager) vaultOf(id string) vault.Of {
	return vault.Of{Organization: string(m.o.Environment), Account: id, Name: "session"}
}

// seal returns what is stored of a session, and the vault's key; 0 without a vault.
func (m *Manager) seal(token, id string, is contents) ([]byte, uint32, error) {
	text, err := json.Marshal(is)
	if err != nil {
		return nil, 0, errors.New("a session can't be encoded") // json's error may hold some of it
	}
	own, err := ownKey(token, m.o.Environment)
	if err != nil {
		return nil, 0, fmt.Errorf("seal a session: %w", err)
	}
	// The id is authenticated with it: what is copied into another row does not open there.
	sealed := own.Seal(nil, nil, text, []byte(id)) //nolint:gosec // G407: it takes no nonce, and makes a random one itself
	return m.sealByVault(id, sealed)
}

func (m *Manager) sealByVault(id string, text []byte) ([]byte, uint32, error) {
	if m.o.Vault == nil {
		return text, 0, nil
	}
	sealed, err := m.o.Vault.Seal(text, m.vaultOf(id))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errVault, err)
	}
	by, _ := vault.KeyID(sealed)
	return sealed, by, nil
}

// errVault says that sessions can't be opened or begun at the moment.
var errVault = fmt.Errorf("%w: the vault is not in order", admission.ErrUndecided)

// openByVault returns what the session's token has sealed. A row with the key id 0 was sealed without a vault. It is
// taken as it is by a process that has none either, and by no other: a token seals whatever its owner likes, and only
// the vault tells that the session was made here. So sessions that are older than the keyset end with it.
//
// The error is vault.ErrTampered, or errVault, of which nothing follows for the session.
func (m *Manager) openByVault(row store.SignedIn) ([]byte, error) {
	switch {
	case row.KeyID == 0 && m.o.Vault == nil:
		return row.Sealed, nil
	case row.KeyID == 0:
		return nil, fmt.Errorf("session: the vault has not sealed it: %w", vault.ErrTampered)
	case m.o.Vault == nil:
		return nil, fmt.Errorf("%w: this process has none, and another one has sealed the session with one", errVault)
	}
	text, err := m.o.Vault.Open(row.Sealed, m.vaultOf(row.ID))
	if err != nil && !errors.Is(err, vault.ErrTampered) {
		err = fmt.Errorf("%w: %w", errVault, err)
	}
	return text, err
}

// open is the way back. The error is vault.ErrTampered for what was never sealed as this session, or
// admission.ErrUndecided.
func (m *Manager) open(token string, row store.SignedIn) (is contents, err error) {
	text, err := m.openByVault(row)
	if err != nil {
		return is, err
	}
	own, err := ownKey(token, m.o.Environment)
	if err != nil {
		return is, fmt.Errorf("open a session: %w", err)
	}
	if text, err = own.Open(nil, nil, text, []byte(row.ID)); err != nil {
		return is, fmt.Errorf("session: %w", vault.ErrTampered)
	}
	if json.Unmarshal(text, &is) != nil {
		return is, fmt.Errorf("session: what was sealed is not a session: %w", vault.ErrTampered)
	}
	// The row says in clear whose it is and until when, for what the database does by itself. Who can write there must not
	// gain by it: what is sealed decides. The database keeps microseconds.
	if is.person() != row.Person || is.ExpiresAt.Before(row.ExpiresAt.Truncate(time.Microsecond)) {
		return is, fmt.Errorf("session: its row has been changed: %w", vault.ErrTampered)
	}
	return is, nil
}

// sealAgain returns the row sealed under the vault's primary key: so the keys of the vault can be exchanged while
// people are signed in. What can't be sealed anew stays as it is: it opens, and that it was used is noted all the same.
func (m *Manager) sealAgain(row store.SignedIn) store.SignedIn {
	if m.o.Vault == nil {
		return row
	}
	keys, err := m.o.Vault.Keyset()
	if err != nil || keys.Primary() == row.KeyID {
		return row
	}
	text, err := m.openByVault(row)
	if err != nil {
		return row
	}
	if sealed, by, err := m.sealByVault(row.ID, text); err == nil {
		row.Sealed, row.KeyID = sealed, by
	}
	return row
}
