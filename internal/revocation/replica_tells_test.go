// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

func TestReplicaNamesAKeyAtOnce(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.run()
		x.until(21 * s) // between two renewals
		x.applies("1001", "a")
		synctest.Wait()
		names := func() string {
			l := x.there()
			return l.Annotations[v1alpha1.AnnotationApplied] + ":" + l.Annotations[v1alpha1.AnnotationRevoked]
		}
		if got := names(); got != "1001:a" {
			t.Errorf("right after the change the Lease says %s", got)
		}
		x.until(21*s + 10*ms)
		x.applies("1002", "b")
		x.until(21*s + 50*ms)
		if got := names(); got != "1002:a,b" {
			t.Errorf("50 ms after the last renewal the Lease says %s", got)
		}
		// A renewal is under way, and does not have it.
		x.answer(nil, slow(1*s))
		x.until(23*s + 500*ms)
		x.applies("1003", "c")
		x.until(25 * s)
		if got := names(); got != "1003:a,b,c" {
			t.Errorf("when the one under way is over the Lease says %s", got)
		}
		if got := x.order(20*s, up, down, cut, relist); got != "" {
			t.Errorf("beside: %s", got)
		}
	})
}

func TestReplicaIsPaced(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.run()
		x.until(21 * s)
		before := len(x.moments(0, patch))
		for i := range 1000 {
			x.applies(strconv.Itoa(2000+i), types.UID(fmt.Sprintf("key-%04d", i)))
			x.until(21*s + time.Duration(i+1)*ms)
		}
		if n := len(x.moments(0, patch)) - before; n > 21 || n < 15 {
			t.Errorf("1000 changes in a second have made %d renewals", n)
		}
		x.until(x.now() + 50*ms)
		l := x.there()
		if got := l.Annotations[v1alpha1.AnnotationApplied]; got != "2999" {
			t.Errorf("when the changes are over the Lease says %s", got)
		}
		if names := strings.Split(l.Annotations[v1alpha1.AnnotationRevoked], ","); len(names) != MaxNamed || names[MaxNamed-1] != "key-0499" {
			t.Errorf("the Lease names %d keys, the last is %s", len(names), names[len(names)-1])
		}
		from := x.now()
		x.until(from + 60*s)
		if n := len(x.moments(from, patch)); n > 31 {
			t.Errorf("%d renewals in a minute without a change", n)
		}
	})
}

// TestReplicaTellsWhatHasBeenApplied: what is on the Lease was read from the store for this very write, before it was
// sent.
func TestReplicaTellsWhatHasBeenApplied(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		applied := 5000
		sent := func(context.Context) error { // a write is on its way
			x.store.mu.Lock()
			defer x.store.mu.Unlock()
			applied++
			x.store.version = strconv.Itoa(applied) // which it can't have read any more
			return nil
		}
		x.store.version = strconv.Itoa(applied)
		x.answer(sent, nil)
		x.run()
		x.until(30 * s)
		writes := x.since(0)
		if len(writes) < 10 {
			t.Fatalf("%d writes", len(writes))
		}
		for i, l := range writes {
			// The first attempt, of a Lease that was not there, is not among the writes.
			if got, want := l.Annotations[v1alpha1.AnnotationApplied], strconv.Itoa(5001+i); got != want {
				t.Errorf("write %d says that %s has been applied, want %s", i, got, want)
			}
		}
		if x.asked != len(writes)+1 {
			t.Errorf("the store was asked %d times for %d writes", x.asked, len(writes)+1)
		}
	})
}

func TestReplicaObeys(t *testing.T) {
	// It renews at 10.05 s, 12.05 s, and so on, and learns then what is awaited. After a list it renews once more, 50 ms
	// after the last time.
	for _, tc := range []struct {
		reason string
		list   fault
		act    func(x *scene)
		want   []time.Duration // when it lists, after the first time
	}{
		{"nothing is awaited", nil, func(*scene) {}, nil},
		{
			"something is awaited, for ever", nil,
			func(x *scene) { x.until(10 * s); x.await("7") },
			[]time.Duration{12*s + 50*ms},
		},
		{
			"and then something newer", nil,
			func(x *scene) { x.until(10 * s); x.await("7"); x.until(100 * s); x.await("8") },
			[]time.Duration{12*s + 50*ms, 102*s + 100*ms},
		},
		{
			"something newer, before it has listed", nil,
			func(x *scene) { x.until(10 * s); x.await("7"); x.until(11 * s); x.await("8") },
			[]time.Duration{12*s + 50*ms},
		},
		{
			"something newer, while it lists",
			slow(5 * s),
			func(x *scene) { x.until(10 * s); x.await("7"); x.until(14 * s); x.await("8") },
			[]time.Duration{12*s + 50*ms, 19*s + 50*ms},
		},
		{
			"taken back in time", nil,
			func(x *scene) { x.until(10 * s); x.await("7"); x.until(12 * s); x.await("") },
			nil,
		},
		{
			"taken back in time, and then something newer: it has its own time", nil,
			func(x *scene) {
				x.until(10 * s)
				x.await("7")
				x.until(12 * s)
				x.await("")
				x.until(14 * s)
				x.await("8")
			},
			[]time.Duration{16*s + 50*ms},
		},
		{
			"taken back after it has listed, and then something newer", nil,
			func(x *scene) {
				x.until(10 * s)
				x.await("7")
				x.until(13 * s)
				x.await("")
				x.until(30 * s)
				x.await("8")
			},
			[]time.Duration{12*s + 50*ms, 32*s + 100*ms},
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				x.run()
				x.until(9 * s)
				x.lists(tc.list)
				tc.act(x)
				x.until(120 * s)
				var got []time.Duration
				for _, m := range x.moments(0, relist)[1:] {
					got = append(got, m.at)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("lists (-want +got):\n%s", diff)
				}
				if got := x.order(0, up, down, cut); got != up {
					t.Errorf("it has not just gone on serving: %s", got)
				}
			})
		})
	}
}

func TestReplicaWhoseLeaseWasDeleted(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.run()
		x.until(10 * s)
		x.lists(slow(1 * s))
		x.remove()
		x.until(10*s + 50*ms) // the next renewal
		if x.serving() {
			t.Error("it serves, and nobody waits for it")
		}
		x.until(15 * s)
		if !x.serving() {
			t.Error("it does not serve again")
		}
		if got, want := x.order(10*s, cut, create, created, relist, relisted, up), "cut create created relist relisted up"; got != want {
			t.Errorf("it comes back by %q, want %q", got, want)
		}
		if n := len(x.logged(0, "the Lease was deleted")); n != 1 {
			t.Errorf("it has said so %d times", n)
		}
		x.remove()
		x.until(20 * s)
		if n := len(x.logged(15*s, "the Lease was deleted")); n != 1 {
			t.Errorf("when that has happened again, soon after, it has said so %d times", n)
		}
		if got := x.order(0, reconnect); got != "" {
			t.Error("it has closed its connections, over an answer")
		}
	})
}

func TestReplicaTakesASilentWatchForBroken(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.run()
		x.until(10 * s)
		x.silent()
		x.until(85 * s)
		if n := len(x.moments(10*s, relist)); n != 0 {
			t.Error("it lists before a bookmark is overdue")
		}
		x.until(88 * s)
		if n := len(x.moments(10*s, relist)); n != 1 {
			t.Errorf("it has listed %d times", n)
		}
		// A list is a sign of life, and lasts for another while.
		x.until(160 * s)
		if n := len(x.moments(10*s, relist)); n != 1 {
			t.Errorf("it has listed %d times", n)
		}
		x.until(165 * s)
		if n := len(x.moments(10*s, relist)); n != 2 {
			t.Errorf("it has listed %d times", n)
		}
		if n := len(x.logged(0, "serving: registered")); n != 1 {
			t.Errorf("it has said %d times that it serves", n)
		}
		if got := x.order(0, up, down, cut); got != up {
			t.Errorf("it has not just gone on serving: %s", got)
		}
	})
}
