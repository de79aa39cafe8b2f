// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package admission_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

var now = authntest.Epoch.AddDate(0, 1, 0)

const (
	challenge    = `Bearer realm="letmepost"`
	invalidToken = challenge + `, error="invalid_token"`
)

// Of several things that are wrong, the refusal tells the first.
func TestOrder(t *testing.T) {
	g := newGate(t)
	reads := authntest.Scoped(v1alpha1.ScopePostsRead)
	usedUp := g.key(t, key.Live, reads, limited(1))
	var first admission.Admitted
	if refusal := g.admit(t, admission.Credentials{Authorization: usedUp}, admission.Need{}, &first); refusal != nil {
		t.Fatal(refusal)
	}
	defer func() { _ = first.End() }()
	writes := admission.Need{Scope: v1alpha1.ScopePostsWrite}
	refused := func(reason authn.Refusal, challenge string) admission.Refusal {
		return admission.Refusal{
			Code: admission.Unauthenticated, Reason: reason, Class: string(reason), Challenge: challenge,
		}
	}
	for _, c := range []struct {
		reason  string
		fenced  bool
		key     []string
		need    admission.Need
		want    admission.Refusal
		allowed rate.Allowance // what is told of the rate
	}{
		{
			"the fence comes before the credentials", true,
			[]string{"nonsense"},
			writes,
			admission.Refusal{Code: admission.Unavailable},
			rate.Allowance{},
		},
		{"nobody", false, nil, writes, refused(authn.Missing, challenge), rate.Allowance{}},
		{"no key", false, []string{"nonsense"}, writes, refused(authn.Malformed, invalidToken), rate.Allowance{}},
		{
			"the environment comes before the scope", false, g.key(t, key.Test, reads), writes,
			refused(authn.WrongEnvironment, invalidToken),
			rate.Allowance{},
		},
		{
			"the scope comes before the rate, and costs nothing", false, usedUp, writes,
			admission.Refusal{
				Code: admission.InsufficientScope, Class: admission.ClassScope, Scope: v1alpha1.ScopePostsWrite,
				Challenge: challenge + `, error="insufficient_scope", scope="posts:write"`,
			},
			rate.Allowance{},
		},
		{
			"the rate", false, usedUp,
			admission.Need{Scope: v1alpha1.ScopePostsRead},
			admission.Refusal{Code: admission.RateLimited, RetryAfter: time.Hour},
			rate.Allowance{Rate: rate.Rate{Requests: 1, Window: time.Hour}, Reset: time.Hour, RetryAfter: time.Hour},
		},
	} {
		g.serving.Store(!c.fenced)
		var r admission.Admitted
		got := g.admit(t, admission.Credentials{Authorization: c.key}, c.need, &r)
		_ = r.End()
		if diff := cmp.Diff(&c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
		if diff := cmp.Diff(c.allowed, r.Allowance); diff != "" {
			t.Errorf("%s: its rate (-want +got):\n%s", c.reason, diff)
		}
	}
}

// Failures are limited by where they come from, whatever their reason; the reason and the class stay.
func TestFailuresByAddress(t *testing.T) {
	g := newGate(t)
	good, scopeless := g.key(t, key.Live), g.key(t, key.Live, authntest.Scoped())
	const here, there = from("192.0.2.1"), from("192.0.2.2")
	nonsense := []string{"nonsense"}
	for _, c := range []struct {
		reason string
		key    []string
		origin admission.Origin
		want   admission.Code // 0: let in
	}{
		{"the first", nil, here, admission.Unauthenticated},
		{"no failure: it is known", scopeless, here, admission.InsufficientScope},
		{"the second", nonsense, here, admission.Unauthenticated},
		{"the third", nonsense, here, admission.RateLimited},
		{"somewhere else", nonsense, there, admission.Unauthenticated},
		{"nobody says where it is from", nonsense, nil, admission.Unauthenticated},
		{"a good key", good, here, 0},
	} {
		var r admission.Admitted
		need := admission.Need{Scope: v1alpha1.ScopePostsRead}
		got := g.admit(t, admission.Credentials{Authorization: c.key, From: c.origin}, need, &r)
		_ = r.End()
		switch {
		case c.want == 0 && got == nil:
		case got == nil || got.Code != c.want:
			t.Errorf("%s: %+v, want the code %d", c.reason, got, c.want)
		case c.want == admission.RateLimited:
			want := &admission.Refusal{
				Code: admission.RateLimited, Reason: authn.Malformed, Class: "malformed",
				RetryAfter: 30 * time.Second, ByAddress: true,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		}
	}
}

// A session counts only where no key is shown, for what sessions may do, and if there are any.
func TestSessions(t *testing.T) {
	const token = "a token"
	either, readsEither := admission.Need{Access: admission.KeyOrSession}, admission.Need{
		Access: admission.KeyOrSession, Scope: v1alpha1.ScopePostsRead,
	}
	without := func(o *admission.Options) { o.Sessions = nil }
	for _, c := range []struct {
		reason  string
		mods    []func(*admission.Options)
		key     []string
		session string
		need    admission.Need
		want    error // nil: the person is let in
		asked   int64 // how often the session was looked for
	}{
		{"a session", nil, nil, token, readsEither, nil, 1},
		{"what nobody has", nil, nil, "another token", either, authn.Unknown, 1},
		{"the person lacks the scope", nil, nil, token, admission.Need{
			Access: admission.KeyOrSession, Scope: v1alpha1.ScopePostsWrite,
		}, errors.New("unauthorized: insufficient_scope"), 1},
		{"only keys may do it", nil, nil, token, admission.Need{}, authn.Missing, 0},
		{"a wrong key beside it decides", nil, []string{"nonsense"}, token, either, authn.Malformed, 0},
		{"an empty header is one", nil, []string{""}, token, either, authn.Malformed, 0},
		{"neither", nil, nil, "", either, authn.Missing, 0},
		{"there are no sessions", []func(*admission.Options){without}, nil, token, either, authn.Missing, 0},
	} {
		g := newGate(t, c.mods...)
		g.sessions.token = token
		var r admission.Admitted
		got := g.admit(t, admission.Credentials{Authorization: c.key, Session: c.session}, c.need, &r)
		if (got == nil) != (c.want == nil) || got != nil && got.Error() != c.want.Error() {
			t.Errorf("%s: %v, want %v", c.reason, got, c.want)
		}
		if n := g.sessions.found.Load(); n != c.asked {
			t.Errorf("%s: the session was looked for %d times, want %d", c.reason, n, c.asked)
		}
		if a := r.Caller().Actor; c.want == nil && (a.Kind != caller.Person || a.ID != "ann@example.com") {
			t.Errorf("%s: %+v was let in", c.reason, a)
		}
		_ = r.End()
	}
}

// A good key beside a session decides, too; and behind the fence nobody looks for a session.
func TestAKeyDecides(t *testing.T) {
	g := newGate(t)
	g.sessions.token = "a token"
	good := g.key(t, key.Live)
	need := admission.Need{Access: admission.KeyOrSession}
	var r admission.Admitted
	if refusal := g.admit(t, admission.Credentials{Authorization: good, Session: "a token"}, need, &r); refusal != nil {
		t.Fatal(refusal)
	}
	if kind := r.Caller().Actor.Kind; kind != caller.Key {
		t.Errorf("the actor is of kind %d, want a key", kind)
	}
	_ = r.End()
	g.serving.Store(false)
	refusal := g.admit(t, admission.Credentials{Session: "a token"}, need, new(admission.Admitted))
	if refusal == nil || refusal.Code != admission.Unavailable || g.sessions.found.Load() != 0 {
		t.Errorf("behind the fence: %+v, and the session was looked for %d times", refusal, g.sessions.found.Load())
	}
}

// Who ceases to be good while the request runs is told so, key or person, and the context ends with it.
func TestCut(t *testing.T) {
	k, plaintext := authntest.Minted(t, authntest.Format(t), key.Live)
	for reason, c := range map[string]struct {
		credentials admission.Credentials
		end         func(*gate)
	}{
		"a key": {admission.Credentials{Authorization: []string{"Bearer " + plaintext}}, func(g *gate) {
			gone := k.DeepCopy()
			authntest.Deleting(gone)
			g.index.PutKey(gone)
		}},
		"a session": {admission.Credentials{Session: "a token"}, func(g *gate) { g.sessions.gone.Store(true) }},
	} {
		g := newGate(t)
		g.index.PutKey(k)
		g.sessions.token = "a token"
		var r admission.Admitted
		need := admission.Need{Access: admission.KeyOrSession}
		if refusal := g.admit(t, c.credentials, need, &r); refusal != nil {
			t.Fatalf("%s: %v", reason, refusal)
		}
		ctx := r.Context()
		if err := r.Err(); err != nil || ctx.Err() != nil {
			t.Errorf("%s: %v, %v before anything has happened", reason, err, ctx.Err())
		}
		c.end(g)
		refusal := g.Of(r.End())
		if refusal == nil || refusal.Reason != authn.Revoked || refusal.Challenge != invalidToken || ctx.Err() == nil {
			t.Errorf("%s: %+v, and the context says %v", reason, refusal, ctx.Err())
		}
	}
}

// Every refusal has a class that the audit log knows and a reason that the metric has, or is told by neither.
func TestClasses(t *testing.T) {
	g := newGate(t)
	classes := admission.Classes()
	for _, reason := range authn.Refusals {
		refusal := g.Of(reason)
		if refusal == nil || !slices.Contains(classes, refusal.Class) || !slices.Contains(admission.Reasons(), refusal.Reason) {
			t.Errorf("%s: %+v", reason, refusal)
		}
	}
	for _, class := range []string{admission.ClassScope, admission.ClassKeyManagement} {
		if !slices.Contains(classes, class) {
			t.Errorf("%s is no class", class)
		}
	}
	if len(classes) != len(slices.Compact(slices.Sorted(slices.Values(classes)))) {
		t.Errorf("a class is there twice: %v", classes)
	}
	if refusal := g.Of(errors.New("disk 7")); refusal != nil {
		t.Errorf("any error is a refusal: %+v", refusal)
	}
}

// For the log, a key is named that is not served any more; what never was has no name.
func TestPresented(t *testing.T) {
	g := newGate(t)
	expired := g.key(t, key.Live, authntest.Named("old"), authntest.ExpiringAt(now.Add(-time.Second)))
	actor, organization := g.Presented(expired)
	if actor.Kind != caller.Key || actor.Name != "old" || organization.Name != authntest.Namespace {
		t.Errorf("%+v of %+v", actor, organization)
	}
	for _, header := range [][]string{nil, {"nonsense"}, g.key(t, key.Test)} {
		if actor, organization := g.Presented(header); actor != (caller.Actor{}) || organization != (caller.Organization{}) {
			t.Errorf("%q: %+v of %+v", header, actor, organization)
		}
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := admission.New(admission.Options{}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("got %v", err)
	}
}
