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

// TestReplicaThatCannotListIsCountedOut: it can renew its Lease, so deletions would wait for it for ever.
func TestReplicaThatCannotListIsCountedOut(t *testing.T) {
	for _, tc := range []struct {
		reason string
		asked  time.Duration // when it begins to list
		act    func(x *scene)
	}{
		{"from the beginning", 0, func(x *scene) { x.lists(hang); x.run() }},
		{"from when it should list anew", 12*s + 50*ms, func(x *scene) {
			x.run()
			x.until(10 * s)
			x.lists(hang)
			x.await("7")
		}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				tc.act(x)
				x.until(tc.asked + 60*s)
				if got, want := x.serving(), tc.asked > 0; got != want {
					t.Errorf("after a minute it serves: %t, want %t", got, want)
				}
				if got := x.order(0, cut); got != "" {
					t.Error("it has given up before its time")
				}
				x.until(tc.asked + 60*s + renewal15 + 50*ms)
				if x.serving() {
					t.Error("it still serves")
				}
				stopped := x.last(cut)
				if got := len(x.moments(stopped, reconnect)); got != 1 {
					t.Errorf("it has closed its connections %d times", got)
				}

				x.until(stopped + 300*s)
				if got := x.order(stopped+1, patch, create, up); got != "" {
					t.Errorf("while it can't list: %s", got)
				}
				if n := len(x.logged(stopped, "can't be listed")); n == 0 {
					t.Error("it does not say why it serves nothing")
				}
				if got, want := len(x.moments(stopped, relist)), 1; got != want {
					t.Errorf("it lists %d times at once", got)
				}

				// The list that hangs ends with its connection, and the store tries again.
				x.end()
				<-x.ended
			})
		})
	}
}

// TestReplicaWithALongListServes: one that takes longer than a replica may list with a Lease is made without one, and
// then has the time that it takes. Whoever can't list at all is given no more than that.
func TestReplicaWithALongListServes(t *testing.T) {
	for _, tc := range []struct {
		list, serves time.Duration // 0: never
	}{
		{59 * s, 59 * s},
		{70 * s, 62*s + 2*70*s},
		{9 * time.Minute, 62*s + 18*time.Minute},
		{11 * time.Minute, 0}, // deletions would wait for too long
	} {
		t.Run(tc.list.String(), func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				until := tc.serves
				if until == 0 {
					until = time.Hour
				}
				x.lists(slow(tc.list))
				x.run()
				x.until(until - 2*s)
				if x.serving() {
					t.Fatal("it serves before it has listed with a Lease")
				}
				x.until(until + 3*s)
				if got := x.serving(); got != (tc.serves != 0) {
					t.Fatalf("it serves: %t; %v", got, x.moments(0, patched, created, relist, relisted, up, cut))
				}
				if tc.serves == 0 {
					return
				}
				from := x.now()
				x.lists(hang)
				x.await("7")
				x.until(from + max(60*s, 2*tc.list) + 10*s)
				if got := x.order(from, cut); got == "" {
					t.Error("it renews its Lease and can't list, and does not give up")
				}
			})
		})
	}
}

func TestReplicaThatCouldNotListComesBack(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		release := make(chan struct{})
		x.lists(func(ctx context.Context) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		x.run()
		x.until(300 * s)
		if got := x.order(70*s, patch, create, up); got != "" {
			t.Errorf("while it can't list: %s", got)
		}
		close(release)
		x.lists(slow(1 * s))
		x.until(300*s + 500*ms)
		if x.serving() {
			t.Error("it serves what it has listed without a Lease")
		}
		x.until(302 * s)
		if !x.serving() {
			t.Error("it does not serve again")
		}
		if got, want := x.order(300*s, patched, relist, relisted, up), "relisted patched relist relisted"; !strings.HasPrefix(got, want) {
			t.Errorf("it comes back by %q, want %q", got, want)
		}
		// And it knows no more of that: it would renew its Lease for ever, if it does not serve.
		x.until(400 * s)
		if n := len(x.moments(310*s, patch)); n != 45 {
			t.Errorf("%d renewals in 90 s", n)
		}
		x.remove()
		x.until(410 * s)
		if got, want := x.order(400*s+1, created, relist, relisted, up), "created relist relisted up"; got != want {
			t.Errorf("when it has to come back later, it does by %q, want %q", got, want)
		}
	})
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
