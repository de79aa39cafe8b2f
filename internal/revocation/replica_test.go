// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

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

// TestReplicaStopsInTime lets renewals fail in every way. It serves until F after it has sent the last one that was
// answered, and not a nanosecond longer, and what is running is cut by then.
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
