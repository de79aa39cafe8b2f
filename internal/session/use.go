// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// useEvery is how often it is written that a session is used, at most.
const useEvery = time.Minute

type unattendedKey struct{}

// Unattended has whoever is found in a context not use their session by it: a page that is left open asks by itself,
// and the session is to end when nobody is there (store.SessionIdle). Anybody may say so of their own requests, because
// their session lasts no longer for it.
func Unattended(ctx context.Context) context.Context {
	return context.WithValue(ctx, unattendedKey{}, true)
}

// noteUse writes that a session is used, and has it sealed under the vault's present key. What goes wrong with it must
// not keep anybody from what they want: their session ends earlier.
func (m *Manager) noteUse(ctx context.Context, row store.SignedIn, now time.Time) {
	if ctx.Value(unattendedKey{}) != nil || now.Sub(row.UsedAt) < useEvery {
		return
	}
	row = m.sealAgain(row)
	if err := m.work.UseSession(ctx, row, now); err != nil && ctx.Err() == nil {
		m.o.Logger.Warn("could not note that a session is used: it ends earlier", "error", err)
	}
}
