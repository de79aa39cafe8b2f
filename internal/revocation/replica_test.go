// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

func TestReplicaRegistersThenListsThenServes(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.answer(nil, slow(1*s))
		x.lists(slow(3 * s))
		x.run()
		x.until(4*s - 1)
		if got, want := x.order(0, patch, create, created, relist, relisted, up), "patch create created relist patch"; got != want {
			t.Errorf("until the list has been applied: %q, want %q", got, want)
		}
		if got := x.moments(0, relist); got[0].at < 1*s {
			t.Errorf("it lists at %s, before its registration was answered", got[0].at)
		}
		if x.serving() {
			t.Error("it serves before it has listed")
		}
		x.until(4 * s)
		if !x.serving() {
			t.Error("it does not serve, though it has registered and listed")
		}
	})
}

func TestReplicaServesNothingUntilItCanRegister(t *testing.T) {
	for name, wrong := range map[string]fault{"refused": refuse, "silent": hang} {
		t.Run(name, func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				x.answer(wrong, nil)
				x.run()
				x.until(60 * s)
				if got := x.order(0, relist, up, created, patched); got != "" {
					t.Errorf("without a Lease: %s", got)
				}
				if n := len(x.moments(0, patch)); n < 5 || n > 121 {
					t.Errorf("it has tried %d times in a minute", n)
				}
				x.answer(nil, nil)
				x.until(77 * s) // attempts that nobody answers become few
				if !x.serving() {
					t.Error("it does not serve when it can register")
				}
			})
		})
	}
}

// TestReplicaFindsTheLeaseItHasMade: the answer to its creation was lost.
func TestReplicaFindsTheLeaseItHasMade(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.answer(nil, hang)
		x.run()
		x.until(1 * s)
		if x.there() == nil {
			t.Fatal("there is no Lease")
		}
		x.answer(nil, nil)
		x.until(10 * s)
		if !x.serving() || len(x.moments(0, create)) != 1 {
			t.Errorf("serving: %t, %s", x.serving(), x.order(0, patch, patched, create, created))
		}
	})
}

func TestReplicaRenews(t *testing.T) {
	for duration, every := range map[time.Duration]time.Duration{3 * s: 400 * ms, 15 * s: 2 * s, 60 * s: 8 * s} {
		t.Run(duration.String(), func(t *testing.T) {
			playFor(t, duration, func(t *testing.T, x *scene) {
				x.run()
				x.until(1 * s)
				x.until(10*every + 1*s)
				sent := x.moments(0, patch)[2:] // the first found no Lease, the second told what was in the list
				if len(sent) < 9 {
					t.Errorf("%d renewals in ten times %s", len(sent), every)
				}
				for i := range sent[1:] {
					if got := sent[i+1].at - sent[i].at; got != every {
						t.Errorf("renewed after %s, want %s", got, every)
					}
				}
				l := x.there()
				if got := l.Spec.RenewTime.Sub(x.began); got != sent[len(sent)-1].at.Truncate(time.Microsecond) {
					t.Errorf("it says that it was renewed at %s, and was at %s", got, sent[len(sent)-1].at)
				}
				if leaseDurationOf(l) != duration || *l.Spec.HolderIdentity != "pod-0" {
					t.Errorf("its spec is %+v", l.Spec)
				}
				want := map[string]string{v1alpha1.LabelReplica: "live", v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
				if diff := cmp.Diff(want, l.Labels); diff != "" || l.Name != leaseName {
					t.Errorf("its name is %s, its labels (-want +got):\n%s", l.Name, diff)
				}
			})
		})
	}
}

// TestReplicaStopsInTime lets renewals fail in every way. It serves until F after it has sent the last one that was answered,
// and not a nanosecond longer, and what is running is cut by then.
func TestReplicaStopsInTime(t *testing.T) {
	const from = 31 * s
	for _, tc := range []struct {
		reason        string
		latency       time.Duration // while all is well
		before, after fault
		duration      time.Duration
	}{
		{"refused", 0, refuse, nil, 15 * s},
		{"no answer", 0, hang, nil, 15 * s},
		{"the answer is lost", 0, nil, hang, 15 * s},
		{"the answer is an error", 0, nil, refuse, 15 * s},
		{"refused, and answers were slow before", 3 * s, refuse, nil, 15 * s},
		{"no answer, and answers were slow before", 3 * s, hang, nil, 15 * s},
		{"no answer, a short Lease", 0, hang, nil, 3 * s},
		{"refused, a short Lease", 0, refuse, nil, 3 * s},
		{"no answer, a long Lease", 0, hang, nil, 60 * s},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			playFor(t, tc.duration, func(t *testing.T, x *scene) {
				x.answer(nil, slow(tc.latency))
				x.run()
				x.until(from)
				if !x.serving() {
					t.Fatal("it does not serve")
				}
				x.answer(tc.before, tc.after)
				x.until(from + tc.latency) // a renewal that was under way has been answered
				sent := x.renewed()
				ends := sent + tc.duration*2/3
				x.until(ends - 1)
				if !x.serving() {
					t.Errorf("the last renewal was sent at %s; at %s it does not serve any more", sent, x.now())
				}
				x.until(ends)
				if x.serving() {
					t.Errorf("the last renewal was sent at %s; at %s it still serves", sent, x.now())
				}
				cuts := x.moments(from, cut)
				if len(cuts) == 0 || cuts[0].at != ends {
					t.Errorf("the last renewal was sent at %s; what runs is cut at %v, want %s", sent, cuts, ends)
				}
				if ends >= sent+tc.duration {
					t.Error("the controller may have stopped to wait by then")
				}

				x.until(ends + 2*tc.duration)
				if got := x.order(ends+1, up, relist, relisted); got != "" {
					t.Errorf("while it can't renew: %s", got)
				}
				x.answer(nil, nil)
				healed := x.now()
				x.until(healed + tc.duration*5/4 + 1*s) // attempts that nobody answers become few
				if !x.serving() {
					t.Error("it does not serve again")
				}
				// lawful looks at the order.
			})
		})
	}
}

// TestReplicaStopsInTimeThoughItHasJustRegistered: the answer to its registration was slow, and is the last one.
func TestReplicaStopsInTimeThoughItHasJustRegistered(t *testing.T) {
	for _, anew := range []bool{false, true} {
		t.Run(fmt.Sprintf("anew %t", anew), func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				begins := time.Duration(0)
				if anew {
					x.run()
					x.until(10 * s)
					x.answer(refuse, nil)
					x.until(30*s + 1)
					begins = x.last(patch) + 500*ms
				}
				x.answer(nil, func(ctx context.Context) error {
					x.answer(nil, hang)
					return slow(3 * s)(ctx)
				})
				if !anew {
					x.run()
				}
				x.until(begins + fence15 - 1)
				if got := x.renewed(); got != begins {
					t.Errorf("the last renewal was sent at %s, want %s", got, begins)
				}
				if !x.serving() {
					t.Error("it does not serve any more")
				}
				x.until(begins + fence15)
				if x.serving() || len(x.moments(begins+1, cut)) == 0 {
					t.Error("it still serves")
				}
			})
		})
	}
}

// TestReplicaTriesOn loses some renewals, but never for long enough.
func TestReplicaTriesOn(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.run()
		for i := range 10 {
			x.until(time.Duration(20*i+10) * s)
			x.answer([]fault{refuse, hang}[i%2], nil)
			x.until(time.Duration(20*i+15) * s)
			x.answer(nil, nil)
		}
		if got := x.order(0, up, down, cut); got != up {
			t.Errorf("with five seconds of trouble now and then: %s", got)
		}
		if got := len(x.moments(0, relist)); got != 1 {
			t.Errorf("it has listed %d times", got)
		}
	})
}

// TestReplicaIsNotOpenedByALateAnswer: the renewal was made, and its answer comes around the deadline.
func TestReplicaIsNotOpenedByALateAnswer(t *testing.T) {
	for _, late := range []time.Duration{-1, 0, 1, 1 * s, 4 * s} {
		for _, asked := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s late, asked meanwhile %t", late, asked), func(t *testing.T) {
				play(t, func(t *testing.T, x *scene) {
					x.lists(slow(1 * s))
					if asked {
						x.run()
					} else {
						x.runUnasked()
					}
					x.until(20 * s)
					ends := x.renewed() + fence15
					answers := ends + late
					x.answer(nil, func(context.Context) error {
						x.answer(nil, nil)
						time.Sleep(answers - x.now())
						return nil
					})
					x.until(answers)
					if late < 0 {
						x.until(answers + 10*s)
						if !x.serving() || x.order(20*s, cut, relist) != "" {
							t.Errorf("serving: %t, and there was %q", x.serving(), x.order(20*s, cut, relist))
						}
						return
					}
					if x.serving() {
						t.Error("the answer has opened it")
					}
					x.until(answers + 1400*ms)
					if x.serving() {
						t.Error("it serves without having listed")
					}
					if got, want := x.order(20*s, cut, relist, relisted), "cut relist"; got != want {
						t.Errorf("after the answer: %q, want %q", got, want)
					}
					if registered := x.moments(answers, patched); len(registered) < 2 || registered[1].at > x.last(relist) {
						t.Errorf("it has not registered anew before it lists: %v", registered)
					}
					x.until(answers + 3*s)
					if !x.serving() {
						t.Error("it does not serve again")
					}
				})
			})
		}
	}
}

// TestReplicaIsShutThoughItIsStuck: no goroutine has to get its turn for the fence to be shut.
func TestReplicaIsShutThoughItIsStuck(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.run()
		x.until(20 * s)
		ends := x.renewed() + fence15
		stuck := make(chan struct{})
		x.stick(stuck)
		x.until(ends - 1)
		if !x.serving() {
			t.Error("it does not serve any more")
		}
		x.until(ends)
		if x.serving() {
			t.Error("it still serves")
		}
		x.until(40 * s)
		close(stuck)
		synctest.Wait()
		if x.serving() || len(x.moments(40*s, cut)) != 1 {
			t.Error("it was stuck, and goes on as if nothing had been")
		}
		x.stick(nil)
		x.until(45 * s)
		if !x.serving() {
			t.Error("it does not serve again")
		}
	})
}

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

// TestReplicaTellsWhatHasBeenApplied: what is on the Lease was read from the store for this very write, before it was sent.
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
	// It renews at 10.05 s, 12.05 s, and so on, and learns then what is awaited. After a list it renews once more, 50 ms after
	// the last time.
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

func TestReplicaEnds(t *testing.T) {
	for _, tc := range []struct {
		reason string
		act    func(x *scene)
	}{
		{"while it serves", func(x *scene) { x.until(20 * s) }},
		{"while a renewal is under way", func(x *scene) { x.until(20 * s); x.answer(hang, nil); x.until(22*s + 500*ms) }},
		{"while it lists for the first time", func(x *scene) {
			x.remove()
			x.lists(hang)
			x.until(20 * s)
		}},
		{"while it lists anew", func(x *scene) { x.until(10 * s); x.lists(hang); x.await("7"); x.until(20 * s) }},
		{"while it waits to try again", func(x *scene) { x.until(20 * s); x.remove(); x.until(22*s + 100*ms) }},
		{"while it can't renew", func(x *scene) { x.until(20 * s); x.answer(refuse, nil); x.until(50 * s) }},
		{"while it can't list", func(x *scene) { x.lists(hang); x.remove(); x.until(200 * s) }},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				x.run()
				x.until(1 * s)
				tc.act(x)
				x.answer(nil, nil)
				from := x.now()
				spoken := len(x.logged(0, ""))
				x.end()
				synctest.Wait()
				select {
				case <-x.ended:
				default:
					t.Fatal("it has not ended")
				}
				if x.serving() {
					t.Error("it serves")
				}
				if x.there() != nil {
					t.Error("its Lease is still there")
				}
				if len(x.logged(0, "")) != spoken {
					t.Errorf("it complains of its end: %v", x.said[spoken:])
				}
				if got := x.order(from, cut, leave); !strings.HasSuffix(got, "delete") || x.order(0, cut) == "" {
					t.Errorf("in the end: %q", got)
				}
				x.until(from + 60*s)
				if got := x.order(from+1, patch, create, relist, up); got != "" {
					t.Errorf("after the end: %s", got)
				}
			})
		})
	}
}

// TestReplicaGivesUpALeaseThatItMayHaveMade: it has asked for one, and had no answer.
func TestReplicaGivesUpALeaseThatItMayHaveMade(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.answer(nil, hang)
		x.run()
		x.until(1 * s)
		x.answer(nil, nil)
		x.end()
		<-x.ended
		if x.there() != nil {
			t.Error("it has left a Lease behind that deletions wait for")
		}
	})
}

func TestReplicaEndsThoughItsLeaseCannotBeDeleted(t *testing.T) {
	for name, wrong := range map[string]fault{"refused": refuse, "silent": hang} {
		t.Run(name, func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				x.run()
				x.until(20 * s)
				x.answer(wrong, nil)
				x.end()
				<-x.ended
				if took := x.now() - 20*s; took > 4*s {
					t.Errorf("it has taken %s", took)
				}
				if x.serving() {
					t.Error("it serves")
				}
				if len(x.logged(20*s, "left to expire")) != 1 {
					t.Error("it does not say that deletions wait")
				}
			})
		})
	}
}

func TestReplicaThatHasNoLeaseEndsAtOnce(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.answer(hang, nil)
		x.run()
		x.until(1 * s)
		x.end()
		synctest.Wait()
		select {
		case <-x.ended:
		default:
			t.Error("it waits for an answer that it does not need")
		}
		if got := x.order(0, leave); got != "" {
			t.Error("it deletes what it has not made")
		}
	})
}

func TestReplicaReconnects(t *testing.T) {
	for _, tc := range []struct {
		reason        string
		before, after fault
		want          bool
	}{
		{"after a hang", hang, nil, true},
		{"after an answer that was lost", nil, hang, true},
		{"not after a refusal", refuse, nil, false},
		{"not if all is well", nil, nil, false},
	} {
		t.Run("to renew, "+tc.reason, func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				x.run()
				x.until(20 * s)
				x.answer(tc.before, tc.after)
				x.until(26 * s) // 3.75 s after it was sent, and before the deadline
				if got := x.order(20*s, reconnect) != ""; got != tc.want {
					t.Errorf("it has closed its connections: %t, want %t", got, tc.want)
				}
				if !x.serving() {
					t.Error("it does not serve")
				}
			})
		})
		t.Run("to register, "+tc.reason, func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				x.answer(tc.before, tc.after)
				x.run()
				x.until(5 * s)
				if got := x.order(0, reconnect) != ""; got != tc.want {
					t.Errorf("it has closed its connections: %t, want %t", got, tc.want)
				}
			})
		})
	}
}

// TestReplicaNeedsNoReconnect: it is optional.
func TestReplicaNeedsNoReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newScene(t, 15*s)
		o := x.ReplicaOptions
		o.Reconnect = nil
		x.Replica = NewReplica(o)
		x.run()
		x.until(20 * s)
		x.answer(hang, nil)
		x.until(60 * s)
		x.answer(nil, nil)
		x.until(80 * s)
		if !x.serving() {
			t.Error("it does not serve again")
		}
		x.end()
		<-x.ended
	})
}

// TestReplicaComplainsNowAndThen: the apiserver is away for five minutes.
// TestReplicaThatHearsNoAnswersIsCountedOut: its registrations arrive, and it never learns of it. It must not hold every
// deletion up by making its Lease as good as new over and over.
func TestReplicaThatHearsNoAnswersIsCountedOut(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.run()
		x.until(20 * s)
		x.answer(nil, hang)
		x.until(200 * s)
		writes := x.moments(60*s, patch, create)
		if len(writes) < 3 {
			t.Fatalf("%d writes from 60 s on: it must go on trying", len(writes))
		}
		for i := range writes[1:] {
			if pause := writes[i+1].at - writes[i].at; pause <= x.Duration {
				t.Errorf("its Lease never expires: %s between two writes", pause)
			}
		}
		x.answer(nil, nil)
		x.until(220 * s)
		if !x.serving() {
			t.Error("it does not serve again when answers come")
		}
	})
}

func TestReplicaComplainsNowAndThen(t *testing.T) {
	for name, wrong := range map[string]fault{"refused": refuse, "silent": hang} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, busy %t", name, busy), func(t *testing.T) {
				play(t, func(t *testing.T, x *scene) {
					x.run()
					x.until(20 * s)
					x.answer(wrong, nil)
					for i := 0; busy && i < 5000; i++ { // the watch still works
						x.applies(strconv.Itoa(2000 + i))
						x.until(20*s + time.Duration(i)*2*ms)
					}
					x.until(320 * s)
					sayings := map[string][]time.Duration{}
					x.mu.Lock()
					for _, m := range x.said {
						if m.at >= 20*s {
							sayings[m.what] = append(sayings[m.what], m.at)
						}
					}
					x.mu.Unlock()
					for text, at := range sayings {
						for i := range at[1:] {
							if pause := at[i+1] - at[i]; pause < 15*s {
								t.Errorf("after %s it says again: %s", pause, text)
								break
							}
						}
					}
					if n := len(x.logged(170*s, "not serving")); n < 7 || n > 11 {
						t.Errorf("in 150 s it has said %d times that it does not serve", n)
					}
					x.answer(nil, nil)
					x.until(345 * s)
					if n := len(x.logged(320*s, "serving: registered")); n != 1 {
						t.Errorf("it has said %d times that it serves again", n)
					}
					// The next absence is another one: it is told of at once.
					x.answer(wrong, nil)
					x.until(360 * s)
					if n := len(x.logged(345*s, "not serving")); n == 0 {
						t.Error("it does not say that it does not serve any more")
					}
				})
			})
		}
	}
}

func TestReplicaSaysThatItLists(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		x.lists(slow(50 * s))
		x.run()
		x.until(49 * s)
		if n := len(x.logged(0, errListing.Error())); n < 3 || n > 4 {
			t.Errorf("in 49 s it has said %d times that it lists", n)
		}
		x.until(51 * s)
		if !x.serving() {
			t.Error("it does not serve")
		}
		x.until(55 * s)
		x.await("7") // it lists anew, and serves
		x.until(100 * s)
		if n := len(x.logged(50*s, "not serving")); n != 0 {
			t.Error("it says that it does not serve, and does")
		}
	})
}

// TestReplicaTimes: F is less than L, whatever is configured, and an answer has to come before F is over.
func TestReplicaTimes(t *testing.T) {
	for seconds := 3; seconds <= 60; seconds++ {
		l := time.Duration(seconds) * s
		r := &Replica{ReplicaOptions: ReplicaOptions{Duration: l, Holder: "pod-0"}}
		if r.fenceAfter() >= l*7/10 || r.fenceAfter() <= l/2 {
			t.Errorf("a Lease of %s has a fence of %s", l, r.fenceAfter())
		}
		if r.fenceAfter()+CommitWithin(l) >= l {
			t.Errorf("a Lease of %s expires while a write may still be under way", l)
		}
		if r.renewEvery()+r.answerWithin() > r.fenceAfter() {
			t.Errorf("a Lease of %s has no time for a renewal to fail", l)
		}
		spec := r.spec(time.Now())
		if got := leaseDurationOf(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: spec}); got != l {
			t.Errorf("a Lease of %s says %s", l, got)
		}
	}
}

func TestEncodeRevoked(t *testing.T) {
	for _, tc := range []struct {
		ids  []types.UID
		want string
	}{
		{nil, ""},
		{[]types.UID{"a"}, "a"},
		{[]types.UID{"b", "c", "a"}, "a,b,c"},
	} {
		if got := encodeRevoked(slices.Clone(tc.ids)); got != tc.want {
			t.Errorf("%v becomes %q, want %q", tc.ids, got, tc.want)
		}
	}
}
