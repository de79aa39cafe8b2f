// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/turns"
)

// What a replica has once named it need not go on naming: there is room for so many on a Lease.
func TestBarrierRemembersWhatWasNamed(t *testing.T) {
	c := newController(says{duration: 15})
	a, b := deleted("a", "50"), named(deleted("b", "50"), "b")
	c.sees(says{version: 1, renewed: 1, duration: 15, applied: "50", revoked: "a"}) // before anybody asks
	c.sees(says{version: 2, renewed: 2, duration: 15, applied: "50", revoked: "b"})
	c.set(says{version: 2, renewed: 2, duration: 15, applied: "50", revoked: "b"})
	if v := c.ask(t, a); len(v.Awaited) != 0 {
		t.Errorf("it waits for %v, which has named the key before", v.Awaited)
	}

	// Another replica, which has named neither. Of the first key it is not awaited: that is decided.
	c.set(says{version: 2, renewed: 2, duration: 15, applied: "50"}, says{name: "r2", duration: 15})
	if v := c.ask(t, a); len(v.Awaited) != 0 {
		t.Errorf("it was decided, and it waits for %v, which came later", v.Awaited)
	}
	if v := c.ask(t, b); !slices.Equal(v.Awaited, []string{"r2 ()"}) {
		t.Errorf("of the other, it waits for %v", v.Awaited)
	}

	// A Lease has one process. One that is gone, and made again, has said nothing.
	c.Forget("r1")
	if v := c.ask(t, named(deleted("b", "50"), "b")); len(v.Awaited) != 2 {
		t.Errorf("it waits for %v, and the Lease of r1 was made anew", v.Awaited)
	}
	for _, k := range []types.NamespacedName{backend, {Namespace: "acme", Name: "b"}} {
		c.Done(k)
	}
	if err := c.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, r := range c.replicas {
		if len(r.named) != 0 {
			t.Errorf("nobody asks, and of %s it remembers %v", name, r.named)
		}
	}
}

// What is decided and waits for its cancellation is not asked about at each renewal of anybody.
func TestBarrierIsWokenByWhatCounts(t *testing.T) {
	c := newController(says{environment: "live", duration: 15, applied: "50", revoked: "a"})
	k := deleted("a", "50")
	k.Spec.Environment, k.Status.Hash = v1alpha1.EnvironmentTest, "sha256:x"
	k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: "true"}
	if v := c.ask(t, k); v.AskAgain > s {
		t.Errorf("nobody was told to cancel it, and it is asked about again after %s", v.AskAgain)
	}
	k.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionRevoking, Reason: v1alpha1.ReasonAwaitingCancellation}}
	c.at(time.Second)
	if v := c.ask(t, k); v.Uncanceled == "" || v.AskAgain < 30*s {
		t.Errorf("uncanceled %q, to be asked again after %s", v.Uncanceled, v.AskAgain)
	}
	for i := range 3 {
		y := says{environment: "live", version: 1 + i, renewed: time.Duration(1 + i), duration: 15, applied: "50", revoked: "a", canceled: "a"}
		if got := c.sees(y); len(got) != 0 {
			t.Errorf("a live replica renews, and it asks about %v", got)
		}
	}
	y := says{name: "r2", environment: "test", duration: 15, applied: "50", revoked: "a"}
	if got := c.sees(y); len(got) != 0 {
		t.Errorf("one of the test environment refuses it as well, and it asks about %v", got)
	}
	y.version, y.canceled = 1, "a"
	if got := c.sees(y); !slices.Equal(got, []types.NamespacedName{backend}) {
		t.Errorf("one of the test environment has canceled it, and it asks about %v", got)
	}
}

// TestNobodyWaitsForAnothersDeletions: very many deletions of many organizations fill the Lease of a replica, and do
// not end, because another replica confirms none. The second of each organization this one can't name either: what the
// key has queued can't be canceled. One more organization deletes a key.
func TestNobodyWaitsForAnothersDeletions(t *testing.T) {
	for _, tc := range []struct {
		organizations, each int
		turns               int // of asking, at most, until it is confirmed; 0: at once
	}{
		{1, 5000, 0},
		{100, 50, 0},
		{600, 3, 4}, // more than there are places: 600 / 250, and one turn to be told
	} {
		t.Run(fmt.Sprintf("%d x %d", tc.organizations, tc.each), func(t *testing.T) {
			c := newController()
			lease := says{duration: 60, applied: "50"}
			var pending []*v1alpha1.ApiKey
			never := map[types.UID]bool{}
			for i := range tc.organizations * tc.each {
				k := named(deleted(types.UID(fmt.Sprintf("stuck-%06d", i)), "50"), fmt.Sprintf("k-%06d", i))
				k.Namespace = fmt.Sprintf("org-%04d", i%tc.organizations)
				pending, never[k.UID] = append(pending, k), i/tc.organizations == 1
			}
			mine := named(deleted("youngest", "50"), "mine")
			mine.Namespace = "zz"
			mine.DeletionTimestamp.Time = mine.DeletionTimestamp.Add(s) // the youngest
			pending = append(pending, mine)
			// renew is what a replica does that has room for so many names.
			renew := func() {
				var asked []types.UID
				for _, n := range c.written {
					if _, text, found := strings.Cut(n, " asked "); found {
						asked = decodeIDs(text)
					}
				}
				turns.Sort(pending, func(k *v1alpha1.ApiKey) string { return k.Namespace }, func(a, b *v1alpha1.ApiKey) int {
					return cmp.Or(a.DeletionTimestamp.Compare(b.DeletionTimestamp.Time), cmp.Compare(a.UID, b.UID))
				})
				var names []types.UID
				for _, id := range asked[:min(len(asked), maxAsked)] {
					if !never[id] {
						names = append(names, id)
					}
				}
				for _, k := range pending {
					if !never[k.UID] && len(names) < MaxNamed && !slices.Contains(names, k.UID) {
						names = append(names, k.UID)
					}
				}
				lease.version++
				lease.renewed++
				lease.revoked = encodeIDs(names)
				c.sees(lease)
				c.set(lease, says{name: "r2", duration: 60}) // which confirms nothing: all of them wait
			}
			renew()
			for _, k := range pending {
				c.expect(k)
			}
			c.sees(says{name: "r2", duration: 60})
			confirmed := func() bool { return c.replicas["r1"].confirms("youngest", "50") }
			turns := 0
			for at := time.Second; !confirmed() && turns < 50; at += 2 * s {
				turns++
				c.at(at)
				c.nudge(t)
				renew()
				renew()
			}
			if turns > tc.turns {
				t.Errorf("it was named after %d turns of asking, want %d at most", turns, tc.turns)
			}
		})
	}
}

// TestAFullLeaseIsNotLate: what is left out of a full Lease is asked for, and its replica is told to list anew only if
// that does not help, or if it is behind.
func TestAFullLeaseIsNotLate(t *testing.T) {
	full := make([]types.UID, MaxNamed)
	for i := range full {
		full[i] = types.UID(fmt.Sprintf("other-%03d", i))
	}
	lease := says{duration: 60, applied: "50", revoked: encodeIDs(full)}
	c := newController(lease)
	c.sees(lease)
	c.expect(named(deleted("left-out", "50"), "left-out"))
	written := func() (awaited, asked bool) {
		for _, w := range c.nudge(t) {
			awaited, asked = awaited || !strings.Contains(w, " asked "), asked || strings.Contains(w, " asked ")
		}
		return awaited, asked
	}
	c.at(s)
	if awaited, asked := written(); awaited || !asked {
		t.Errorf("it is told to list: %t, and asked: %t", awaited, asked)
	}
	renew := func(change func(*says)) {
		lease.version++
		lease.renewed++
		change(&lease)
		c.sees(lease)
	}
	renew(func(*says) {})
	c.at(2 * s)
	if awaited, _ := written(); awaited {
		t.Error("it is told to list before it could answer")
	}
	renew(func(*says) {})
	c.at(4 * s)
	if awaited, _ := written(); !awaited {
		t.Error("it was asked, does not name the key, and is not told to list: its watch may have lost the deletion")
	}

	renew(func(y *says) { y.awaited = "50" })
	for at := 4*s + 100*ms; at < 10*s; at += 700 * ms {
		c.at(at)
		for _, w := range c.nudge(t) {
			if !strings.Contains(w, " asked ") {
				t.Errorf("at %s, %q: what it was told is to stand until it names the key", at, w)
			}
		}
		renew(func(*says) {})
	}
	renew(func(y *says) { y.revoked = encodeIDs(append(slices.Clone(full[1:]), "left-out")) })
	c.at(11 * s)
	if got := c.nudge(t); !slices.Contains(got, "r1 -") {
		t.Errorf("%q: nothing is awaited any more", got)
	}

	lease.applied, lease.awaited, lease.revoked = "49", "", encodeIDs(full)
	c = newController(lease)
	c.sees(lease)
	c.expect(named(deleted("left-out", "50"), "left-out"))
	c.at(s)
	if awaited, _ := written(); !awaited {
		t.Error("it is behind, and is not told what is awaited")
	}
}
