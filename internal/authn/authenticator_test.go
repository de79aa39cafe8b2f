// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

func TestAuthenticateHeaders(t *testing.T) {
	k, s := minted(t)
	_, unknown := minted(t)
	_, sandbox := authntest.Minted(t, authntest.Format(t), key.Test)
	a := authenticator(t, authntest.Index(t, k))
	body := s[len("lmp_live_"):]

	for _, tc := range []struct {
		reason string
		values []string
		want   error // nil: served
	}{
		{"as RFC 6750 has it", []string{"Bearer " + s}, nil},
		{"RFC 9110 allows more than one space", []string{"Bearer   " + s}, nil},
		{"128 characters is the most", []string{"Bearer" + strings.Repeat(" ", 128-6-len(s)) + s}, nil},

		{"no header", nil, authn.Missing},
		{"no values", []string{}, authn.Missing},
		{"empty", []string{""}, authn.Malformed},
		{"two headers, even of the same key: which one counts is anybody's guess", []string{"Bearer " + s, "Bearer " + s}, authn.Malformed},
		{"a right one and an empty one", []string{"Bearer " + s, ""}, authn.Malformed},
		{"two in one line", []string{"Bearer " + s + ", Bearer " + s}, authn.Malformed},
		{"scheme alone", []string{"Bearer"}, authn.Malformed},
		{"scheme and a space", []string{"Bearer "}, authn.Malformed},
		{"scheme and many spaces", []string{"Bearer" + strings.Repeat(" ", 100)}, authn.Malformed},
		{"129 characters", []string{"Bearer" + strings.Repeat(" ", 129-6-len(s)) + s}, authn.Malformed},
		{"no scheme", []string{s}, authn.Malformed},
		{"no space", []string{"Bearer" + s}, authn.Malformed},
		{"Basic", []string{"Basic " + s}, authn.Malformed},
		{"Token", []string{"Token " + s}, authn.Malformed},
		{"Digest", []string{`Digest username="x"`}, authn.Malformed},
		{"a space before the scheme", []string{" Bearer " + s}, authn.Malformed},
		{"a tab for a space", []string{"Bearer\t" + s}, authn.Malformed},
		{"a tab after the space", []string{"Bearer \t" + s}, authn.Malformed},
		{"a tab behind", []string{"Bearer " + s + "\t"}, authn.Malformed},
		{"a space behind", []string{"Bearer " + s + " "}, authn.Malformed},
		{"a line feed behind", []string{"Bearer " + s + "\n"}, authn.Malformed},
		{"in quotes", []string{`Bearer "` + s + `"`}, authn.Malformed},
		{"no-break space", []string{"Bearer\u00a0" + s}, authn.Malformed},
		{"NUL before", []string{"Bearer \x00" + s}, authn.Malformed},
		{"NUL inside", []string{"Bearer " + s[:20] + "\x00" + s[21:]}, authn.Malformed},
		{"NUL behind", []string{"Bearer " + s + "\x00"}, authn.Malformed},
		{"non-ASCII inside", []string{"Bearer " + s[:20] + "é" + s[22:]}, authn.Malformed},
		{"invalid UTF-8 inside", []string{"Bearer " + s[:20] + "\xff" + s[21:]}, authn.Malformed},
		{"a megabyte", []string{"Bearer " + s + strings.Repeat("0", 1<<20)}, authn.Malformed},
		{"a megabyte of spaces", []string{"Bearer " + strings.Repeat(" ", 1<<20) + s}, authn.Malformed},
		{"one character changed", []string{"Bearer " + s[:20] + other(s[20]) + s[21:]}, authn.Malformed},
		{"right body under the other prefix", []string{"Bearer lmp_test_" + body}, authn.Malformed},
		{"the hash, as it stands in status", []string{"Bearer " + k.Status.Hash}, authn.Malformed},
		{"the hint", []string{"Bearer " + k.Status.Hint}, authn.Malformed},
		{"a key of the other environment", []string{"Bearer " + sandbox}, authn.WrongEnvironment},
		{"a well-formed key that nobody has", []string{"Bearer " + unknown}, authn.Unknown},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			id, err := a.Identify(tc.values)
			if !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if tc.want == nil && (id.Key == nil || id.Key.ID() != k.UID) || tc.want != nil && id != (authn.Identity{}) {
				t.Errorf("identity %+v with error %v", id, err)
			}
			if err != nil && strings.Contains(err.Error(), s[12:20]) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

// other returns another character of the alphabet.
func other(c byte) string {
	if c == 'x' {
		return "y"
	}
	return "x"
}

func TestEveryRefusalIsReached(t *testing.T) {
	profile := authntest.Profile()
	reached := map[authn.Refusal]bool{}
	for _, tc := range []struct {
		reason string
		mods   []func(*v1alpha1.ApiKey)
		with   []any
		header func(plaintext string) []string
		want   authn.Refusal
	}{
		{"no header", nil, nil, func(string) []string { return nil }, authn.Missing},
		{"another scheme", nil, nil, func(s string) []string { return []string{"Basic " + s} }, authn.Malformed},
		{"a checksum that is wrong", nil, nil, func(s string) []string { return bearer(s[:46] + other(s[46])) }, authn.Malformed},
		{"an environment that its plaintext contradicts", mods(byHashFor(v1alpha1.EnvironmentTest)), nil, bearer, authn.WrongEnvironment},
		{"not minted yet", mods(func(k *v1alpha1.ApiKey) { k.Status = v1alpha1.ApiKeyStatus{} }), nil, bearer, authn.Unknown},
		{"a hash, but no organization", mods(func(k *v1alpha1.ApiKey) { k.Status.OrganizationID = "" }), nil, bearer, authn.Unknown},
		{"being deleted", mods(authntest.Deleting), nil, bearer, authn.Revoked},
		{"being deleted and expired", mods(authntest.Deleting, authntest.ExpiringAt(now)), nil, bearer, authn.Revoked},
		{"expired at this instant", mods(authntest.ExpiringAt(now)), nil, bearer, authn.Expired},
		{"expired a fraction of a second ago", mods(authntest.ExpiringAt(now.Add(-time.Millisecond))), nil, bearer, authn.Expired},
		{"expired, though the controller has not said so", mods(authntest.ExpiringAt(now.Add(-time.Hour))), nil, bearer, authn.Expired},
		{"marked as leaked", mods(authntest.Leaked), nil, bearer, authn.Leaked},
		{"marked as leaked, and expired", mods(authntest.Leaked, authntest.ExpiringAt(now)), nil, bearer, authn.Leaked},
		{"a duplicate", mods(authntest.Duplicate), nil, bearer, authn.Unserved},
		{"pinned to a Profile that is not there", mods(authntest.PinnedTo(profile)), nil, bearer, authn.Unserved},
		{
			"pinned to a Profile that is being deleted", mods(authntest.PinnedTo(profile)),
			[]any{func() any { p := profile.DeepCopy(); p.DeletionTimestamp = &p.CreationTimestamp; return p }()},
			bearer, authn.Unserved,
		},
		{"pinned without being bound, which nobody writes", mods(func(k *v1alpha1.ApiKey) {
			k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: profile.Name}
		}), []any{profile}, bearer, authn.Unserved},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			k, s := minted(t, tc.mods...)
			x := authntest.Index(t, append(tc.with, k)...)
			id, err := authenticator(t, x).Identify(tc.header(s))
			if id != (authn.Identity{}) || !errors.Is(err, tc.want) {
				t.Errorf("Authenticate = %+v, %v; want nobody and %v", id, err, tc.want)
			}
			if e := x.Entry(key.DigestOf(s)); e != nil && !e.LastUsedAt().IsZero() {
				t.Error("a refused key counts as used")
			}
		})
		reached[tc.want] = true
	}
	reached[authn.NotRenewed] = true // of people alone: package session has it
	for _, r := range authn.Refusals {
		if !reached[r] {
			t.Errorf("%s is never reached", r)
		}
	}
	if len(reached) != len(authn.Refusals) || len(slices.Compact(slices.Sorted(slices.Values(authn.Refusals)))) != len(authn.Refusals) {
		t.Errorf("Refusals lists %v, reached were %v", authn.Refusals, reached)
	}
}

func mods(m ...func(*v1alpha1.ApiKey)) []func(*v1alpha1.ApiKey) { return m }

// byHashFor brings the key by its hash, under an environment of the bringer's choice.
func byHashFor(env v1alpha1.Environment) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		authntest.ByHash(k)
		k.Spec.Environment = env
	}
}

func TestAuthenticateServes(t *testing.T) {
	profile := authntest.Profile(named("brand"), func(p *v1alpha1.Profile) { p.Spec.DisplayName = "Brand" })
	for _, tc := range []struct {
		reason  string
		mods    []func(*v1alpha1.ApiKey)
		profile string
		scopes  string
		last4   bool
	}{
		{"a key of the whole organization", nil, "", "posts:read posts:write media:read media:write accounts:read accounts:write", true},
		{"a second before its expiry", mods(authntest.ExpiringAt(now.Add(time.Second))), "", "posts:read posts:write media:read media:write accounts:read accounts:write", true},
		{"a pinned key", mods(authntest.PinnedTo(profile)), "Brand", "posts:read posts:write media:read media:write accounts:read accounts:write", true},
		{"a key with scopes, in the order of the documentation", mods(authntest.Scoped("media:write", "posts:read")), "", "posts:read media:write", true},
		{"a scope that this release does not know grants nothing", mods(authntest.Scoped("posts:read", "posts:delete")), "", "posts:read", true},
		{"a key brought by hash", mods(authntest.ByHash), "", "posts:read posts:write media:read media:write accounts:read accounts:write", false},
		{"a key whose Secret is gone", mods(func(k *v1alpha1.ApiKey) {
			k.Status.Conditions[1].Status, k.Status.Conditions[1].Reason = "False", v1alpha1.ReasonSecretDeleted
		}), "", "posts:read posts:write media:read media:write accounts:read accounts:write", true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			k, s := minted(t, tc.mods...)
			id := served(t, authntest.Index(t, profile, k), s, k)
			if diff := cmp.Diff(&caller.Organization{ID: authntest.OrganizationID, Name: authntest.Namespace}, id.Key.Organization); diff != "" {
				t.Errorf("organization (-want +got):\n%s", diff)
			}
			if got := id.Key; got.Name() != k.Name || got.Environment() != key.Live || !got.CreatedAt().Equal(k.CreationTimestamp.Time) ||
				string(got.ProfileID()) != k.Status.ProfileID || !got.ExpiresAt().Equal(timeOrZero(k.Status.ExpiresAt)) {
				t.Errorf("key %+v, want that of %+v", got, k)
			}
			if (id.Profile != nil) != (tc.profile != "") || id.Profile != nil && id.Profile.DisplayName != tc.profile {
				t.Errorf("profile %+v, want %q", id.Profile, tc.profile)
			}
			if got := id.Key.Scopes.String(); got != tc.scopes {
				t.Errorf("scopes %q, want %q", got, tc.scopes)
			}
			last4 := ""
			if tc.last4 {
				last4 = s[len(s)-4:]
			}
			if got := id.Key.Last4(); got != last4 {
				t.Errorf("Last4 = %q, want %q", got, last4)
			}
		})
	}
}

func TestScopes(t *testing.T) {
	for _, scope := range authntest.AllScopes {
		only := caller.ScopesOf([]v1alpha1.Scope{scope})
		for _, asked := range authntest.AllScopes {
			if got := only.Has(asked); got != (asked == scope) {
				t.Errorf("a set of %s has %s: %t", scope, asked, got)
			}
		}
		if only.Has("posts:delete") || only.Has("") {
			t.Errorf("a set of %s has a scope that does not exist", scope)
		}
	}
	if names := caller.ScopesOf(nil).Names(); names == nil || len(names) != 0 {
		t.Errorf("no scopes are %#v, want an empty list: it is shown as JSON", names)
	}
}

func TestAuthenticateAllocatesNothing(t *testing.T) {
	profile, gone := authntest.Profile(), authntest.Profile()
	x := authntest.Index(t, profile)
	put := func(mods ...func(*v1alpha1.ApiKey)) string {
		k, s := minted(t, mods...)
		x.PutKey(k)
		return s
	}
	hit := put()
	_, unknown := minted(t)
	_, sandbox := authntest.Minted(t, authntest.Format(t), key.Test)
	a := authenticator(t, x)
	for _, tc := range []struct {
		reason string
		values []string
		want   error
	}{
		{"hit", bearer(hit), nil},
		{"hit, pinned", bearer(put(authntest.PinnedTo(profile))), nil},
		{"miss", bearer(unknown), authn.Unknown},
		{"no header", nil, authn.Missing},
		{"two headers", []string{"Bearer " + hit, "Bearer " + hit}, authn.Malformed},
		{"wrong checksum", bearer(hit[:46] + other(hit[46])), authn.Malformed},
		{"a megabyte", bearer(strings.Repeat("0", 1<<20)), authn.Malformed},
		{"other environment", bearer(sandbox), authn.WrongEnvironment},
		{"revoked", bearer(put(authntest.Deleting)), authn.Revoked},
		{"expired", bearer(put(authntest.ExpiringAt(now))), authn.Expired},
		{"profile gone", bearer(put(authntest.PinnedTo(gone))), authn.Unserved},
	} {
		var err error
		if n := testing.AllocsPerRun(200, func() { _, err = a.Identify(tc.values) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", tc.reason, n)
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", tc.reason, err, tc.want)
		}
	}
}

func TestLastUsedAt(t *testing.T) {
	k, s := minted(t)
	x := authntest.Index(t, k)
	clock := clocktesting.NewFakePassiveClock(now)
	a := authntest.Authenticator(t, x, key.Live, clock)
	entry := x.Entry(key.DigestOf(s))
	if !entry.LastUsedAt().IsZero() {
		t.Errorf("a key that was never used was used at %s", entry.LastUsedAt())
	}
	for _, tc := range []struct {
		reason string
		at     time.Duration
		header []string
		want   time.Duration
	}{
		{"the first use", 0, bearer(s), 0},
		{"within the minute it is not written again", 59 * time.Second, bearer(s), 0},
		{"in the next one it is", 60 * time.Second, bearer(s), 60 * time.Second},
		{"a refused request is no use", 10 * time.Minute, []string{"Basic " + s}, 60 * time.Second},
		{"much later, to the minute", 24*time.Hour + 30*time.Second, bearer(s), 24 * time.Hour},
	} {
		clock.SetTime(now.Add(tc.at))
		_, _ = a.Identify(tc.header)
		if got := entry.LastUsedAt(); !got.Equal(now.Add(tc.want)) || got.Location() != time.UTC {
			t.Errorf("%s: used at %s, want %s", tc.reason, got, now.Add(tc.want))
		}
	}
	for range 1000 { // the table grows
		other, _ := minted(t)
		x.PutKey(other)
	}
	if got := entry.LastUsedAt(); !got.Equal(now.Add(24 * time.Hour)) {
		t.Errorf("after others came in it was used at %s, want what it was before", got)
	}
	changed := k.DeepCopy()
	changed.Status.Conditions[1].Reason = v1alpha1.ReasonSecretDeleted
	x.PutKey(changed)
	if got := x.Entry(key.DigestOf(s)); !got.LastUsedAt().Equal(now.Add(24 * time.Hour)) {
		t.Errorf("after an update it was used at %s, want what it was before", got.LastUsedAt())
	}
	x.RemoveKey(changed)
	x.PutKey(changed)
	if got := x.Entry(key.DigestOf(s)); !got.LastUsedAt().IsZero() {
		t.Errorf("taken out and put in again, it was used at %s, want never", got.LastUsedAt())
	}
}
