// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Account is a connected account of a platform. The same one may be connected to several profiles: each has its own row.
type Account struct {
	ID                string
	ProfileID         string // "": of the organization alone
	Platform          platform.Name
	PlatformAccountID string
	DisplayName       string    // "": none
	TokenExpiresAt    time.Time // zero: never
	CreatedAt         time.Time
	UpdatedAt         time.Time
}

// Accounts lists accounts. more tells whether there are any after the last of these.
func (v *View) Accounts(ctx context.Context, p Page) (accounts []Account, more bool, err error) {
	panic("TODO")
}

// AccountsOf returns the accounts of one platform, at most limit.
func (v *View) AccountsOf(ctx context.Context, name platform.Name, limit int) ([]Account, error) {
	panic("TODO")
}

// Account returns one account. Without it, or with an id that is none, the error is ErrNotFound.
func (v *View) Account(ctx context.Context, id string) (Account, error) { panic("TODO") }

// PutAccount connects an account, or renews the one of the same profile, platform and platform account. Of a, ID and CreatedAt count
// for a new one only. A profile that the view does not reach is ErrNotFound.
func (tx *Tx) PutAccount(a Account) (_ Account, created bool, err error) { panic("TODO") }

// DeleteAccount disconnects an account and cancels its queued posts. What it has published stays, without an account.
func (tx *Tx) DeleteAccount(id string) error { panic("TODO") }
