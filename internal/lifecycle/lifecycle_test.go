// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

var (
	epoch  = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	expiry = epoch.Add(time.Hour)
	never  time.Time
)

func TestOf(t *testing.T) {
	profile := &lifecycle.Profile{ID: "profile-1"}
	again := &lifecycle.Profile{ID: "profile-2"} // made again under the old name
	going := &lifecycle.Profile{ID: "profile-1", Deleting: true}
	served := lifecycle.Key{ID: "key-1", CreatedAt: epoch, MintedAt: epoch, Hashed: true}
	bound := with(served, func(k *lifecycle.Key) { k.Pinned, k.ProfileID = true, "profile-1" })
	unbound := lifecycle.Key{ID: "key-1", CreatedAt: epoch, Pinned: true}

	for _, tc := range []struct {
		reason  string
		key     lifecycle.Key
		profile *lifecycle.Profile
		now     time.Time
		want    lifecycle.State
	}{
		{"no hash yet", lifecycle.Key{ID: "key-1"}, nil, epoch, state(v1alpha1.ReasonPending, never)},
		{"a hash is all it takes", served, nil, epoch, state(v1alpha1.ReasonActive, never)},
		{"a key that is not pinned does not care for a Profile", served, going, epoch, state(v1alpha1.ReasonActive, never)},

		{"an instant before expiry", expiring(served), nil, expiry.Add(-1), state(v1alpha1.ReasonActive, expiry)},
		{"the very instant of expiry", expiring(served), nil, expiry, state(v1alpha1.ReasonExpired, never)},
		{"an instant after expiry", expiring(served), nil, expiry.Add(1), state(v1alpha1.ReasonExpired, never)},
		{"expiry is an instant, in whatever zone the clock stands", expiring(served), nil, expiry.In(time.FixedZone("", -7200)), state(v1alpha1.ReasonExpired, never)},
		{"expired before it was minted", expiring(lifecycle.Key{}), nil, expiry, state(v1alpha1.ReasonExpired, never)},
		{"still to be minted, but not for ever", expiring(lifecycle.Key{}), nil, epoch, state(v1alpha1.ReasonPending, expiry)},

		{"bound, and the Profile is there", bound, profile, epoch, state(v1alpha1.ReasonActive, never)},
		{"bound, and it expires", expiring(bound), profile, epoch, state(v1alpha1.ReasonActive, expiry)},
		{"bound, and the Profile is gone", bound, nil, epoch, state(v1alpha1.ReasonProfileNotFound, never)},
		{"bound, and the Profile is going: no need to wait for its finalizers", bound, going, epoch, state(v1alpha1.ReasonProfileNotFound, never)},
		{"a Profile made again revives no key", bound, again, epoch, state(v1alpha1.ReasonProfileNotFound, never)},
		{"refused for its Profile, and later for good", expiring(bound), again, epoch, state(v1alpha1.ReasonProfileNotFound, expiry)},
		{"expired tells more than a missing Profile: it is final", expiring(bound), nil, expiry, state(v1alpha1.ReasonExpired, never)},
		{"never bound, and the Profile is there: to be minted", unbound, profile, epoch, state(v1alpha1.ReasonPending, never)},
		{"never bound, and the Profile is not there yet", unbound, nil, epoch, state(v1alpha1.ReasonProfileNotFound, never)},
		{"never bound, and the Profile is going", unbound, going, epoch, state(v1alpha1.ReasonProfileNotFound, never)},
		{
			"bound but not hashed yet: the binding holds already",
			with(unbound, func(k *lifecycle.Key) { k.ProfileID = "profile-1" }), again, epoch, state(v1alpha1.ReasonProfileNotFound, never),
		},
		{
			"hashed but not bound, which nobody writes: no Profile fits",
			with(bound, func(k *lifecycle.Key) { k.ProfileID = "" }), profile, epoch, state(v1alpha1.ReasonProfileNotFound, never),
		},

		{"leaked, whatever else it is", with(duplicate(expiring(bound)), leaked), nil, expiry, state(v1alpha1.ReasonLeaked, never)},
		{"leaked before it has a hash", with(lifecycle.Key{}, leaked), nil, epoch, state(v1alpha1.ReasonLeaked, never)},
		{"leaked and being deleted", with(served, func(k *lifecycle.Key) { k.Leaked, k.Deleting = true, true }), nil, epoch, lifecycle.State{}},
		{"a duplicate", duplicate(served), nil, epoch, state(v1alpha1.ReasonDuplicateHash, never)},
		{"a duplicate stays one: time changes nothing", duplicate(expiring(served)), nil, epoch, state(v1alpha1.ReasonDuplicateHash, never)},
		{"a duplicate stays one past its expiry", duplicate(expiring(served)), nil, expiry, state(v1alpha1.ReasonDuplicateHash, never)},
		{"a duplicate that was never hashed", duplicate(lifecycle.Key{}), nil, epoch, state(v1alpha1.ReasonDuplicateHash, never)},
		{"a duplicate without its Profile", duplicate(bound), nil, epoch, state(v1alpha1.ReasonDuplicateHash, never)},

		{"revoked", deleting(served), nil, epoch, lifecycle.State{}},
		{"revoked before it was minted", deleting(lifecycle.Key{}), nil, epoch, lifecycle.State{}},
		{"revoked and expired", deleting(expiring(served)), nil, expiry, lifecycle.State{}},
		{"revoked, and its Profile is gone", deleting(bound), nil, epoch, lifecycle.State{}},
		{"revoked, though it is a duplicate", deleting(duplicate(served)), nil, epoch, lifecycle.State{}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got := lifecycle.Of(tc.key, tc.profile, tc.now)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Of (-want +got):\n%s", diff)
			}
			if got.Served() != (tc.want.Reason == v1alpha1.ReasonActive) {
				t.Errorf("Served = %t with reason %q", got.Served(), got.Reason)
			}
		})
	}
}

// TestOfChangesWhenItSaysAndNotBefore walks random keys along the clock.
func TestOfChangesWhenItSaysAndNotBefore(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		k := randomKey(random)
		var p *lifecycle.Profile
		if random.IntN(3) > 0 {
			p = &lifecycle.Profile{ID: types.UID(fmt.Sprint("profile-", random.IntN(2))), Deleting: random.IntN(5) == 0}
		}
		now := epoch.Add(time.Duration(random.IntN(7200)) * time.Second)
		s := lifecycle.Of(k, p, now)
		if s.ChangesAt.IsZero() {
			if later := lifecycle.Of(k, p, now.AddDate(100, 0, 0)); later != s {
				t.Fatalf("seed %d: %+v is said to last, but becomes %+v", seed, s, later)
			}
			continue
		}
		if !s.ChangesAt.After(now) {
			t.Fatalf("seed %d: at %s it is said to change at %s", seed, now, s.ChangesAt)
		}
		if before := lifecycle.Of(k, p, s.ChangesAt.Add(-1)); before != s {
			t.Fatalf("seed %d: %+v becomes %+v too early", seed, s, before)
		}
		if at := lifecycle.Of(k, p, s.ChangesAt); at == s || at.Served() {
			t.Fatalf("seed %d: %+v is still %+v at that time", seed, s, at)
		}
	}
}

func TestKeyOf(t *testing.T) {
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: epoch.Add(d)} }
	full := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{UID: "key-1", CreationTimestamp: *at(1), DeletionTimestamp: at(5)},
		Spec:       v1alpha1.ApiKeySpec{ProfileRef: &v1alpha1.ProfileReference{Name: "brand"}, ExpiresAt: at(4)},
		Status: v1alpha1.ApiKeyStatus{
			Hash: "sha256:…", ProfileID: "profile-1", MintedAt: at(2), ExpiresAt: at(3),
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonDuplicateHash}},
		},
	}
	for _, tc := range []struct {
		reason string
		key    *v1alpha1.ApiKey
		want   lifecycle.Key
	}{
		{"a new one has nothing", &v1alpha1.ApiKey{}, lifecycle.Key{}},
		{"everything, and the settled expiry over the wanted one", full, lifecycle.Key{
			ID: "key-1", CreatedAt: epoch.Add(1), MintedAt: epoch.Add(2), Hashed: true, Deleting: true, Duplicate: true,
			Pinned: true, ProfileID: "profile-1", ExpiresAt: epoch.Add(3),
		}},
		{
			"the wanted expiry until one is settled",
			&v1alpha1.ApiKey{Spec: v1alpha1.ApiKeySpec{ExpiresAt: at(4)}},
			lifecycle.Key{ExpiresAt: epoch.Add(4)},
		},
		{
			"a ceiling alone",
			&v1alpha1.ApiKey{Status: v1alpha1.ApiKeyStatus{ExpiresAt: at(3)}},
			lifecycle.Key{ExpiresAt: epoch.Add(3)},
		},
		{
			"only Ready decides of a duplicate: Stalled repeats its reason",
			&v1alpha1.ApiKey{Status: v1alpha1.ApiKeyStatus{Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionStalled, Reason: v1alpha1.ReasonDuplicateHash},
				{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonActive},
			}}},
			lifecycle.Key{},
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, lifecycle.KeyOf(tc.key)); diff != "" {
				t.Errorf("KeyOf (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProfileOf(t *testing.T) {
	if got := lifecycle.ProfileOf(nil); got != nil {
		t.Errorf("ProfileOf(nil) = %+v, want nil: a typed nil would be taken for a Profile", got)
	}
	p := &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{UID: "profile-1"}}
	if diff := cmp.Diff(&lifecycle.Profile{ID: "profile-1"}, lifecycle.ProfileOf(p)); diff != "" {
		t.Errorf("ProfileOf (-want +got):\n%s", diff)
	}
	p.DeletionTimestamp = &metav1.Time{Time: epoch}
	if diff := cmp.Diff(&lifecycle.Profile{ID: "profile-1", Deleting: true}, lifecycle.ProfileOf(p)); diff != "" {
		t.Errorf("ProfileOf one that is going (-want +got):\n%s", diff)
	}
}

func TestExpiry(t *testing.T) {
	in := func(d time.Duration) *time.Time { at := epoch.Add(d); return &at }
	ceiling := func(d time.Duration) *v1alpha1.Profile {
		return &v1alpha1.Profile{Spec: v1alpha1.ProfileSpec{MaxKeyLifetime: &metav1.Duration{Duration: d}}}
	}
	for _, tc := range []struct {
		reason  string
		wanted  *time.Time
		profile *v1alpha1.Profile
		want    *time.Time
	}{
		{"nobody asks for one: never", nil, nil, nil},
		{"a Profile without a ceiling asks for none", nil, &v1alpha1.Profile{}, nil},
		{"the wanted one, without a Profile", in(time.Hour), nil, in(time.Hour)},
		{"the wanted one, without a ceiling", in(time.Hour), &v1alpha1.Profile{}, in(time.Hour)},
		{"the ceiling counts from the minting", nil, ceiling(time.Hour), in(time.Hour)},
		{"the wanted one is sooner", in(time.Minute), ceiling(time.Hour), in(time.Minute)},
		{"the ceiling is sooner", in(2 * time.Hour), ceiling(time.Hour), in(time.Hour)},
		{"both at once", in(time.Hour), ceiling(time.Hour), in(time.Hour)},
		{"a wanted one that has passed is not put off", in(-time.Hour), ceiling(time.Hour), in(-time.Hour)},
		{"ten years, the longest ceiling", nil, ceiling(87600 * time.Hour), in(87600 * time.Hour)},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, lifecycle.Expiry(tc.wanted, tc.profile, epoch)); diff != "" {
				t.Errorf("Expiry (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrecedes(t *testing.T) {
	k := func(id types.UID, created, minted time.Duration) lifecycle.Key {
		out := lifecycle.Key{ID: id, CreatedAt: epoch.Add(created)}
		if minted != 0 {
			out.Hashed, out.MintedAt = true, epoch.Add(minted)
		}
		return out
	}
	for _, tc := range []struct {
		reason        string
		first, second lifecycle.Key
	}{
		{"a duplicate has no say, though its hash was written first", k("b", 0, 2*time.Hour), duplicate(k("a", 0, time.Hour))},
		{"the one with a hash, though it is younger", k("b", time.Hour, 2*time.Hour), k("a", 0, 0)},
		{"the one that was minted first, though it is younger", k("b", time.Hour, 2*time.Hour), k("a", 0, 3*time.Hour)},
		{"both minted in the same second: the older", k("b", 0, time.Hour), k("a", time.Second, time.Hour)},
		{"neither minted: the older", k("b", 0, 0), k("a", time.Second, 0)},
		{"neither minted and both of one second: the smaller UID", k("a", 0, 0), k("b", 0, 0)},
		{"a zone is not a time", with(k("a", 0, 0), func(k *lifecycle.Key) { k.CreatedAt = k.CreatedAt.In(time.FixedZone("", 3600)) }), k("b", 0, 0)},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if !lifecycle.Precedes(tc.first, tc.second) || lifecycle.Precedes(tc.second, tc.first) {
				t.Errorf("want %+v before %+v", tc.first, tc.second)
			}
		})
	}
}

// TestPrecedesIsAStrictTotalOrder asks it of random keys that differ in little: whoever compares whichever two of
// them, and in whichever order, the same one is the rightful one.
func TestPrecedesIsAStrictTotalOrder(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		keys := make([]lifecycle.Key, 12)
		for i := range keys {
			keys[i] = randomKey(random)
			keys[i].ID = types.UID(fmt.Sprintf("key-%02d", i))
		}
		for _, a := range keys {
			for _, b := range keys {
				if ab, ba := lifecycle.Precedes(a, b), lifecycle.Precedes(b, a); a.ID == b.ID && ab || a.ID != b.ID && ab == ba {
					t.Fatalf("seed %d: Precedes is %t and, turned round, %t of\n%+v\n%+v", seed, ab, ba, a, b)
				}
				for _, c := range keys {
					if lifecycle.Precedes(a, b) && lifecycle.Precedes(b, c) && !lifecycle.Precedes(a, c) {
						t.Fatalf("seed %d: Precedes is not transitive over\n%+v\n%+v\n%+v", seed, a, b, c)
					}
				}
			}
		}
		least := slices.MinFunc(keys, compare)
		random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		if again := slices.MinFunc(keys, compare); again.ID != least.ID {
			t.Fatalf("seed %d: the rightful one is %s or %s, by the order of asking", seed, least.ID, again.ID)
		}
	}
}

func compare(a, b lifecycle.Key) int {
	switch {
	case lifecycle.Precedes(a, b):
		return -1
	case lifecycle.Precedes(b, a):
		return 1
	}
	return 0
}

func randomKey(random *rand.Rand) lifecycle.Key {
	k := lifecycle.Key{
		ID:        types.UID(fmt.Sprint("key-", random.IntN(4))),
		CreatedAt: epoch.Add(time.Duration(random.IntN(3)) * time.Second),
		Hashed:    random.IntN(3) > 0,
		Deleting:  random.IntN(6) == 0,
		Duplicate: random.IntN(6) == 0,
		Pinned:    random.IntN(2) == 0,
	}
	if k.Hashed {
		k.MintedAt = k.CreatedAt.Add(time.Duration(random.IntN(2)) * time.Second)
	}
	if k.Pinned && (k.Hashed || random.IntN(2) == 0) {
		k.ProfileID = types.UID(fmt.Sprint("profile-", random.IntN(2)))
	}
	if random.IntN(2) == 0 {
		k.ExpiresAt = expiry
	}
	return k
}

func state(reason string, changesAt time.Time) lifecycle.State {
	return lifecycle.State{Reason: reason, ChangesAt: changesAt}
}

func with(k lifecycle.Key, change func(*lifecycle.Key)) lifecycle.Key {
	change(&k)
	return k
}

func expiring(k lifecycle.Key) lifecycle.Key { k.ExpiresAt = expiry; return k }
func leaked(k *lifecycle.Key)                { k.Leaked = true }

func duplicate(k lifecycle.Key) lifecycle.Key { k.Duplicate = true; return k }
func deleting(k lifecycle.Key) lifecycle.Key  { k.Deleting = true; return k }
