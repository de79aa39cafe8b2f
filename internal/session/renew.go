// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/store"
)

const (
	// renewalTime is how long a renewal may take, and somebody may wait for another one's.
	renewalTime = 12 * time.Second
	// renewalLease is for how long no other request begins one: until the first has ended, whatever became of it.
	renewalLease = renewalTime + 3*time.Second
	// renewalPause is how long a provider is left alone that could not be reached.
	renewalPause = time.Second
	// mostAhead is how long before its end a credential is renewed at most, and unknownAhead, how long if it does not say
	// since when it is good.
	mostAhead, unknownAhead = 2 * time.Minute, 30 * time.Second
	// revokeTime is how long somebody who signs out waits for their provider.
	revokeTime = 3 * time.Second
)

// renewable tells whether a credential is one that the provider may renew. Of one that does not say when it ends,
// nobody could tell when to: it is used until the apiserver refuses it, and the session is over then.
func (m *Manager) renewable(c Credential) bool {
	return m.o.Provider != nil && c.Refresh != "" && !c.until().IsZero()
}

// nearEnd tells whether it is time for a credential to be renewed: in the last fifth of it.
func (c Credential) nearEnd(now time.Time) bool {
	from, until := c.times()
	ahead := unknownAhead
	if !from.IsZero() {
		ahead = min(mostAhead, until.Sub(from)/5)
	}
	return !now.Before(until.Add(-ahead))
}

// renew has the provider renew a credential. Of all requests at all replicas, one does it, because a provider may take
// a refresh token that comes twice for a stolen one; the others go on with the old credential while it is good, and
// wait for the new one otherwise. The session is returned as it is then. The error is an authn.Refusal if it is over.
func (m *Manager) renew(
	ctx context.Context, token string, row store.SignedIn, is contents,
) (store.SignedIn, contents, error) {
	ctx, stop := context.WithTimeout(ctx, renewalTime)
	defer stop()
	old := row.Version
	for {
		good := m.o.Clock.Now().Before(is.Credential.until()) && !m.here.refused(row)
		first, err := m.work.BeginSessionRenewal(ctx, row.ID, row.Version, renewalLease)
		switch {
		case err != nil && good:
			m.o.Logger.Warn("a session can't be renewed at the moment, and goes on as it is", "error", err)
			return row, is, nil
		case err != nil:
			return row, is, err
		case first:
			return m.renewNow(ctx, token, row, is, good)
		case good:
			return row, is, nil
		case !retry.Pause(ctx, 100*time.Millisecond):
			return row, is, fmt.Errorf("%w: %w: another request is at it", admission.ErrUndecided, oidc.ErrUnavailable)
		}
		// Read anew, and tried anew: if the request that was at it has failed, this one may be the next.
		if row, is, err = m.again(ctx, token, row.ID); err != nil || row.Version != old {
			return row, is, err
		}
	}
}

// again reads a session that another request renews. If it is gone by now, its provider has refused. The error is an
// authn.Refusal if the session is over, whatever has ended it.
func (m *Manager) again(ctx context.Context, token, id string) (row store.SignedIn, is contents, err error) {
	if row, err = m.work.Session(ctx, id); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = authn.NotRenewed
		}
		return row, is, err
	}
	is, err = m.opened(ctx, token, row)
	return row, is, err
}

// renewNow is renew for the one that does it. It goes on if its browser goes away: what the provider has given by then
// is given once. good tells that the old credential still is.
func (m *Manager) renewNow(
	ctx context.Context, token string, row store.SignedIn, is contents, good bool,
) (store.SignedIn, contents, error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), renewalTime)
	defer stop()
	renewed, spare, err := m.askProvider(ctx, is)
	defer m.revoke(ctx, spare) // at the end: what is kept must not wait for it
	switch {
	case errors.Is(err, oidc.ErrUnavailable):
		m.o.Logger.Warn("a session can't be renewed: its OpenID provider is tried again", "error", err)
		if err := m.work.PostponeSessionRenewal(ctx, row.ID, row.Version, renewalPause); err != nil {
			m.o.Logger.Warn("a renewal that has failed is only tried again after some seconds", "error", err)
		}
		if good {
			return row, is, nil
		}
		return row, is, fmt.Errorf("%w: %w", admission.ErrUndecided, err)
	case err != nil:
		m.o.Logger.Info("a session ends: its OpenID provider does not renew it", "person", is.Username, "error", err)
		return row, is, m.end(ctx, row.ID, authn.NotRenewed)
	}
	next := row
	if next.Sealed, next.KeyID, err = m.seal(token, row.ID, renewed); err != nil {
		return row, is, err
	}
	// For as long as there is time, whatever the error: the provider has used up the old refresh token, and if the new
	// one is lost, the session ends at its next renewal.
	var kept bool
	err = retry.Backoff{First: 50 * time.Millisecond, Most: time.Second}.Until(ctx, func(ctx context.Context) (err error) {
		kept, err = m.work.EndSessionRenewal(ctx, next)
		return err
	}, func(error) bool { return true })
	switch {
	case err != nil:
		return row, is, fmt.Errorf("%w: a renewed session can't be stored: %w", admission.ErrUndecided, err)
	case !kept: // they have signed out meanwhile
		m.revoke(ctx, renewed.Credential.Refresh)
		return row, is, m.end(ctx, row.ID, authn.Unknown)
	}
	// As EndSessionRenewal has done in the row: whoever reads it finds a newer credential than what they had.
	next.Version++
	return next, renewed, nil
}

// askProvider returns a session with what the provider and the cluster say now. An error other than ErrUnavailable ends
// the session: the provider has refused, or it is not the same person to the cluster any more. spare is a refresh token
// that nobody keeps, and that is good at the provider until that ends it; "": there is none.
func (m *Manager) askProvider(ctx context.Context, is contents) (_ contents, spare string, err error) {
	given, err := m.o.Provider.Renew(ctx, is.Credential.Refresh, is.Credential.Subject)
	if err != nil {
		return is, given.Refresh, err
	}
	if given.ID == "" {
		m.o.Logger.Warn("the OpenID provider gives no ID token for a refresh token: sessions end with their first one")
		is.Credential.Refresh = ""
		return is, given.Refresh, nil
	}
	if is, err = m.renewedBy(ctx, is, given); err != nil {
		return is, given.Refresh, err
	}
	return is, "", nil
}

// renewedBy is a session with another credential, if its person is who they were.
func (m *Manager) renewedBy(ctx context.Context, is contents, given oidc.Tokens) (contents, error) {
	// A provider that sends no other refresh token means the one that it has: package oauth2 has put that in.
	is.Credential = Credential{Token: given.ID, Refresh: given.Refresh, Subject: given.Subject}
	if !is.Credential.wellFormed() {
		return is, ErrCredential
	}
	cluster, err := m.o.Apiserver.As(given.ID)
	if err != nil {
		return is, err
	}
	// Before it is stored: whatever the provider says, the session must not become somebody else's.
	switch who, err := cluster.WhoAmI(ctx); {
	case apierrors.IsUnauthorized(err):
		return is, err
	case err != nil: // the groups are shown alone: what they give, the apiserver knows
		m.o.Logger.Warn("the cluster could not be asked who somebody is whose session was renewed", "error", err)
	case who.Username != is.Username:
		return is, errors.New("the cluster has another name for them now")
	default:
		is.Groups = who.Groups
	}
	return is, nil
}

// revoke tells the provider that a credential is not renewed any more. Whoever signs out is signed out here whatever it
// says.
func (m *Manager) revoke(ctx context.Context, refresh string) {
	if m.o.Provider == nil || refresh == "" {
		return
	}
	// Also if the browser goes away: nobody else will do it.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), revokeTime)
	defer stop()
	if err := m.o.Provider.Revoke(ctx, refresh); err != nil {
		m.o.Logger.Warn("a refresh token could not be revoked: it is good until its provider ends it", "error", err)
	}
}
