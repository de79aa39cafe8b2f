// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// Begun is a connection that has begun in a browser, as it is kept until the browser comes back. All of it is sealed,
// because Resume is a secret, and because whoever could change the rest could have an account connected to somebody
// else's organization. Another process may open it, of another release.
type Begun struct {
	Platform         platform.Name `json:"platform"`
	Actor            string        `json:"actor"` // who began it, as rows name them
	OrganizationID   string        `json:"organizationId"`
	OrganizationName string        `json:"organizationName"`
	ProfileID        string        `json:"profileId,omitempty"` // that the account is to belong to; "": none
	CallbackURL      string        `json:"callbackUrl"`
	ReturnTo         string        `json:"returnTo,omitempty"` // an URL; "": a page of this server
	Resume           []byte        `json:"resume,omitempty"`   // see platform.Begun
}

// How long a browser may take to come back, and the same for people to read.
// platform.Descriptor says it to clients, too.
const (
	ReturnWithin      = 10 * time.Minute
	ReturnWithinWords = "ten minutes"
)

// begunSecret is what it is sealed as, beside the secrets of accounts.
const begunSecret = "oauth_state"

// begunID is by which it is stored: the browser's state can't be made of it, so whoever reads the database comes back
// for nobody. The state has 32 random bytes (package connecting), so a hash without salt is enough.
func begunID(state string) string {
	sum := sha256.Sum256([]byte(state))
	return hex.EncodeToString(sum[:])
}

// SealBegun makes the row of one. state is what the browser is to come back with, and is stored nowhere. It is bound
// to its id and organization, so a row that was moved to another state or organization does not open.
func (k *Keeper) SealBegun(state string, b Begun) (store.Connecting, error) {
	text, err := json.Marshal(b)
	if err != nil {
		return store.Connecting{}, fmt.Errorf("encode a connection that has begun: %w", err)
	}
	id := begunID(state)
	sealed, err := k.o.Vault.Seal(text, vault.Of{Organization: b.OrganizationID, Account: id, Name: begunSecret})
	if err != nil {
		return store.Connecting{}, fmt.Errorf("seal a connection that has begun: %w", err)
	}
	// The key is counted as needed while this waits. It is not sealed again under another one: it is gone in minutes.
	key, _ := vault.KeyID(sealed)
	return store.Connecting{
		ID: id, Platform: b.Platform, KeyID: key, Sealed: sealed, ExpiresAt: k.o.Clock.Now().Add(ReturnWithin),
	}, nil
}

// Errors of TakeBegun.
var (
	ErrNoneBegun    = errors.New("no connection that waits for a browser has this state")
	ErrReturnedLate = errors.New("the connection has waited for its browser for too long")
	ErrUnusable     = errors.New("the vault is not in order")
)

// TakeBegun returns the one that a browser has come back to. It is taken whatever becomes of it: nobody else gets
// it. The error is ErrNoneBegun, also for one that was changed, ErrReturnedLate (with it), ErrUnusable, the database's,
// or has no name: what opened is no Begun that this release can read. It is taken before it is opened: who shows a
// state twice, or two at once, finds that it is gone.
func (k *Keeper) TakeBegun(ctx context.Context, of platform.Name, state string) (Begun, error) {
	c, err := k.work.TakeConnecting(ctx, begunID(state))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Begun{}, ErrNoneBegun
	case err != nil:
		return Begun{}, err
	}
	text, err := k.o.Vault.Open(c.Sealed, vault.Of{Organization: c.Organization, Account: c.ID, Name: begunSecret})
	switch {
	case errors.Is(err, vault.ErrTampered):
		k.o.Logger.Error("a connection that has begun does not open: it was changed", "error", err)
		return Begun{}, ErrNoneBegun
	case err != nil:
		return Begun{}, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	var b Begun
	if err := json.Unmarshal(text, &b); err != nil {
		return Begun{}, errors.New("decode a connection that has begun") // json's error may hold some of it
	}
	switch {
	case b.Platform != of: // by another platform's callback: a mix-up, see RFC 9207
		return Begun{}, ErrNoneBegun
	case !k.o.Clock.Now().Before(c.ExpiresAt):
		return b, ErrReturnedLate
	}
	return b, nil
}
