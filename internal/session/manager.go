// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// absolute is how long a session lasts at most.
const absolute = 12 * time.Hour

// Options are what a Manager is made of. All are required.
type Options struct {
	Apiserver   *Apiserver
	Environment key.Environment
	NewToken    func() string // of at least 128 random bits
	Clock       clock.PassiveClock
}

// Manager has everybody's sessions. It is safe for concurrent use.
type Manager struct {
	o Options

	mu       sync.Mutex
	sessions map[[sha256.Size]byte]*Person
}

// New returns a Manager that nobody has signed in with.
func New(o Options) (*Manager, error) {
	if o.Apiserver == nil || o.NewToken == nil || o.Clock == nil {
		return nil, errors.New("session: Apiserver, NewToken and Clock are required")
	}
	return &Manager{o: o, sessions: map[[sha256.Size]byte]*Person{}}, nil
}

// SignIn begins a session for whoever has this bearer token of the cluster. token is what their browser is to show from
// now on. An error of the apiserver says that the credential is good for nobody (Unauthorized), or why it can't tell.
func (m *Manager) SignIn(ctx context.Context, credential string) (token string, p *Person, err error) {
	cluster, err := m.o.Apiserver.As(credential)
	if err != nil {
		return "", nil, err
	}
	who, err := cluster.WhoAmI(ctx)
	if err != nil {
		return "", nil, err
	}
	now := m.o.Clock.Now()
	p = &Person{
		Username: who.Username, Groups: who.Groups, Environment: m.o.Environment,
		SignedInAt: now, ExpiresAt: now.Add(absolute), Cluster: cluster,
	}
	token = m.o.NewToken()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[sha256.Sum256([]byte(token))] = p
	return token, p, nil
}

// Find returns who shows this token; the error of one that is nobody's is an authn.Refusal.
func (m *Manager) Find(_ context.Context, token string) (*Person, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.sessions[sha256.Sum256([]byte(token))]
	if p == nil {
		return nil, authn.Unknown
	}
	current := *p
	return &current, p.Refusal(m.o.Clock.Now())
}

// SignOut ends a session, if there is one.
func (m *Manager) SignOut(_ context.Context, token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sessions, sha256.Sum256([]byte(token)))
	return nil
}

// Choose makes an organization the active one of a session.
func (m *Manager) Choose(_ context.Context, token string, o caller.Organization) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.sessions[sha256.Sum256([]byte(token))]; p != nil {
		p.Organization = o
	}
	return nil
}
