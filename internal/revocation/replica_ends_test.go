// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

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

// TestReplicaComplainsNowAndThen: the apiserver is away for five minutes. TestReplicaThatHearsNoAnswersIsCountedOut:
// its registrations arrive, and it never learns of it. It must not hold every deletion up by making its Lease as good
// as new over and over.
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
		if got := encodeIDs(slices.Clone(tc.ids)); got != tc.want {
			t.Errorf("%v becomes %q, want %q", tc.ids, got, tc.want)
		}
	}
}
