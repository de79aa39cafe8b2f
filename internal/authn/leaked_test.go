// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"errors"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// TestReportLeak: whatever the key that is reported is, it is refused and cut at once, and nobody else's.
func TestReportLeak(t *testing.T) {
	elsewhere := authntest.In("globex", "0610be00-0000-4000-8000-000000000000")
	for _, tc := range []struct {
		reason string
		mods   []func(*v1alpha1.ApiKey)
	}{
		{"minted", nil},
		{"brought by its hash", mods(authntest.ByHash)},
		{"of another organization", mods(elsewhere)},
		{"pinned", mods(authntest.PinnedTo(authntest.Profile()))},
		{"being deleted", mods(authntest.Deleting)},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			k, s := minted(t, tc.mods...)
			bystander, other := minted(t)
			x := authntest.Index(t, k, bystander)
			var told []string
			x.OnRevoked(func(of *authn.Key, _ int) { told = append(told, of.Name()) })
			if x.ReportLeak(key.DigestOf(s + "0")) {
				t.Error("a key that nobody has is known")
			}
			for range 2 {
				if !x.ReportLeak(key.DigestOf(s)) {
					t.Error("the key is not known")
				}
			}
			if _, err := authenticator(t, x).Identify(bearer(s)); err == nil {
				t.Error("the key is served")
			}
			served(t, x, other, bystander)
			if want := tc.reason != "being deleted"; slices.Equal(told, []string{k.Name}) != want {
				t.Errorf("told of %v", told)
			}
			if reported, namespaces := x.LeakOf(key.DigestOf(s)); !reported || !slices.Equal(namespaces, []string{k.Namespace}) {
				t.Errorf("LeakOf = %v, %v", reported, namespaces)
			}
			// What a watch or a list says of the ApiKey later, the time before the report included, changes nothing.
			x.PutKey(k)
			x.RemoveKey(k)
			x.PutKey(k)
			if _, err := authenticator(t, x).Identify(bearer(s)); err == nil {
				t.Error("the key is served when its ApiKey comes back")
			}
		})
	}
}

// TestReportLeakEverywhere: a key that two organizations have brought ends for both, and one of a third that has
// brought its lookup with something else behind it goes on.
func TestReportLeakEverywhere(t *testing.T) {
	brought, s := minted(t, authntest.ByHash)
	again := brought.DeepCopy()
	again.Namespace, again.Status.OrganizationID, again.UID = "globex", "0610be00-0000-4000-8000-000000000000", "again"
	again.Status.Hash = key.DigestOf(s).BoundTo(key.OwnerNamespace("globex")).String()
	thief := brought.DeepCopy()
	thief.Namespace, thief.Status.OrganizationID, thief.UID = "initech", "01117ec0-0000-4000-8000-000000000000", "thief"
	forged := key.DigestOf(s)
	forged[len(forged)-1] ^= 1
	thief.Status.Hash = forged.BoundTo(key.OwnerNamespace("initech")).String()
	x := authntest.Index(t, brought, again, thief)

	if !x.ReportLeak(forged) {
		t.Fatal("the third organization's key is not known")
	}
	served(t, x, s, brought)
	if !x.ReportLeak(key.DigestOf(s)) {
		t.Fatal("the key is not known")
	}
	refused(t, x, s, authn.Leaked)
	if _, namespaces := x.LeakOf(key.DigestOf(s)); len(namespaces) != 2 ||
		!slices.Contains(namespaces, "acme") || !slices.Contains(namespaces, "globex") {
		t.Errorf("the key is that of %v", namespaces)
	}
}

// TestReportLeakCuts: a request that runs with the key ends as on a revocation. The report is not taken back while
// there is the key; after that, the key is served if it comes again.
func TestReportLeakCuts(t *testing.T) {
	profile := authntest.Profile()
	k, s := minted(t, authntest.PinnedTo(profile))
	x := newFlying(t, profile, k)
	f := new(authn.Flight)
	if err := x.AdmitNow(t.Context(), bearer(s), f); err != nil {
		t.Fatal(err)
	}
	running := f.Context()
	x.ReportLeak(key.DigestOf(s))
	if running.Err() == nil {
		t.Error("the running request goes on until its end")
	}
	if err := f.End(); !errors.Is(err, authn.Leaked) {
		t.Errorf("the running request ended with %v", err)
	}
	if x.ForgetReport(key.DigestOf(s)) {
		t.Error("the report of a key that is here is forgotten")
	}
	refused(t, x.Index, s, authn.Leaked)
	x.RemoveKey(k)
	if !x.ForgetReport(key.DigestOf(s)) {
		t.Error("the report of a key that has gone is not forgotten")
	}
	x.PutKey(k)
	served(t, x.Index, s, k)
}

// TestMarkPasses: the mark of a leak goes when the controller takes it back, and never before the index's own
// knowledge.
func TestMarkPasses(t *testing.T) {
	k, s := minted(t)
	marked := k.DeepCopy()
	authntest.Leaked(marked)
	x := authntest.Index(t, k, marked)
	refused(t, x, s, authn.Leaked)
	x.PutKey(k)
	served(t, x, s, k)
	x.ReportLeak(key.DigestOf(s))
	x.PutKey(marked)
	x.PutKey(k)
	refused(t, x, s, authn.Leaked)
}

// TestLeakedKey: what a LeakedKey says counts for whatever brings the key, before or after; until it is deleted.
func TestLeakedKey(t *testing.T) {
	k, s := minted(t)
	leakedKey := &v1alpha1.LeakedKey{ObjectMeta: metav1.ObjectMeta{Name: key.DigestOf(s).Hex(), UID: "first"}}
	again := leakedKey.DeepCopy()
	again.UID = "second"
	for _, tc := range []struct {
		reason string
		do     func(x *authn.Index)
		served bool
	}{
		{"the ApiKey comes first", func(x *authn.Index) { x.PutKey(k); x.PutLeak(leakedKey) }, false},
		{"the ApiKey is restored", func(x *authn.Index) { x.PutLeak(leakedKey); x.PutKey(k) }, false},
		{"it goes and is restored", func(x *authn.Index) { x.PutKey(k); x.PutLeak(leakedKey); x.RemoveKey(k); x.PutKey(k) }, false},
		{"forgiven", func(x *authn.Index) { x.PutKey(k); x.PutLeak(leakedKey); x.RemoveLeak(leakedKey) }, true},
		{"forgiven before it is restored", func(x *authn.Index) { x.PutLeak(leakedKey); x.RemoveLeak(leakedKey); x.PutKey(k) }, true},
		{"forgiven, and no list has it", func(x *authn.Index) { x.PutKey(k); x.PutLeak(leakedKey); x.RetainLeaks() }, true},
		{"a list has it", func(x *authn.Index) { x.PutKey(k); x.PutLeak(leakedKey); x.RetainLeaks("first") }, false},
		{"made anew, and the first one goes", func(x *authn.Index) {
			x.PutKey(k)
			x.PutLeak(leakedKey)
			x.PutLeak(again)
			x.RemoveLeak(leakedKey)
		}, false},
		{"made anew and forgiven, and then the first one goes, as a watch had lost", func(x *authn.Index) {
			x.PutKey(k)
			x.PutLeak(leakedKey)
			x.PutLeak(again)
			x.RemoveLeak(again)
			x.RetainLeaks()
		}, true},
		{"reported once more after it was forgiven", func(x *authn.Index) {
			x.PutKey(k)
			x.PutLeak(leakedKey)
			x.RemoveLeak(leakedKey)
			x.ReportLeak(key.DigestOf(s))
		}, false},
		{"of another key", func(x *authn.Index) {
			x.PutKey(k)
			x.PutLeak(&v1alpha1.LeakedKey{ObjectMeta: metav1.ObjectMeta{Name: key.DigestOf(s + "0").Hex()}})
		}, true},
		{"of a name that is no digest", func(x *authn.Index) {
			x.PutKey(k)
			x.PutLeak(&v1alpha1.LeakedKey{ObjectMeta: metav1.ObjectMeta{Name: "leaked"}})
		}, true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			x := authn.NewIndex()
			tc.do(x)
			if tc.served {
				served(t, x, s, k)
			} else {
				refused(t, x, s, authn.Leaked)
			}
		})
	}
}

// TestLeakedKeyIsNamed: one that has leaked and stays is named to the controller as one that is being deleted is, until
// it says that it has heard; whether a watch brings it or a list. By another name: when it is deleted as well, that is
// told anew.
func TestLeakedKeyIsNamed(t *testing.T) {
	k, s := minted(t)
	authntest.Leaked(k)
	awaited := k.DeepCopy()
	awaited.Status.Conditions = append(awaited.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionRevoking, Status: metav1.ConditionTrue, LastTransitionTime: metav1.Time{Time: authntest.Epoch},
	})
	going := awaited.DeepCopy()
	authntest.Deleting(going)
	going.Finalizers = []string{v1alpha1.FinalizerRevocation}
	leak := []types.UID{revocation.NameOf(awaited)}
	x := authn.NewIndex()
	keys, _, feed := authn.Stores(x)
	named := func() []types.UID { _, ids := feed.Applied(10); return ids }
	for _, tc := range []struct {
		reason string
		do     func() error
		want   []types.UID
		why    authn.Refusal
	}{
		{"a watch brings it", func() error { return keys.Update(awaited) }, leak, authn.Leaked},
		{"it is confirmed", func() error { return keys.Update(k) }, nil, authn.Leaked},
		{"a list brings it", func() error { return keys.Replace([]any{authn.ListItem(awaited)}, "2000") }, leak, authn.Leaked},
		{"a list has it confirmed", func() error { return keys.Replace([]any{authn.ListItem(k)}, "2001") }, nil, authn.Leaked},
		{"a watch brings it again", func() error { return keys.Update(awaited) }, leak, authn.Leaked},
		{"it is being deleted", func() error { return keys.Update(going) }, []types.UID{k.UID}, authn.Revoked},
	} {
		select {
		case <-feed.Changed():
		default:
		}
		before := named()
		if err := tc.do(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-feed.Changed():
		default:
			if now := named(); len(now) > 0 && !slices.Equal(now, before) {
				t.Errorf("%s: whoever writes the Lease is not told that it names %v", tc.reason, now)
			}
		}
		if got := named(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: named are %v, want %v", tc.reason, got, tc.want)
		}
		refused(t, x, s, tc.why)
	}
}

// TestOnLeak: whoever waits for a LeakedKey is told when the index has it.
func TestOnLeak(t *testing.T) {
	k, s := minted(t)
	x := authntest.Index(t, k)
	x.ReportLeak(key.DigestOf(s))
	var told []bool // whether the report is still to be settled
	x.OnLeak(func() {
		reported, _ := x.LeakOf(key.DigestOf(s))
		told = append(told, reported)
	})
	leakedKey := &v1alpha1.LeakedKey{ObjectMeta: metav1.ObjectMeta{Name: key.DigestOf(s).Hex(), UID: "first"}}
	x.PutLeak(leakedKey)
	if !slices.Equal(told, []bool{false}) {
		t.Errorf("told %v, want once, and that the report is settled", told)
	}
	x.RemoveLeak(leakedKey)
	if reported, _ := x.LeakOf(key.DigestOf(s)); reported {
		t.Error("the report is still to be settled after it was forgiven")
	}
}
