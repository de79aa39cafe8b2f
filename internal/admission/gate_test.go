// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package admission_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// gate is an Admission of the live environment, and what it stands on.
type gate struct {
	*admission.Admission
	serving  atomic.Bool
	index    *authn.Index
	sessions *sessions
}

func newGate(t testing.TB, mods ...func(*admission.Options)) *gate {
	t.Helper()
	g := &gate{index: authn.NewIndex(), sessions: &sessions{}}
	g.serving.Store(true)
	limits, err := limit.NewCallers(limit.Options{Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	clock := testclock.NewFakePassiveClock(now)
	o := admission.Options{
		Authenticator: authntest.Authenticator(t, g.index, key.Live, clock, authntest.Serving(&g.serving)),
		Sessions:      g.sessions,
		Limits:        limits,
		Failures:      limit.NewAddresses(rate.Rate{Requests: 2, Window: time.Minute}),
	}
	for _, mod := range mods {
		mod(&o)
	}
	if g.Admission, err = admission.New(o); err != nil {
		t.Fatal(err)
	}
	return g
}

// key adds a key, and returns it as an Authorization header.
func (g *gate) key(t testing.TB, env key.Environment, mods ...func(*v1alpha1.ApiKey)) []string {
	t.Helper()
	k, plaintext := authntest.Minted(t, authntest.Format(t), env, mods...)
	g.index.PutKey(k)
	return []string{"Bearer " + plaintext}
}

// admit returns the refusal, nil if r was let in.
func (g *gate) admit(
	t testing.TB, c admission.Credentials, n admission.Need, r *admission.Admitted,
) *admission.Refusal {
	t.Helper()
	err := g.Admit(t.Context(), now, c, n, r)
	refusal := g.Of(err)
	if (err == nil) != (refusal == nil) {
		t.Fatalf("%v is no refusal", err)
	}
	return refusal
}

// sessions knows one token.
type sessions struct {
	found atomic.Int64 // how often it was asked
	gone  atomic.Bool  // nobody is signed in any more
	token string
}

func (s *sessions) Find(
	_ context.Context, shown admission.Credentials, _ admission.Need,
) (authn.Session, error) {
	s.found.Add(1)
	if shown.Session != s.token {
		return nil, authn.Unknown
	}
	return s, nil
}

func (s *sessions) Caller() caller.Caller {
	return caller.Caller{
		Organization: caller.Organization{ID: authntest.OrganizationID, Name: authntest.Namespace},
		Environment:  key.Live, Scopes: caller.ScopesOf([]v1alpha1.Scope{v1alpha1.ScopePostsRead}),
		Actor: caller.PersonActor("ann@example.com", now.Add(time.Hour)), Meter: new(rate.Meter),
	}
}

func (s *sessions) Refusal(time.Time) error {
	if s.gone.Load() {
		return authn.Revoked
	}
	return nil
}

// from is where a request comes from.
type from string

func (f from) Address() netip.Addr { return netip.MustParseAddr(string(f)) }

func limited(requests int32) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Spec.RateLimit = &v1alpha1.RateLimit{Requests: requests, Window: metav1.Duration{Duration: time.Hour}}
	}
}
