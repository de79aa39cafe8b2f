// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// handoverFor is how long what was handed over waits for its browser: a person has to press a button meanwhile.
const handoverFor = time.Minute

// handoverSecret is what a code is stored and sealed by. No cookie holds a byte of zero, so that a code is never a
// session's token, nor the other way round.
func handoverSecret(code string) string { return "handover\x00" + code }

// ErrHandover says that a code is none: it never was, somebody has used it, or its minute is over.
var ErrHandover = errors.New("this code is not good, or not any more")

// HandOver keeps a bearer token of the cluster for the browser of whoever has it, and returns a code that is good for
// one sign-in at any replica, and until when. Errors are those of SignIn.
//
// It waits as a row among the sessions, sealed by its code as they are by their tokens: nothing else that is stored
// opens it, and what nobody comes for is purged.
func (m *Manager) HandOver(ctx context.Context, credential string) (code string, until time.Time, err error) {
	is, _, err := m.recognise(ctx, Credential{Token: credential})
	if err != nil {
		return "", time.Time{}, err
	}
	if wait := is.SignedInAt.Add(handoverFor); wait.Before(is.ExpiresAt) {
		is.ExpiresAt = wait
	}
	code = m.o.NewToken()
	if _, err := m.add(ctx, handoverSecret(code), is); err != nil {
		return "", time.Time{}, err
	}
	return code, is.ExpiresAt, nil
}

// HandedOver says as whom a code signs in, and does not use it up: whoever follows a link may be a machine that looks
// ahead. The error of one that is no good is ErrHandover.
func (m *Manager) HandedOver(ctx context.Context, code string) (username string, err error) {
	is, err := m.handover(ctx, code)
	return is.Username, err
}

// TakeOver is SignIn with what was handed over. It can be done once, also where two replicas are asked at the same
// moment, and also if the sign-in fails then.
func (m *Manager) TakeOver(ctx context.Context, code string) (token string, p *Person, err error) {
	is, err := m.handover(ctx, code)
	if err != nil {
		return "", nil, err
	}
	done, err := m.work.TakeSession(ctx, idOf(handoverSecret(code)))
	switch {
	case err != nil:
		return "", nil, err
	case !done:
		return "", nil, ErrHandover
	}
	return m.begin(ctx, is.Credential)
}

func (m *Manager) handover(ctx context.Context, code string) (is contents, err error) {
	secret := handoverSecret(code)
	row, err := m.work.Session(ctx, idOf(secret))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !m.o.Clock.Now().Before(row.ExpiresAt):
		return is, ErrHandover
	case err != nil:
		return is, err
	}
	is, err = m.open(secret, row)
	if errors.Is(err, vault.ErrTampered) {
		return is, fmt.Errorf("%w: %w", ErrHandover, err)
	}
	return is, err
}
