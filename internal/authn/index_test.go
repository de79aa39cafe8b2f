// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestIndexUpdates: of a key that has its hash two things change, that it is being deleted and that it is a duplicate.
// All else that an entry is made of is written once, by the schema's rules, and an entry holds on to it.
func TestIndexUpdates(t *testing.T) {
	k, s := minted(t)
	x := authntest.Index(t, k)
	entry := x.Entry(key.DigestOf(s))

	for _, tc := range []struct {
		reason string
		change func(*v1alpha1.ApiKey)
		want   authn.Refusal // "": served
	}{
		{"metadata", func(k *v1alpha1.ApiKey) { k.ResourceVersion, k.Labels = "2000", map[string]string{"a": "b"} }, ""},
		{"a condition", func(k *v1alpha1.ApiKey) { k.Status.Conditions[1].Reason = v1alpha1.ReasonSecretDeleted }, ""},
		{"Ready as the controller sees it, which is for people", func(k *v1alpha1.ApiKey) {
			k.Status.Conditions[0].Status, k.Status.Conditions[0].Reason = metav1.ConditionFalse, v1alpha1.ReasonExpired
		}, ""},
		{"an organization, which the schema refuses", authntest.In("globex", "globex-uid"), ""},
		{"a duplicate", authntest.Duplicate, authn.Unserved},
		{"being deleted", authntest.Deleting, authn.Revoked},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			x.PutKey(k)
			changed := k.DeepCopy()
			tc.change(changed)
			x.PutKey(changed)
			if tc.want != "" {
				refused(t, x, s, tc.want)
			} else if id := served(t, x, s, k); id.Key.Organization.ID != authntest.OrganizationID {
				t.Errorf("it moved to organization %s", id.Key.Organization.ID)
			}
			if x.Entry(key.DigestOf(s)) != entry {
				t.Error("an update replaced the entry: every status write would churn the table and the listings")
			}
			held(t, x, 1, 1, 0)
		})
	}

	x.RemoveKey(k)
	refused(t, x, s, authn.Unknown)
	held(t, x, 0, 0, 0)
	x.RemoveKey(k)
	held(t, x, 0, 0, 0)
}

func TestIndexIgnoresWhatIsNotMinted(t *testing.T) {
	for _, tc := range []struct {
		reason string
		mod    func(*v1alpha1.ApiKey)
	}{
		{"no status", func(k *v1alpha1.ApiKey) { k.Status = v1alpha1.ApiKeyStatus{} }},
		{"no hash", func(k *v1alpha1.ApiKey) { k.Status.Hash = "" }},
		{"a hash in the spec alone", func(k *v1alpha1.ApiKey) { authntest.ByHash(k); k.Status.Hash = "" }},
		{"a hash of another form", func(k *v1alpha1.ApiKey) { k.Status.Hash = strings.ToUpper(k.Status.Hash) }},
		{"no organization", func(k *v1alpha1.ApiKey) { k.Status.OrganizationID = "" }},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			k, s := minted(t, tc.mod, authntest.PinnedTo(authntest.Profile()))
			x := authntest.Index(t, k)
			refused(t, x, s, authn.Unknown)
			held(t, x, 0, 0, 0)
			x.RemoveKey(k)
		})
	}
}

// TestIndexTwoKeysOneHash: the rightful one is served, in whichever order they arrive, and nothing brings the other
// back.
func TestIndexTwoKeysOneHash(t *testing.T) {
	rightful, s := minted(t, authntest.CreatedAt(after(time.Hour)))
	later, _ := minted(t, sharing(rightful), authntest.CreatedAt(after(2*time.Hour)))
	sameSecond, _ := minted(t, sharing(rightful), authntest.CreatedAt(after(time.Hour)))
	third, s3 := minted(t)

	for _, rival := range []*v1alpha1.ApiKey{later, sameSecond} {
		for _, order := range [][]any{{rightful, rival, third}, {rival, rightful, third}, {third, rival, rightful}} {
			x := authntest.Index(t, order...)
			served(t, x, s, rightful)
			served(t, x, s3, third)

			again := rival.DeepCopy()
			again.Status.Conditions[0].Message = "again"
			x.PutKey(again)
			served(t, x, s, rightful)

			x.RemoveKey(rival)
			served(t, x, s, rightful)

			final := rival.DeepCopy()
			authntest.Duplicate(final)
			x.PutKey(final)
			served(t, x, s, rightful)

			x.RemoveKey(rightful)
			x.PutKey(final)
			refused(t, x, s, authn.Unserved)
			served(t, x, s3, third)

			x.RemoveKey(final)
			x.RemoveKey(third)
			held(t, x, 0, 0, 0)
		}
	}
}

// TestIndexDuplicateHasNoSay: a key for which DuplicateHash has been decided never stands in another's way, not even if
// its hash was written earlier. Of DESIGN section 4: no third key suffers.
func TestIndexDuplicateHasNoSay(t *testing.T) {
	third, s := minted(t, authntest.CreatedAt(after(2*time.Hour)))
	duplicate, _ := minted(t, sharing(third), authntest.CreatedAt(after(time.Hour)), authntest.Duplicate)
	for _, order := range [][]any{{duplicate, third}, {third, duplicate}} {
		x := authntest.Index(t, order...)
		served(t, x, s, third)
		x.RemoveKey(duplicate)
		served(t, x, s, third)
	}
}

func TestIndexPins(t *testing.T) {
	profile := authntest.Profile(named("brand"))
	again := authntest.Profile(named("brand")) // another UID
	k, s := minted(t, authntest.PinnedTo(profile))
	free, freeKey := minted(t)

	x := authntest.Index(t, k, free)
	refused(t, x, s, authn.Unserved) // its Profile comes by another watch, later
	held(t, x, 2, 1, 1)
	x.PutProfile(profile)
	if id := served(t, x, s, k); id.Profile == nil || id.Profile.ID != string(profile.UID) {
		t.Errorf("served with Profile %+v, want %s", id.Profile, profile.UID)
	}

	x = authntest.Index(t, profile, k, free)
	served(t, x, s, k)

	renamed := profile.DeepCopy()
	renamed.Spec.DisplayName = "New Name"
	x.PutProfile(renamed)
	if id := served(t, x, s, k); id.Profile.DisplayName != "New Name" {
		t.Errorf("after a change of the Profile the key's Profile is %q", id.Profile.DisplayName)
	}

	going := renamed.DeepCopy()
	going.DeletionTimestamp = &metav1.Time{Time: authntest.Epoch}
	x.PutProfile(going)
	refused(t, x, s, authn.Unserved)
	x.RemoveProfile(going)
	refused(t, x, s, authn.Unserved)
	x.RemoveProfile(going)

	x.PutProfile(again)
	refused(t, x, s, authn.Unserved)
	served(t, x, freeKey, free)

	held(t, x, 2, 1, 2)
	x.RemoveKey(k)
	held(t, x, 1, 1, 1)
	x.RemoveKey(free)
	x.RemoveProfile(again)
	held(t, x, 0, 0, 0)
}

// TestIndexProfileWithoutOrganization: keys may be pinned to a Profile before the controller has said whose it is, but
// nobody is shown it.
func TestIndexProfileWithoutOrganization(t *testing.T) {
	profile := authntest.Profile()
	fresh := profile.DeepCopy()
	fresh.Status = v1alpha1.ProfileStatus{}
	k, s := minted(t, authntest.PinnedTo(profile))
	free, freeKey := minted(t)
	x := authntest.Index(t, fresh, k, free)
	served(t, x, s, k)
	if got := x.Profiles(served(t, x, freeKey, free).Caller()); len(got) != 0 {
		t.Errorf("shown: %v", profileIDs(got))
	}
	x.PutProfile(profile)
	if got := x.Profiles(served(t, x, freeKey, free).Caller()); len(got) != 1 {
		t.Errorf("not shown: %v", profileIDs(got))
	}
	x.RemoveProfile(profile)
	x.RemoveKey(k)
	x.RemoveKey(free)
	held(t, x, 0, 0, 0)
}

// TestIndexRecreatedNamespace: the same names in a namespace made again are another organization's.
func TestIndexRecreatedNamespace(t *testing.T) {
	before, s1 := minted(t, authntest.Named("website"), authntest.In("acme", "acme-1"))
	again, s2 := minted(t, authntest.Named("website"), authntest.In("acme", "acme-2"))
	x := authntest.Index(t, before, again) // the deletion may be seen after the making
	for s, k := range map[string]*v1alpha1.ApiKey{s1: before, s2: again} {
		id := served(t, x, s, k)
		if diff := cmp.Diff([]types.UID{k.UID}, keyIDs(x.Keys(id.Caller()))); diff != "" {
			t.Errorf("keys of %s (-want +got):\n%s", id.Key.Organization.ID, diff)
		}
	}
	x.RemoveKey(before)
	refused(t, x, s1, authn.Unknown)
	served(t, x, s2, again)
	held(t, x, 1, 1, 0)
}

// TestIndexChurnLeaksNothing takes a few hundred objects in, changes them and takes them out in random order.
func TestIndexChurnLeaksNothing(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		x := authn.NewIndex()
		var profiles []*v1alpha1.Profile
		var keys []*v1alpha1.ApiKey
		var plaintexts []string
		for i := range 10 {
			profiles = append(profiles, authntest.Profile(func(p *v1alpha1.Profile) {
				p.Status.OrganizationID = fmt.Sprint("organization-", i%4)
			}))
		}
		for i := range 60 {
			m := mods(authntest.In("", fmt.Sprint("organization-", i%5)))
			if i%2 == 0 {
				m = append(m, authntest.PinnedTo(profiles[i%10]))
			}
			if i >= 50 {
				m = append(m, sharing(keys[i-50]))
			}
			k, s := minted(t, m...)
			keys, plaintexts = append(keys, k), append(plaintexts, s)
		}
		present := map[types.UID]bool{}
		for range 2000 {
			i := random.IntN(len(keys))
			k := keys[i]
			switch op := random.IntN(10); {
			case op < 4:
				k = k.DeepCopy()
				if random.IntN(4) == 0 {
					authntest.Deleting(k)
				}
				x.PutKey(k)
				present[k.UID] = true
			case op < 6:
				x.RemoveKey(k)
				delete(present, k.UID)
			case op < 8:
				x.PutProfile(profiles[random.IntN(10)])
			case op < 9:
				x.RemoveProfile(profiles[random.IntN(10)])
			default:
				if e := x.Entry(key.DigestOf(plaintexts[i])); i < 50 && i >= 10 && (e != nil) != present[k.UID] {
					t.Fatalf("seed %d: key %d is found: %t, want %t", seed, i, e != nil, present[k.UID])
				}
			}
			if random.IntN(50) == 0 {
				authn.CheckIndex(t, x, fmt.Sprint("seed ", seed))
			}
		}
		for _, k := range keys {
			x.RemoveKey(k)
		}
		for _, p := range profiles {
			x.RemoveProfile(p)
		}
		authn.CheckIndex(t, x, fmt.Sprint("seed ", seed))
		held(t, x, 0, 0, 0)
	}
}

// TestIndexReadersBesideAWriter is for the race detector, and for the promise to a request: a key that is there
// throughout is served throughout, whatever happens to others; one whose removal has returned is not.
func TestIndexReadersBesideAWriter(t *testing.T) {
	profile := authntest.Profile()
	steady, s := minted(t, authntest.PinnedTo(profile))
	free, sFree := minted(t)
	x := authntest.Index(t, profile, steady, free)
	a := authenticator(t, x)
	var done atomic.Bool
	var finished sync.WaitGroup
	for range 3 {
		finished.Go(func() {
			for rounds := 0; !done.Load() || rounds < 200; rounds++ {
				id, err := a.Identify(bearer(s))
				if err != nil {
					t.Errorf("a key that is there throughout is refused: %v", err)
					return
				}
				// An Identity leads to immutable values: all of them may be read.
				_, _, _, _ = *id.Profile, id.Key.Name, id.Key.Scopes, id.Key.LastUsedAt()
				if id, err = a.Identify(bearer(sFree)); err != nil {
					t.Errorf("a key that is there throughout is refused: %v", err)
					return
				}
				for _, k := range x.Keys(id.Caller()) {
					_, _, _ = k.ID(), k.LastUsedAt(), k.ExpiresAt()
				}
				for _, p := range x.Profiles(id.Caller()) {
					_ = *p
				}
			}
		})
	}
	for i := range 300 {
		k, plaintext := minted(t, authntest.PinnedTo(profile))
		x.PutKey(k)
		if _, err := a.Identify(bearer(plaintext)); err != nil {
			t.Errorf("a key that has been put is refused: %v", err)
		}
		changed := profile.DeepCopy()
		changed.Spec.Description = fmt.Sprint(i)
		x.PutProfile(changed)
		update := steady.DeepCopy()
		update.Status.Conditions[1].Message = fmt.Sprint(i)
		x.PutKey(update)
		x.RemoveKey(k)
		if _, err := a.Identify(bearer(plaintext)); err == nil {
			t.Error("a key whose removal has returned is served")
		}
	}
	done.Store(true)
	finished.Wait()
}
