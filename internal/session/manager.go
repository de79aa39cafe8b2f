// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

const (
	// absoluteTimeout is how long a session lasts at most; store.SessionIdle, how long without being used (the terms of
	// OWASP).
	absoluteTimeout = 12 * time.Hour
	// maxCredential is more than the token of any provider that puts groups into it, and less than what a server takes as
	// a header: the apiserver is shown it with each request.
	maxCredential = 16 << 10
)

// maxAsking is how many credentials of people who are not recognised yet the apiserver is asked about at once:
// anybody may send any, and it has others to answer. Each replica has as many places.
const maxAsking = 20

// bounds is how many sessions there may be. Whoever signs in is never refused for them: the longest unused one ends.
var bounds = store.SessionBounds{Person: 20, All: 10_000}

// Options are what a Manager is made of. All are required except where they say otherwise.
type Options struct {
	Apiserver   *Apiserver
	Environment key.Environment
	Store       *store.DB
	// Vault seals sessions, beside what each is sealed with by its own token. Optional: nil where this process has no
	// keyset.
	Vault *vault.Vault
	// Provider is what people sign in by, other than with a token of the cluster. Optional.
	Provider *oidc.Provider
	// Listed are the organizations that have keys or profiles, for people who may not list namespaces. Optional.
	Listed   func() []caller.Organization
	NewToken func() string // of at least 128 random bits
	Clock    clock.PassiveClock
	Logger   *slog.Logger
}

// Manager has everybody's sessions. They are in the database, which is asked for each request: who has signed out is
// signed out at every replica at once. It is safe for concurrent use.
type Manager struct {
	o    Options
	work *store.Work
	// here may forget anything. It is no cache of the database, which is asked for each request.
	here *people
	// asking has a place for each question about a credential that nobody has vouched for yet.
	asking chan struct{}
}

// New returns a Manager. The error says what is missing.
func New(o Options) (*Manager, error) {
	if o.Apiserver == nil || o.Store == nil || o.NewToken == nil || o.Clock == nil || o.Logger == nil {
		return nil, errors.New("session: Apiserver, Store, NewToken, Clock and Logger are required")
	}
	if o.Listed == nil {
		o.Listed = func() []caller.Organization { return nil }
	}
	return &Manager{o: o, work: o.Store.Work(), here: newPeople(), asking: make(chan struct{}, maxAsking)}, nil
}

// idOf is by which a session is stored: the token can't be made of it. To find a row by it tells nothing of the token
// by how long it takes.
func idOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// ErrCredential says that a text is no credential, whoever is asked.
var ErrCredential = errors.New("this is no bearer token")

// ErrBusy says that as many people sign in at this moment as the apiserver is asked about at once.
var ErrBusy = errors.New("too many sign-ins at once")

// SignIn begins a session for whoever has this bearer token of the cluster. token is what their browser is to show from
// now on, another one each time. An error of the apiserver says that the credential is good for nobody (Unauthorized),
// or why it can't tell; others are ErrCredential, ErrBusy, those of the database, and
// admission.ErrUndecided.
func (m *Manager) SignIn(ctx context.Context, credential string) (token string, p *Person, err error) {
	return m.begin(ctx, Credential{Token: credential})
}

// SignInBy is SignIn for whoever the provider has given these tokens. The ID token is their credential.
func (m *Manager) SignInBy(ctx context.Context, t oidc.Tokens) (token string, p *Person, err error) {
	token, p, err = m.begin(ctx, Credential{Token: t.ID, Refresh: t.Refresh, Subject: t.Subject})
	// There is no session to keep it in, and it is good at the provider until that ends it.
	if err != nil {
		m.revoke(ctx, t.Refresh)
	}
	return token, p, err
}

// begin is SignIn, also for a credential that can be renewed.
func (m *Manager) begin(ctx context.Context, c Credential) (string, *Person, error) {
	is, cluster, err := m.recognise(ctx, c)
	if err != nil {
		return "", nil, err
	}
	token := m.o.NewToken()
	row, err := m.add(ctx, token, is)
	if err != nil {
		return "", nil, err
	}
	return token, m.person(row, is, m.here.put(row, cluster)), nil
}

// recognise asks the apiserver whose credential it is, and returns what a session with it is made of.
func (m *Manager) recognise(ctx context.Context, c Credential) (is contents, _ *Cluster, err error) {
	if !c.wellFormed() {
		return is, nil, ErrCredential
	}
	select {
	case m.asking <- struct{}{}:
		defer func() { <-m.asking }()
	default:
		return is, nil, ErrBusy
	}
	cluster, err := m.o.Apiserver.As(c.Token)
	if err != nil {
		return is, nil, err
	}
	who, err := cluster.WhoAmI(ctx)
	if err != nil {
		return is, nil, err
	}
	now := m.o.Clock.Now()
	is = contents{
		Credential: c, Username: who.Username, Groups: who.Groups,
		SignedInAt: now.UTC(), ExpiresAt: now.Add(absoluteTimeout).UTC(),
	}
	// A credential that is renewed outlasts its first token. Any other ends the session with it.
	if until := c.until(); !until.IsZero() && until.Before(is.ExpiresAt) && c.Refresh == "" {
		is.ExpiresAt = until.UTC()
	}
	return is, cluster, nil
}

// add stores what whoever has the token can open.
func (m *Manager) add(ctx context.Context, token string, is contents) (row store.SignedIn, err error) {
	row = store.SignedIn{
		ID: idOf(token), Person: is.person(), Version: 1, UsedAt: is.SignedInAt, ExpiresAt: is.ExpiresAt,
	}
	if row.Sealed, row.KeyID, err = m.seal(token, row.ID, is); err != nil {
		return row, err
	}
	return row, m.work.AddSession(ctx, row, bounds)
}

// Find returns who shows this token; the error of one that is nobody's, or not any more, is an authn.Refusal. Others
// are those of the database, and admission.ErrUndecided.
//
// The active organization is that of the namespace as it is now: of one that was deleted and made again under its name,
// nobody sees what was there before.
func (m *Manager) Find(ctx context.Context, token string) (*Person, error) {
	p, row, err := m.find(ctx, token)
	if err != nil || p.Organization.ID == "" {
		return p, err
	}
	now, err := m.present(ctx, p.Cluster, p.Organization)
	switch {
	case p.Cluster.Refused():
		return nil, m.refused(ctx, p, row.ID)
	case errors.Is(err, admission.ErrNoOrganization), err == nil && now != p.Organization:
		p.Organization = caller.Organization{}
	case err != nil:
		return nil, fmt.Errorf("%w: the cluster can't be asked: %w", admission.ErrUndecided, err)
	}
	return p, nil
}

// find is Find, with the organization as it was chosen.
func (m *Manager) find(ctx context.Context, token string) (*Person, store.SignedIn, error) {
	id := idOf(token)
	row, err := m.work.Session(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		m.here.drop(id)
		return nil, row, authn.Unknown
	case err != nil:
		return nil, row, err
	}
	now := m.o.Clock.Now()
	if !now.Before(row.ExpiresAt) || now.Sub(row.UsedAt) >= store.SessionIdle {
		return nil, row, m.end(ctx, id, authn.Expired)
	}
	is, err := m.opened(ctx, token, row)
	if err != nil {
		return nil, row, err
	}
	// One that the apiserver has refused is renewed like one that is near its end: whether its person may go on is the
	// provider's to say.
	if m.renewable(is.Credential) && (is.Credential.nearEnd(now) || m.here.refused(row)) {
		if row, is, err = m.renew(ctx, token, row, is); err != nil {
			return nil, row, err
		}
	}
	p, err := m.personBy(ctx, row, is, now)
	return p, row, err
}

// opened is open for whoever shows the token. What was never sealed as this session ends, as an authn.Refusal.
func (m *Manager) opened(ctx context.Context, token string, row store.SignedIn) (contents, error) {
	is, err := m.open(token, row)
	if errors.Is(err, vault.ErrTampered) {
		m.o.Logger.Error("a session does not open, and ends: it was changed, or is older than the keyset", "error", err)
		err = m.end(ctx, row.ID, authn.Unknown)
	}
	return is, err
}

// personBy returns whose a session is that was found and opened, if their credential is good.
func (m *Manager) personBy(ctx context.Context, row store.SignedIn, is contents, now time.Time) (*Person, error) {
	if until := is.Credential.until(); !until.IsZero() && !now.Before(until) {
		return nil, m.end(ctx, row.ID, authn.Expired)
	}
	h, err := m.here.of(row, func() (*Cluster, error) { return m.o.Apiserver.As(is.Credential.Token) })
	if err != nil {
		return nil, err
	}
	if h.cluster.Refused() { // by the apiserver, whatever was asked
		return nil, m.end(ctx, row.ID, authn.Revoked)
	}
	m.noteUse(ctx, row, now)
	return m.person(row, is, h), nil
}

// refused is what becomes of a session whose credential the apiserver has refused just now. One that can be renewed
// stays: the next request finds the refusal in people, and has it renewed.
func (m *Manager) refused(ctx context.Context, p *Person, id string) error {
	if p.renewable {
		return ErrNotTaken
	}
	return m.end(ctx, id, authn.Revoked)
}

// end ends a session, and returns why. Whoever else finds it in between is told the same by what they find.
func (m *Manager) end(ctx context.Context, id string, why authn.Refusal) error {
	m.here.drop(id)
	if err := m.work.EndSession(ctx, id); err != nil && ctx.Err() == nil {
		m.o.Logger.Warn("a session that is over could not be deleted yet", "error", err)
	}
	return why
}

// SignOut ends a session at every replica, if there is one, and what its credential is renewed by at its provider. An
// error says that it may not have ended.
func (m *Manager) SignOut(ctx context.Context, token string) error {
	id := idOf(token)
	// Read before the row is gone: it is nowhere else. Whoever can't have it read is signed out all the same.
	var refresh string
	if m.o.Provider != nil {
		if row, err := m.work.Session(ctx, id); err == nil {
			if is, err := m.open(token, row); err == nil {
				refresh = is.Credential.Refresh
			}
		}
	}
	m.here.drop(id)
	if err := m.work.EndSession(ctx, id); err != nil {
		return err
	}
	m.revoke(ctx, refresh)
	return nil
}

// Username returns whose session a token is; "": there is none. The cluster is not asked, so that whoever only signs
// out waits for nothing.
func (m *Manager) Username(ctx context.Context, token string) string {
	p, _, err := m.find(ctx, token)
	if err != nil {
		return ""
	}
	return p.Username
}

// Choose makes an organization the active one of a session. Whether the person may see anything of it is asked of the
// cluster for each thing that they want to see.
func (m *Manager) Choose(ctx context.Context, token string, o caller.Organization) error {
	done, err := m.work.ChooseOrganization(ctx, idOf(token), o)
	if err == nil && !done {
		return authn.Unknown
	}
	return err
}

// wellFormed tells whether a text may be a bearer token (RFC 6750, section 2.1), so that nobody puts a header of
// their own into a request to the apiserver. Of the refresh token, which stands in a form and in no header, only the
// length counts.
func (c Credential) wellFormed() bool {
	if c.Token == "" || len(c.Token) > maxCredential || len(c.Refresh) > maxCredential || !utf8.ValidString(c.Token) {
		return false
	}
	for _, b := range []byte(c.Token) {
		if b <= ' ' || b >= 0x7f {
			return false
		}
	}
	return true
}
