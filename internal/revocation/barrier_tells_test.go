// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

func TestBarrierKnowsWhatIsConfirmed(t *testing.T) {
	a, b := deleted("a", "50"), named(deleted("b", "60"), "frontend")
	frontend := types.NamespacedName{Namespace: "acme", Name: "frontend"}
	c := newController(says{name: "r1", duration: 15}, says{name: "r2", duration: 15})
	if got := c.sees(says{name: "r1", duration: 15}, says{name: "r2", duration: 15}); len(got) != 0 {
		t.Errorf("nobody has asked, and it returns %v", got)
	}
	c.ask(t, a)
	c.ask(t, b)
	sorted := func(names []types.NamespacedName) []types.NamespacedName {
		slices.SortFunc(names, func(a, b types.NamespacedName) int { return strings.Compare(a.Name, b.Name) })
		return names
	}
	for i, step := range []struct {
		do   func() []types.NamespacedName
		want []types.NamespacedName
	}{
		{func() []types.NamespacedName {
			return c.sees(says{name: "r1", version: 1, renewed: 1, duration: 15, applied: "60", revoked: "a,b"})
		}, nil},
		{func() []types.NamespacedName {
			return c.sees(says{name: "r2", version: 1, renewed: 1, duration: 15, applied: "50", revoked: "a,b"})
		}, []types.NamespacedName{backend}},
		{func() []types.NamespacedName { return c.Forget("r2") }, []types.NamespacedName{backend, frontend}},
		{func() []types.NamespacedName { return c.sees(says{name: "r3", duration: 15}) }, nil},
		{func() []types.NamespacedName {
			c.at(15 * s) // r1 and r3 have expired
			return c.sees(says{name: "r4", renewed: 2, duration: 15, applied: "60", revoked: "b"})
		}, []types.NamespacedName{frontend}},
		{func() []types.NamespacedName { c.Done(frontend); return c.Forget("r4") }, []types.NamespacedName{backend}},
		{func() []types.NamespacedName { c.Done(backend); c.Done(backend); return c.Forget("r4") }, nil},
	} {
		if diff := cmp.Diff(step.want, sorted(step.do())); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestBarrierTellsKeysOfOneNameApart: a key was made again, under its old name, and deleted again.
func TestBarrierTellsKeysOfOneNameApart(t *testing.T) {
	c := newController(says{duration: 15, applied: "100", revoked: "a"})
	first, second := deleted("a", "50"), deleted("b", "90")
	if v := c.ask(t, first); len(v.Awaited) != 0 {
		t.Error("the first is confirmed, and waited for")
	}
	c.at(10 * s)
	v := c.ask(t, second)
	if len(v.Awaited) != 1 || v.Waited != 0 {
		t.Errorf("of the second, it has waited %s for %v", v.Waited, v.Awaited)
	}
	if got := c.nudge(t); len(got) != 0 {
		t.Errorf("at once it writes %v", got)
	}
	// The same one, which has changed since: what is awaited is the deletion, not whatever came after it.
	c.at(11 * s)
	second.ResourceVersion = "200"
	c.sees(says{version: 1, renewed: 1, duration: 15, applied: "90", revoked: "b"})
	c.set(says{version: 1, renewed: 1, duration: 15, applied: "90", revoked: "b"})
	if v := c.ask(t, second); len(v.Awaited) != 0 || v.Waited != 1*s {
		t.Errorf("of the second, it has waited %s for %v", v.Waited, v.Awaited)
	}
	c.Done(backend)
	c.at(20 * s)
	if v := c.ask(t, second); v.Waited != 0 {
		t.Errorf("it was done, and it has waited %s", v.Waited)
	}
}

func TestBarrierNudges(t *testing.T) {
	lease := says{duration: 15}
	c := newController(lease)
	wants := func(at time.Duration, why string, want ...string) {
		t.Helper()
		c.at(at)
		if diff := cmp.Diff(want, c.nudge(t)); diff != "" {
			t.Errorf("at %s, %s (-want +got):\n%s", at, why, diff)
		}
	}
	renewed := func(at time.Duration, change func(*says)) {
		c.at(at)
		lease.version++
		lease.renewed++
		change(&lease)
		c.sees(lease)
		c.set(lease)
	}
	wants(0, "nobody waits")
	c.ask(t, deleted("a", "50"))
	wants(500*ms-1, "it is not late")
	wants(500*ms, "it is late", "r1 50")
	wants(600*ms, "it was told just now")
	renewed(700*ms, func(*says) {}) // from before it was told
	wants(2500*ms-1, "it was told less than 2 s ago")
	wants(2500*ms, "its Lease does not say so, and it was told 2 s ago", "r1 50")
	renewed(2600*ms, func(y *says) { y.awaited = "50" })
	wants(10*s, "it knows")

	c.ask(t, named(deleted("b", "60"), "b"))
	c.ask(t, named(deleted("c", "55"), "c"))
	wants(10*s+400*ms, "it knows of the old one, and is not late with the new ones")
	renewed(10*s+450*ms, func(*says) {})
	wants(10*s+500*ms, "it is late with the new ones", "r1 60")
	renewed(11*s, func(y *says) { y.awaited = "60" })
	c.ask(t, named(deleted("d", "70"), "d"))
	wants(12*s, "it was told less than 2 s ago")
	wants(13*s, "it was told 2 s ago", "r1 70")

	renewed(14*s, func(y *says) { y.awaited, y.applied, y.revoked = "70", "70", "b,c,d" })
	wants(14*s, "it is awaited for the oldest alone: that it has long been told")
	renewed(15*s, func(y *says) { y.revoked = "a,b,c,d" })
	wants(15*s, "nothing is awaited any more", "r1 -")
	wants(15*s, "the word was taken back")

	for _, name := range []string{"backend", "b", "c", "d"} {
		c.Done(types.NamespacedName{Namespace: "acme", Name: name})
	}
	renewed(16*s, func(y *says) { y.awaited, y.revoked = "", "" })
	wants(20*s, "nobody waits any more")
}

func TestBarrierTakesItsWordBackWhenNobodyWaits(t *testing.T) {
	c := newController(says{duration: 15, awaited: "50"}) // of a controller that was here before
	c.sees(says{duration: 15, awaited: "50"})
	if diff := cmp.Diff([]string{"r1 -"}, c.nudge(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := c.nudge(t); len(got) != 0 {
		t.Errorf("again it writes %v", got)
	}
}

func TestBarrierDoesNotTellTheDead(t *testing.T) {
	c := newController(says{name: "r1", duration: 3}, says{name: "r2", duration: 15, awaited: "50"}, says{name: "r3", duration: 3, awaited: "40"})
	c.ask(t, deleted("a", "50"))
	c.at(5 * s)
	if got := c.nudge(t); len(got) != 0 {
		t.Errorf("it writes %v", got)
	}
}

func TestBarrierTellsTheOthersThoughOneFails(t *testing.T) {
	leases := []says{{name: "r1", duration: 15}, {name: "r2", duration: 15}, {name: "r3", duration: 15}}
	c := newController(leases...)
	c.ask(t, deleted("a", "50"))
	c.at(1 * s)
	gone := apierrors.NewNotFound(coordinationv1.Resource("leases"), "r1")
	c.failing["patch r1"], c.failing["patch r2"] = gone, errors.New("no route")
	err := c.Nudge(t.Context())
	if err == nil || !strings.Contains(err.Error(), "r2") || !strings.Contains(err.Error(), "no route") || strings.Contains(err.Error(), "r1") {
		t.Errorf("error %v, want one of r2: that r1 is gone is no mistake", err)
	}
	slices.Sort(c.written)
	if diff := cmp.Diff([]string{"r1 50", "r2 50", "r3 50"}, c.written); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// It tries again, once it has seen that its word is not there.
	clear(c.failing)
	for i := range leases {
		leases[i].version, leases[i].renewed = 1, 1
	}
	leases[0].awaited, leases[2].awaited = "50", "50"
	c.sees(leases...)
	c.at(3 * s)
	if diff := cmp.Diff([]string{"r2 50"}, c.nudge(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBarrierSweeps deletes what has been dead for 19 times as long as it lived, and nothing else.
func TestBarrierSweeps(t *testing.T) {
	c := newController()
	for i, step := range []struct {
		at     time.Duration
		leases []says // that are not renewed
		want   []string
	}{
		{0, []says{{name: "long", duration: 60}, {name: "short", version: 7, duration: 3}, {name: "bare"}}, nil},
		{60*s - 1, []says{{name: "long", duration: 60}, {name: "short", version: 8, duration: 3}, {name: "bare"}}, nil},
		{60 * s, []says{{name: "long", duration: 60}, {name: "short", version: 8, duration: 3}, {name: "bare"}}, []string{"short at 108"}},
		{300*s - 1, []says{{name: "long", duration: 60}, {name: "bare"}, {name: "short", version: 200, renewed: 1, duration: 3}}, nil}, // made again
		{300 * s, []says{{name: "long", duration: 60}, {name: "bare"}}, []string{"bare at 100"}},
		{1200*s - 1, []says{{name: "long", duration: 60}}, nil},
		{1200 * s, []says{{name: "long", duration: 60}}, []string{"long at 100"}},
	} {
		c.at(step.at)
		c.set(append(step.leases, says{name: "lives", version: i, renewed: time.Duration(i), duration: 60})...)
		c.written = nil
		if err := c.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(step.want, c.written); diff != "" {
			t.Errorf("at %s it deletes (-want +got):\n%s", step.at, diff)
		}
	}
}

// Whoever ends an installation leaves no Lease behind but those of replicas that live.
func TestBarrierBuries(t *testing.T) {
	leases := []says{{name: "long", duration: 60}, {name: "short", version: 7, duration: 3}}
	c := newController(leases...)
	for _, step := range []struct {
		at   time.Duration
		want []string
	}{{0, nil}, {3*s - 1, nil}, {3 * s, []string{"short at 107"}}} {
		c.at(step.at)
		c.written = nil
		if err := c.DeleteExpired(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(step.want, c.written); diff != "" {
			t.Errorf("at %s it deletes (-want +got):\n%s", step.at, diff)
		}
	}
}

func TestBarrierSweepsTheOthersThoughOneFails(t *testing.T) {
	leases := []says{{name: "r1", duration: 1}, {name: "r2", duration: 1}, {name: "r3", duration: 1}}
	c := newController(leases...)
	if err := c.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.at(20 * s)
	resource := coordinationv1.Resource("leases")
	c.failing["delete r1"] = apierrors.NewNotFound(resource, "r1")
	c.failing["delete r2"] = apierrors.NewConflict(resource, "r2", errors.New("it was renewed after all"))
	if err := c.Sweep(t.Context()); err != nil || len(c.written) != 3 {
		t.Errorf("it was renewed, or gone, meanwhile: %v; deleted %v", err, c.written)
	}
	c.failing["delete r3"] = errors.New("forbidden")
	if err := c.Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("error %v, want what was wrong", err)
	}
	c.failing["list"] = errors.New("no route")
	c.written = nil
	if err := c.Sweep(t.Context()); err == nil || len(c.written) != 0 {
		t.Errorf("error %v, and it deletes %v without having looked", err, c.written)
	}
}

func TestBarrierKnowsNothingByAListThatFailed(t *testing.T) {
	c := newController(says{duration: 15})
	c.sees(says{duration: 15})
	c.failing["list"] = errors.New("no route")
	if v, err := c.Ask(t.Context(), deleted("a", "50")); err == nil || !strings.Contains(err.Error(), "no route") {
		t.Errorf("verdict %+v, error %v", v, err)
	}
	if live, dead := c.Replicas(); live != 1 || dead != 0 {
		t.Errorf("%d live and %d dead ones", live, dead)
	}
}

// TestBarrierAsksForManyAtOnce: 200 keys are deleted, and each question needs a list that was sent after it was asked.
func TestBarrierAsksForManyAtOnce(t *testing.T) {
	const many = 200
	c := newController(says{duration: 15})
	c.listing = func(context.Context) {
		if len(c.listed) > 1 {
			return
		}
		// The first is under way until one waits for its turn to list, and all others wait for that one.
		for deadline := time.Now().Add(time.Minute); sharing() < many-2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%d of %d share a list, after a minute", sharing(), many)
				return
			}
		}
	}
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			v, err := c.Ask(t.Context(), named(deleted(types.UID(fmt.Sprint("key-", i)), "50"), fmt.Sprint("key-", i)))
			if err != nil || len(v.Awaited) != 1 {
				t.Errorf("verdict %+v, error %v", v, err)
			}
		})
	}
	all.Wait()
	if n := len(c.listed); n != 2 {
		t.Errorf("%d questions have cost %d lists, want one that was under way and one after it", many, n)
	}
}

// sharing counts the goroutines that wait for a result that another one makes.
func sharing() (n int) {
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "[chan receive") && strings.Contains(stack, ".get(") {
			n++
		}
	}
	return n
}
