// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

func TestBarrierAsks(t *testing.T) {
	confirming := says{duration: 15, applied: "50", revoked: "a"}
	with := func(change func(*says)) says {
		y := confirming
		change(&y)
		return y
	}
	r1, r2 := "r1 ()", "r2 ()"
	for _, tc := range []struct {
		reason   string
		leases   []says
		awaited  []string
		replicas int
	}{
		{"there is none", nil, nil, 0},
		{"it has confirmed", []says{confirming}, nil, 1},
		{"it is past the deletion", []says{with(func(y *says) { y.applied = "51" })}, nil, 1},
		{"numbers are compared, not texts", []says{with(func(y *says) { y.applied = "100" })}, nil, 1},
		{"it names others as well", []says{with(func(y *says) { y.revoked = "0,a,b" })}, nil, 1},
		{"it is not at the deletion yet", []says{with(func(y *says) { y.applied = "49" })}, []string{r1}, 1},
		{"numbers are compared, not texts, this way too", []says{with(func(y *says) { y.applied = "9" })}, []string{r1}, 1},
		{"it does not name the key: its watch may have lost the event", []says{with(func(y *says) { y.revoked = "" })}, []string{r1}, 1},
		{"it names others", []says{with(func(y *says) { y.revoked = "b,aa,A" })}, []string{r1}, 1},
		{"it names something like it", []says{with(func(y *says) { y.revoked = " a" })}, []string{r1}, 1},
		{"it says nothing", []says{with(func(y *says) { y.applied, y.revoked = "", "" })}, []string{r1}, 1},
		{"it says nonsense", []says{with(func(y *says) { y.applied = "all of them" })}, []string{r1}, 1},
		{"it says 0", []says{with(func(y *says) { y.applied = "0" })}, []string{r1}, 1},
		{"it says 050", []says{with(func(y *says) { y.applied = "050" })}, []string{r1}, 1},
		{"it says +51", []says{with(func(y *says) { y.applied = "+51" })}, []string{r1}, 1},
		{"it has not been renewed ever", []says{with(func(y *says) { y.renewed, y.duration, y.applied = absent, 0, "" })}, []string{r1}, 1},
		{"it says whose it is", []says{{duration: 15, holder: "pod-0"}}, []string{"r1 (pod-0)"}, 1},
		{"one of two", []says{confirming, {name: "r2", duration: 15}}, []string{r2}, 2},
		{"both, in order", []says{{name: "r2"}, {name: "r1"}}, []string{r1, r2}, 2},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newController(tc.leases...)
			v := c.ask(t, deleted("a", "50"))
			if diff := cmp.Diff(Verdict{Awaited: tc.awaited, Replicas: tc.replicas, AskAgain: nudgeAfter}, v); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			want := []metav1.ListOptions{{LabelSelector: v1alpha1.LabelReplica}}
			if diff := cmp.Diff(want, c.listed); diff != "" {
				t.Errorf("it lists by (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBarrierAsksAgain(t *testing.T) {
	const l = 15 * s
	for _, tc := range []struct {
		reason string
		waited time.Duration
		seen   time.Duration // when the Lease was, before the deletion
		lease  says
		want   time.Duration
	}{
		{"when it will be time to tell the replica", 0, 0, says{duration: 15}, 500 * ms},
		{"when it will soon be time to tell the replica", 400 * ms, 0, says{duration: 15}, 100 * ms},
		{"when the replica has been told", 500 * ms, 0, says{duration: 15}, 2 * s},
		{"when the replica has long been told", 10 * s, 0, says{duration: 15}, 2 * s},
		{"when the Lease expires", 10 * s, 4 * s, says{duration: 15}, l - 14*s},
		{"when the Lease expires, even before it is told", 0, l - 10*ms, says{duration: 15}, 10 * ms},
		{"when the Lease has all but expired", 0, l - 1, says{duration: 15}, 1 * ms},
		{"not when a Lease expires that has confirmed", 10 * s, 4 * s, says{duration: 15, applied: "50", revoked: "a"}, 2 * s},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newController(tc.lease)
			c.sees(tc.lease)
			c.at(tc.seen)
			k := deleted("a", "50")
			c.ask(t, k)
			c.at(tc.seen + tc.waited)
			v := c.ask(t, k)
			if v.AskAgain != tc.want || v.Waited != tc.waited {
				t.Errorf("waited %s, ask again after %s; want %s, %s", v.Waited, v.AskAgain, tc.waited, tc.want)
			}
		})
	}
}

// TestBarrierAsksAgainInTime asks whenever it is told to, of a replica that is dead: that alone brings the deletion to
// its end.
func TestBarrierAsksAgainInTime(t *testing.T) {
	c := newController(says{duration: 15})
	k := deleted("a", "50")
	c.at(0)
	for now, n := time.Duration(0), 0; ; n++ {
		v := c.ask(t, k)
		if len(v.Awaited) == 0 {
			if now != 15*s || n > 12 {
				t.Errorf("it was over after %s and %d questions", now, n)
			}
			return
		}
		if v.AskAgain <= 0 || now > 15*s {
			t.Fatalf("at %s it is to be asked again after %s", now, v.AskAgain)
		}
		now += v.AskAgain
		c.at(now)
	}
}
