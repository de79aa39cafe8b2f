// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Names of secrets that more than one platform has. A name is stored beside the secret, so it never changes.
const (
	SecretAppPassword  = "appPassword"
	SecretAccessToken  = "accessToken"
	SecretRefreshToken = "refreshToken"
	SecretDPoPKey      = "dpopKey" // the private key that tokens are bound to (RFC 9449)
)

// SecretShape says that a platform keeps something to open an account by, and how that is to be treated.
type SecretShape struct {
	Name string
	// Public is for what opens nothing by itself, such as the address of an account's server. The zero value is the safe
	// one: what nobody has thought about is sealed and never shown.
	Public bool
}

// Secrets are what opens an account, by the names of the platform's SecretShapes, in clear text. They live as long as
// one conversation with the platform. Printing, logging or encoding them shows how many there are.
type Secrets map[string]string

// Format is fmt.Formatter's: no verb prints a secret.
// It is asked only where fmt may call methods, which it may not for a field that is not exported: a struct with such a
// field, as the deliveries of the platforms have it, is not to be printed as a whole.
func (s Secrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.hidden()) }

// LogValue is slog.LogValuer's: it comes before what a handler would make of a map by itself.
func (s Secrets) LogValue() slog.Value { return slog.StringValue(s.hidden()) }

// MarshalText is encoding.TextMarshaler's, which the encoders of JSON and YAML heed.
func (s Secrets) MarshalText() ([]byte, error) { return []byte(s.hidden()), nil }

func (s Secrets) hidden() string { return fmt.Sprintf("[%d secrets]", len(s)) }

// ErrNoSecrets says that nothing is stored to open an account by.
var ErrNoSecrets = errors.New("no secrets are stored for the account")

// Credentials are where a Publisher gets the secrets of the account that it publishes to. It is an interface and not
// Secrets, so that nothing is opened for posts that are never sent, and so that a token can be renewed on the way.
type Credentials interface {
	// Get returns the account's secrets; ErrNoSecrets if there are none.
	Get(ctx context.Context) (Secrets, error)
	// Renew returns newer secrets than stale, which the platform does not take any more. If somebody else has renewed them
	// meanwhile it returns theirs: a refresh token that is used twice may end the session (RFC 9700, section 4.14.2).
	Renew(ctx context.Context, stale Secrets) (Secrets, error)
}

// Refresher trades an account's secrets for new ones before they expire.
type Refresher interface {
	// Refresh asks the platform for new secrets. The caller makes sure that nobody else does so for the account at the
	// same time, and stores what it gets before anything else: the old ones may be worthless from here on. The error is a
	// *Failure; CodeAuthFailed says that only the person can help, by connecting the account again.
	Refresh(ctx context.Context, of Account, with Secrets) (Refreshed, error)
}

// Revoker gives an account's secrets back, so that the platform takes them no more.
type Revoker interface {
	// Revoke is called for an account that was disconnected, when its secrets are stored nowhere any more. Nobody waits
	// for it, and if it fails they expire by themselves.
	Revoke(ctx context.Context, of Account, with Secrets) error
}

// Refreshed is what a platform gave for secrets.
type Refreshed struct {
	Secrets   Secrets
	ExpiresAt time.Time // when only the person can renew the connection; zero: never
	RefreshAt time.Time // when to refresh next; zero: never
}
