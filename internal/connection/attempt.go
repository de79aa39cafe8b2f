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

// Attempt is a connection that has begun in a browser, as it is kept until the browser comes back. All of it is sealed,
// because Resume is a secret, and because whoever could change the rest could have an account connected to somebody
// else's organization.
type Attempt struct {
	Platform         platform.Name `json:"platform"`
	Actor            string        `json:"actor"` // who began it, as rows name them
	OrganizationID   string        `json:"organizationId"`
	OrganizationName string        `json:"organizationName"`
	ProfileID        string        `json:"profileId,omitempty"` // that the account is to belong to; "": none
	CallbackURL      string        `json:"callbackUrl"`
	ReturnTo         string        `json:"returnTo,omitempty"` // an URL; "": a page of this server
	Resume           []byte        `json:"resume,omitempty"`   // see platform.Begun
}

// AttemptWithin is how long a browser may take to come back.
const AttemptWithin = 10 * time.Minute

// attemptSecret is what an attempt is sealed as, beside the secrets of accounts.
const attemptSecret = "oauth_state"

// attemptID is by which an attempt is stored: the browser's state can't be made of it.
func attemptID(state string) string {
	sum := sha256.Sum256([]byte(state))
	return hex.EncodeToString(sum[:])
}

// SealAttempt makes the row of an attempt. state is what the browser is to come back with, and is stored nowhere.
func (k *Keeper) SealAttempt(state string, a Attempt) (store.Connecting, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return store.Connecting{}, fmt.Errorf("encode a connection that has begun: %w", err)
	}
	id := attemptID(state)
	sealed, err := k.o.Vault.Seal(text, vault.Of{Organization: a.OrganizationID, Account: id, Name: attemptSecret})
	if err != nil {
		return store.Connecting{}, fmt.Errorf("seal a connection that has begun: %w", err)
	}
	key, _ := vault.KeyID(sealed)
	return store.Connecting{
		ID: id, Platform: a.Platform, KeyID: key, Sealed: sealed, ExpiresAt: k.o.Clock.Now().Add(AttemptWithin),
	}, nil
}

// Errors of TakeAttempt.
var (
	ErrNoAttempt      = errors.New("no connection that waits for a browser has this state")
	ErrAttemptExpired = errors.New("the connection has waited for its browser for too long")
	ErrUnusable       = errors.New("the vault is not in order")
)

// TakeAttempt returns the attempt that a browser has come back to. It is taken whatever becomes of it: nobody else gets
// it. The error is ErrNoAttempt, also for one that was changed, ErrAttemptExpired (with the attempt), ErrUnusable, or
// the database's.
func (k *Keeper) TakeAttempt(ctx context.Context, of platform.Name, state string) (Attempt, error) {
	c, err := k.work.TakeConnecting(ctx, attemptID(state))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Attempt{}, ErrNoAttempt
	case err != nil:
		return Attempt{}, err
	}
	text, err := k.o.Vault.Open(c.Sealed, vault.Of{Organization: c.Organization, Account: c.ID, Name: attemptSecret})
	switch {
	case errors.Is(err, vault.ErrTampered):
		k.o.Logger.Error("a connection that has begun does not open: it was changed", "error", err)
		return Attempt{}, ErrNoAttempt
	case err != nil:
		return Attempt{}, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	var a Attempt
	if err := json.Unmarshal(text, &a); err != nil {
		return Attempt{}, errors.New("decode a connection that has begun") // json's error may hold some of it
	}
	switch {
	case a.Platform != of: // by another platform's callback: a mix-up, see RFC 9207
		return Attempt{}, ErrNoAttempt
	case !k.o.Clock.Now().Before(c.ExpiresAt):
		return a, ErrAttemptExpired
	}
	return a, nil
}
