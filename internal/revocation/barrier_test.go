// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var (
	epoch   = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	backend = types.NamespacedName{Namespace: "acme", Name: "backend"}
)

// TestBarrierTellsExpiryByWhatItSees shows it a Lease, over and over, and then asks when it is taken for dead.
func TestBarrierTellsExpiryByWhatItSees(t *testing.T) {
	type sight struct {
		at time.Duration
		says
	}
	const century = 100 * 365 * 24 * time.Hour
	for _, tc := range []struct {
		reason string
		sights []sight
		dead   time.Duration // from when on
	}{
		{"seen once", []sight{{0, says{duration: 15}}}, 15 * s},
		{"seen unchanged", []sight{{0, says{duration: 15}}, {14 * s, says{duration: 15}}}, 15 * s},
		{"renewed", []sight{{0, says{duration: 15}}, {14 * s, says{version: 1, renewed: 1, duration: 15}}}, 29 * s},
		{"renewed by a microsecond", []sight{{0, says{duration: 15}}, {14 * s, says{version: 1, renewed: time.Microsecond, duration: 15}}}, 29 * s},
		{"its own clock is far ahead", []sight{{0, says{renewed: century, duration: 15}}}, 15 * s},
		{"its own clock is far behind", []sight{{0, says{renewed: -century, duration: 15}}}, 15 * s},
		{"its own clock is set back: it was renewed all the same", []sight{{0, says{renewed: century, duration: 15}}, {10 * s, says{version: 1, duration: 15}}}, 25 * s},
		{"it was renewed long before it is seen: that counts from now", []sight{{100 * s, says{duration: 15}}}, 115 * s},
		{
			"changed, but not renewed",
			[]sight{{0, says{duration: 15}}, {10 * s, says{version: 1, duration: 15, applied: "7", revoked: "a", awaited: "8", holder: "x"}}},
			15 * s,
		},
		{"renewed when it was dead", []sight{{0, says{duration: 15}}, {60 * s, says{version: 1, renewed: 1, duration: 15}}}, 75 * s},
		{
			"an older state, of a watch that is behind, is no renewal",
			[]sight{{0, says{version: 9, renewed: 9, duration: 15}}, {10 * s, says{version: 8, renewed: 8, duration: 15}}, {11 * s, says{version: 9, renewed: 9, duration: 15}}},
			15 * s,
		},
		{"an older state does not bring an older duration", []sight{{0, says{version: 9, duration: 15}}, {1 * s, says{version: 8, duration: 5}}}, 15 * s},
		{"10 is later than 9", []sight{{0, says{version: -1, duration: 15}}, {10 * s, says{version: 1, renewed: 1, duration: 15}}}, 25 * s},
		{"a short one", []sight{{0, says{duration: 3}}}, 3 * s},
		{"a long one", []sight{{0, says{duration: 60}}}, 60 * s},
		{"without a duration", []sight{{0, says{}}}, 15 * s},
		{"with a duration that is none", []sight{{0, says{duration: -1}}}, 15 * s},
		{"never renewed", []sight{{0, says{renewed: absent, duration: 15}}, {10 * s, says{version: 1, renewed: absent, duration: 15}}}, 15 * s},
		{"with nothing at all", []sight{{0, says{renewed: absent}}}, 15 * s},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newController()
			for _, sight := range tc.sights {
				c.at(sight.at)
				c.sees(sight.says)
				if live, dead := c.Replicas(); live != 1 || dead != 0 {
					if sight.at < tc.dead {
						t.Errorf("at %s there are %d live and %d dead ones", sight.at, live, dead)
					}
				}
			}
			c.at(tc.dead - 1)
			if live, dead := c.Replicas(); live != 1 || dead != 0 {
				t.Errorf("an instant before %s there are %d live and %d dead ones", tc.dead, live, dead)
			}
			c.at(tc.dead)
			if live, dead := c.Replicas(); live != 0 || dead != 1 {
				t.Errorf("at %s there are %d live and %d dead ones", tc.dead, live, dead)
			}
		})
	}
}

func TestBarrierBegunAnewKnowsNothing(t *testing.T) {
	c := newController(says{duration: 15})
	c.at(0)
	c.sees(says{duration: 15})
	c.at(100 * s)
	if v := c.ask(t, deleted("a", "50")); len(v.Awaited) != 0 {
		t.Errorf("it waits for %v, which is long dead", v.Awaited)
	}
	again := NewBarrier(c.namespace, c.clock)
	if v, err := again.Ask(t.Context(), deleted("a", "50")); err != nil || len(v.Awaited) != 1 {
		t.Errorf("one that has just begun can't know that, but waits for %v (%v)", v.Awaited, err)
	}
}

func TestBarrierForgets(t *testing.T) {
	c := newController()
	c.sees(says{name: "r1", duration: 15}, says{name: "r2", duration: 15})
	c.Forget("r1")
	c.Forget("unknown")
	if live, dead := c.Replicas(); live != 1 || dead != 0 {
		t.Errorf("%d live and %d dead ones, when one of two has left", live, dead)
	}
	c.at(10 * s)
	c.sees(says{name: "r1", duration: 15}) // made anew, and the same in all that is looked at
	c.at(16 * s)
	if live, dead := c.Replicas(); live != 1 || dead != 1 {
		t.Errorf("%d live and %d dead ones, when one of them is new", live, dead)
	}
	c.set() // a list says who there is
	c.ask(t, deleted("a", "50"))
	if live, dead := c.Replicas(); live != 0 || dead != 0 {
		t.Errorf("%d live and %d dead ones, when there are no Leases", live, dead)
	}
}

// A key whose deletion is to cancel what it has queued goes when a replica of its environment says that it has done
// that. That no replica accepts it is not enough.
func TestBarrierAwaitsCancellation(t *testing.T) {
	live := says{environment: "live", duration: 15, applied: "50", revoked: "a,b", canceled: "b,a"}
	other := says{name: "r2", environment: "test", duration: 15, applied: "50", revoked: "a", canceled: "a"}
	refuses := says{environment: "live", duration: 15, applied: "50", revoked: "a", canceled: "b"}
	silent := says{environment: "live", duration: 15}
	for _, tc := range []struct {
		reason     string
		annotation string
		hash       string
		leases     []says
		later      time.Duration
		want       v1alpha1.Environment
	}{
		{"nobody runs", "true", "sha256:x", nil, 0, v1alpha1.EnvironmentLive},
		{"one of its environment has canceled it", "true", "sha256:x", []says{live}, 0, ""},
		{"one of its environment refuses it, as it did when it had leaked", "true", "sha256:x", []says{refuses}, 0, v1alpha1.EnvironmentLive},
		{"one that refuses it has expired", "true", "sha256:x", []says{refuses}, time.Minute, v1alpha1.EnvironmentLive},
		{"the other environment has nothing to cancel", "true", "sha256:x", []says{other}, 0, v1alpha1.EnvironmentLive},
		{"one of each", "true", "sha256:x", []says{live, other}, 0, ""},
		{"one that has expired and did not name it", "true", "sha256:x", []says{silent}, time.Minute, v1alpha1.EnvironmentLive},
		{"one that has expired, and had canceled it before", "true", "sha256:x", []says{live}, time.Minute, ""},
		{"it is not to cancel anything", "", "sha256:x", nil, 0, ""},
		{"the annotation says so in other words", " Yes", "sha256:x", nil, 0, v1alpha1.EnvironmentLive},
		{"the annotation says no", "false", "sha256:x", nil, 0, ""},
		{"it never was a key", "true", "", nil, 0, ""},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newController(tc.leases...)
			c.sees(tc.leases...)
			c.at(tc.later)
			k := deleted("a", "50")
			k.Spec.Environment, k.Status.Hash = v1alpha1.EnvironmentLive, tc.hash
			k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: tc.annotation}
			v := c.ask(t, k)
			if v.Uncanceled != tc.want || v.Confirmed() != (tc.want == "") {
				t.Errorf("uncanceled %q, confirmed %t; want %q", v.Uncanceled, v.Confirmed(), tc.want)
			}
		})
	}
}

// What a replica has once said to be canceled stays so, also when its Lease has no more room for saying it, or is gone:
// a key that nobody accepts has nothing queued again.
func TestBarrierRemembersWhatWasCanceled(t *testing.T) {
	k := deleted("a", "50")
	k.Spec.Environment, k.Status.Hash = v1alpha1.EnvironmentLive, "sha256:x"
	k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: "true"}
	lease := says{environment: "live", duration: 15, applied: "50", revoked: "a"}
	c := newController(lease, says{name: "r2", duration: 15})
	c.ask(t, k)
	lease.version, lease.canceled = 1, "a"
	c.sees(lease)
	lease.version, lease.revoked, lease.canceled = 2, "b", "b"
	c.sees(lease)
	c.set(lease, says{name: "r2", duration: 15, applied: "50", revoked: "a"})
	if v := c.ask(t, k); !v.Confirmed() {
		t.Errorf("it waits for %v and %q", v.Awaited, v.Uncanceled)
	}
	c.set()
	if v := c.ask(t, k); !v.Confirmed() {
		t.Errorf("without Leases, it waits for %v and %q", v.Awaited, v.Uncanceled)
	}
}

// TestBarrierTellsWhoIsToCancel: a watch may lose that no replica accepts the key. Only who has not got there is told,
// and of those only the replicas of the key's environment.
func TestBarrierTellsWhoIsToCancel(t *testing.T) {
	live := says{environment: "live", duration: 60, applied: "50", revoked: "a"}
	for _, tc := range []struct {
		reason  string
		told    string // the version of the ApiKey that says so; "": none does
		applied string
		environ string
		want    bool
	}{
		{"it is behind", "60", "55", "live", true},
		{"it is there, and its database is away", "60", "60", "live", false},
		{"it is of the other environment", "60", "55", "test", false},
		{"it was not told yet", "", "55", "live", false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			lease := live
			lease.environment, lease.applied = tc.environ, tc.applied
			c := newController(lease)
			k := deleted("a", "50")
			k.Spec.Environment, k.Status.Hash = v1alpha1.EnvironmentLive, "sha256:x"
			k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: "true"}
			c.ask(t, k)
			if tc.told != "" {
				k.ResourceVersion = tc.told
				k.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionRevoking, Reason: v1alpha1.ReasonAwaitingCancellation}}
			}
			c.at(5 * s)
			if v := c.ask(t, k); v.Uncanceled == "" {
				t.Fatal("it is canceled")
			}
			var want []string
			if tc.want {
				want = []string{"r1 60"}
			}
			if got := c.nudge(t); !slices.Equal(got, want) {
				t.Errorf("written: %q, want %q", got, want)
			}
		})
	}
}

func TestBarrierWaitsForWhatHasNoResourceVersion(t *testing.T) {
	for _, resourceVersion := range []string{"", "0", "x", "-1"} {
		c := newController(says{duration: 15, applied: "50", revoked: "a"})
		if v := c.ask(t, deleted("a", resourceVersion)); len(v.Awaited) != 1 {
			t.Errorf("a deletion at %q is confirmed by whoever is at 50", resourceVersion)
		}
	}
}

// TestBarrierCountsOutByTheTimeBeforeTheList: a renewal that was made while the list was on its way is not on it, and
// the replica serves.
func TestBarrierCountsOutByTheTimeBeforeTheList(t *testing.T) {
	c := newController(says{duration: 15})
	c.sees(says{duration: 15})
	k := deleted("a", "50")
	c.listing = func(context.Context) { c.at(16 * s) }
	c.at(15*s - 1)
	if v := c.ask(t, k); len(v.Awaited) != 1 || v.Replicas != 1 {
		t.Errorf("it does not wait for one that had not expired when the list was sent: %+v", v)
	}
	c.listing = nil
	c.at(15 * s)
	if v := c.ask(t, k); len(v.Awaited) != 0 || v.Replicas != 0 {
		t.Errorf("it waits for one that had expired when the list was sent: %+v", v)
	}
}

// TestBarrierSeesARenewalOnTheList: it had expired, as far as was known.
func TestBarrierSeesARenewalOnTheList(t *testing.T) {
	c := newController(says{version: 1, renewed: 1, duration: 15})
	c.sees(says{duration: 15})
	c.at(60 * s)
	if v := c.ask(t, deleted("a", "50")); len(v.Awaited) != 1 {
		t.Error("it does not wait for one that the list shows to be alive")
	}
}

// TestBarrierDecidesByTheListAlone: the list has the say whom to wait for, even if something older comes between it and
// the verdict. That is another list that was sent before, or a watch that is behind.
func TestBarrierDecidesByTheListAlone(t *testing.T) {
	for _, tc := range []struct {
		reason string
		older  func(t *testing.T, c *controller)
	}{
		{"an event from before it registered again", func(_ *testing.T, c *controller) { c.Forget("r1") }},
		{"a list from before it registered", func(t *testing.T, c *controller) {
			c.set()
			if err := c.Sweep(t.Context()); err != nil {
				t.Error(err)
			}
		}},
		{"an older state that confirmed", func(_ *testing.T, c *controller) {
			c.sees(says{version: -1, duration: 15, applied: "50", revoked: "a"})
		}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newController(says{duration: 15, holder: "pod-0"})
			d := c.expect(deleted("a", "50"))
			list, err := c.list(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tc.older(t, c)
			v := c.verdict(d, list)
			if diff := cmp.Diff([]string{"r1 (pod-0)"}, v.Awaited); diff != "" || v.Replicas != 1 {
				t.Errorf("of %d it waits for (-want +got):\n%s", v.Replicas, diff)
			}
		})
	}
}

// TestBarrierTellsALeakFromADeletion: a leak can be forgiven, and the key be served again. So what a replica has said
// of one confirms neither a deletion nor another leak, be it on its Lease still or not, and however new what it has
// applied elsewhere.
func TestBarrierTellsALeakFromADeletion(t *testing.T) {
	leakedAt := func(at time.Duration) *v1alpha1.ApiKey {
		k := deleted("a", "50")
		k.DeletionTimestamp = nil
		k.Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionRevoking, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch.Add(at)),
		}}
		return k
	}
	going := leakedAt(0)
	going.DeletionTimestamp = &metav1.Time{Time: epoch}
	first := string(NameOf(leakedAt(0)))
	for _, tc := range []struct {
		reason  string
		said    string // what it names, at 50
		asked   *v1alpha1.ApiKey
		awaited int
	}{
		{"the leak", first, leakedAt(0), 0},
		{"the deletion", "a", going, 0},
		{"the deletion, of which it knows the leak alone", first, going, 1},
		{"a second leak, of which it knows the first alone", first, leakedAt(time.Minute), 1},
		{"a leak, of which it knows a deletion alone", "a", leakedAt(0), 1},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			said := says{duration: 15, applied: "50", revoked: tc.said}
			c := newController(said)
			if v := c.ask(t, tc.asked); len(v.Awaited) != tc.awaited {
				t.Errorf("it waits for %v", v.Awaited)
			}
			c = newController()
			c.sees(said)
			c.set(says{version: 1, duration: 15, applied: "50"}) // its Lease had no room for it any more
			if v := c.ask(t, tc.asked); len(v.Awaited) != tc.awaited {
				t.Errorf("by what it has said before, it waits for %v", v.Awaited)
			}
		})
	}
	if id := IDOf(types.UID(first)); id != "a" {
		t.Errorf("%s is of %q", first, id)
	}
}
