// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package caller_test

import (
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

const uid = "0ac3e000-0000-4000-8000-000000000000"

// TestTheZeroCallerReachesNothing: whoever forgets to admit a request works with this one.
func TestTheZeroCallerReachesNothing(t *testing.T) {
	var nobody caller.Caller
	if !nobody.Nobody() || nobody.ProfileID() != "" || nobody.Scopes != (caller.Scopes{}) || nobody.Actor.Ref() != "" || nobody.Actor.Last4() != "" {
		t.Errorf("the zero Caller is somebody: %+v", nobody)
	}
	for _, scope := range caller.AllScopes.Names() {
		if strings.Contains(nobody.Scopes.String(), scope) {
			t.Errorf("the zero Caller may %s", scope)
		}
	}
	somebody := caller.Caller{Organization: caller.Organization{ID: uid}}
	if somebody.Nobody() {
		t.Error("a caller of an organization is nobody")
	}
	somebody.Profile = &caller.Profile{ID: "profile-1"}
	if got := somebody.ProfileID(); got != "profile-1" {
		t.Errorf("confined to %q", got)
	}
}

func TestRateOr(t *testing.T) {
	own, byDefault := rate.Rate{Requests: 1, Window: time.Second}, rate.Rate{Requests: 9, Window: time.Minute}
	for _, tc := range []struct {
		reason           string
		has, other, want rate.Rate
	}{
		{"its own counts", own, byDefault, own},
		{"its own counts, without a default too", own, rate.Rate{}, own},
		{"without one, the default", rate.Rate{}, byDefault, byDefault},
		{"without either, none", rate.Rate{}, rate.Rate{}, rate.Rate{}},
	} {
		c := caller.Caller{Rate: tc.has}
		if got := c.RateOr(tc.other); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.reason, got, tc.want)
		}
	}
}

func TestLast4(t *testing.T) {
	known := caller.KeyActor(uid, "ci", time.Time{}, [4]byte{'a', 'B', '3', '_'})
	unknown, person := caller.KeyActor(uid, "ci", time.Time{}, [4]byte{}), caller.PersonActor("ada", time.Time{})
	if known.Last4() != "aB3_" || unknown.Last4() != "" || person.Last4() != "" {
		t.Errorf("%q, %q and %q", known.Last4(), unknown.Last4(), person.Last4())
	}
}

func TestRef(t *testing.T) {
	for _, tc := range []struct{ reason, username, want string }{
		{"an address", "ada@example.com", "person:ada%40example.com"},
		{"a ServiceAccount", "system:serviceaccount:acme:ci", "person:system%3Aserviceaccount%3Aacme%3Aci"},
		{"spaces and letters beyond ASCII", "Ada Lovelace é", "person:Ada+Lovelace+%C3%A9"},
		{"what is no text", "\x00\xff\n", "person:%00%FF%0A"},
		{"one that looks like a UID", uid, "person:" + uid},
		{"one that looks like a reference", "person:" + uid, "person:person%3A" + uid},
		{"the longest that is readable", strings.Repeat("a", 120), "person:" + strings.Repeat("a", 120)},
		{
			"longer", strings.Repeat("a", 121),
			"person:sha256:e9615320128cc7a3d6078e9af05603188e5ccbf0d07d8b735d3df5e8e0c1281f",
		},
	} {
		actor := caller.PersonActor(tc.username, time.Time{})
		if got := actor.Ref(); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.reason, got, tc.want)
		}
	}
	key := caller.KeyActor(uid, "ci", time.Time{}, [4]byte{})
	if got := key.Ref(); got != uid {
		t.Errorf("a key is %q in rows, want its UID: that is what they have held so far", got)
	}
}

// FuzzRef: whatever somebody is called, rows can name them, and take them for nobody else.
func FuzzRef(f *testing.F) {
	f.Add("ada", "ada ")
	f.Add(uid, "person:"+uid)
	f.Add(strings.Repeat("é", 20), strings.Repeat("é", 21))
	f.Add(strings.Repeat("a", 121), "sha256:e9615320128cc7a3d6078e9af05603188e5ccbf0d07d8b735d3df5e8e0c1281f")
	f.Fuzz(func(t *testing.T, a, b string) {
		one, other := caller.PersonActor(a, time.Time{}), caller.PersonActor(b, time.Time{})
		ref := one.Ref()
		if len(ref) > 128 || strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Errorf("%q can't be stored as an id: %q", a, ref)
		}
		if !strings.Contains(ref, ":") {
			t.Errorf("%q may be a UID", ref)
		}
		if (ref == other.Ref()) != (a == b) {
			t.Errorf("%q and %q are %q and %q", a, b, ref, other.Ref())
		}
	})
}
