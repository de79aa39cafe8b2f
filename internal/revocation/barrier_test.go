// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var (
	epoch   = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	backend = types.NamespacedName{Namespace: "acme", Name: "backend"}
)

// says is what stands on a Lease. The zero one has never been renewed, and says nothing; "absent" is what is not even there.
type says struct {
	name     string // or "r1"
	version  int
	renewed  time.Duration // since epoch, by whatever clock; absent: not at all
	duration int32         // in seconds; 0: not there
	applied  string
	revoked  string
	awaited  string
	holder   string
}

const absent = -1 << 62

func (y says) lease() coordinationv1.Lease {
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: y.name, ResourceVersion: strconv.Itoa(100 + y.version), Annotations: map[string]string{}}}
	if y.name == "" {
		l.Name = "r1"
	}
	if y.renewed != absent {
		at := metav1.NewMicroTime(epoch.Add(y.renewed))
		l.Spec.RenewTime = &at
	}
	if y.duration != 0 {
		l.Spec.LeaseDurationSeconds = &y.duration
	}
	if y.holder != "" {
		l.Spec.HolderIdentity = &y.holder
	}
	for name, value := range map[string]string{v1alpha1.AnnotationApplied: y.applied, v1alpha1.AnnotationRevoked: y.revoked, v1alpha1.AnnotationAwaited: y.awaited} {
		if value != "" {
			l.Annotations[name] = value
		}
	}
	return l
}

// controller is a Barrier among Leases that are made by hand.
type controller struct {
	*Barrier
	*namespace
	clock *clocktesting.FakePassiveClock
}

func newController(leases ...says) *controller {
	clock := clocktesting.NewFakePassiveClock(epoch)
	n := &namespace{failing: map[string]error{}}
	n.set(leases...)
	return &controller{NewBarrier(n, clock), n, clock}
}

// at sets the clock to a time since epoch.
func (c *controller) at(d time.Duration) { c.clock.SetTime(epoch.Add(d)) }

// sees shows the barrier Leases, as a watch does.
func (c *controller) sees(leases ...says) (names []types.NamespacedName) {
	for _, y := range leases {
		l := y.lease()
		names = c.Observe(&l)
	}
	return names
}

// ask asks about the deletion of a key.
func (c *controller) ask(t *testing.T, k *v1alpha1.ApiKey) Verdict {
	t.Helper()
	v, err := c.Ask(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// nudge returns what it writes, on which Lease.
func (c *controller) nudge(t *testing.T) []string {
	t.Helper()
	c.written = nil
	if err := c.Nudge(t.Context()); err != nil {
		t.Error(err)
	}
	return c.written
}

// deleted is an ApiKey with that UID whose deletion has that resourceVersion.
func deleted(id types.UID, resourceVersion string) *v1alpha1.ApiKey {
	return &v1alpha1.ApiKey{ObjectMeta: metav1.ObjectMeta{
		Namespace: backend.Namespace, Name: backend.Name, UID: id, ResourceVersion: resourceVersion,
		DeletionTimestamp: &metav1.Time{Time: epoch}, Finalizers: []string{v1alpha1.FinalizerRevocation},
	}}
}

func named(k *v1alpha1.ApiKey, name string) *v1alpha1.ApiKey {
	k.Name = name
	return k
}

// namespace is the Leases of a namespace.
type namespace struct {
	coordinationclient.LeaseInterface

	leases  []coordinationv1.Lease
	listing func(context.Context) // between making up a list and answering
	failing map[string]error      // by what is done
	listed  []metav1.ListOptions
	written []string
}

func (n *namespace) set(leases ...says) {
	n.leases = nil
	for _, y := range leases {
		n.leases = append(n.leases, y.lease())
	}
}

func (n *namespace) List(ctx context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	n.listed = append(n.listed, o)
	list := &coordinationv1.LeaseList{Items: slices.Clone(n.leases)}
	if n.listing != nil {
		n.listing(ctx)
	}
	return list, n.failing["list"]
}

func (n *namespace) Patch(_ context.Context, name string, kind types.PatchType, body []byte, _ metav1.PatchOptions, _ ...string) (*coordinationv1.Lease, error) {
	var patch struct {
		Metadata struct{ Annotations map[string]*string }
	}
	if err := json.Unmarshal(body, &patch); err != nil || kind != types.MergePatchType {
		return nil, fmt.Errorf("a %s %s: %w", kind, body, err)
	}
	awaited, only := patch.Metadata.Annotations[v1alpha1.AnnotationAwaited], len(patch.Metadata.Annotations) == 1
	switch {
	case !only || strings.Count(string(body), ":") != 3:
		return nil, fmt.Errorf("it writes more than its word: %s", body)
	case awaited == nil:
		n.written = append(n.written, name+" -")
	default:
		n.written = append(n.written, name+" "+*awaited)
	}
	return nil, n.failing["patch "+name]
}

func (n *namespace) Delete(_ context.Context, name string, o metav1.DeleteOptions) error {
	n.written = append(n.written, name+" at "+*o.Preconditions.ResourceVersion)
	return n.failing["delete "+name]
}

// TestBarrierJudgesLivenessByWhatItSees shows it a Lease, over and over, and then asks when it is taken for dead.
func TestBarrierJudgesLivenessByWhatItSees(t *testing.T) {
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

func TestBarrierWaitsForWhatHasNoResourceVersion(t *testing.T) {
	for _, resourceVersion := range []string{"", "0", "x", "-1"} {
		c := newController(says{duration: 15, applied: "50", revoked: "a"})
		if v := c.ask(t, deleted("a", resourceVersion)); len(v.Awaited) != 1 {
			t.Errorf("a deletion at %q is confirmed by whoever is at 50", resourceVersion)
		}
	}
}

// TestBarrierCountsOutByTheTimeBeforeTheList: a renewal that was made while the list was on its way is not on it, and the
// replica serves.
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

// TestBarrierDecidesByTheListAlone: the list has the say whom to wait for, even if something older comes between it and the
// verdict. That is another list that was sent before, or a watch that is behind.
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
			v := c.judge(d, list)
			if diff := cmp.Diff([]string{"r1 (pod-0)"}, v.Awaited); diff != "" || v.Replicas != 1 {
				t.Errorf("of %d it waits for (-want +got):\n%s", v.Replicas, diff)
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

// TestBarrierAsksAgainInTime asks whenever it is told to, of a replica that is dead: that alone brings the deletion to its end.
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
		for n := 0; n < 2000 && sharing() < many-2; n++ {
			runtime.Gosched()
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

// TestBatch lets many call at once, over and over. A result is its number.
func TestBatch(t *testing.T) {
	const callers, calls = 32, 100
	var b batch[int32]
	var begun, running atomic.Int32
	failed := errors.New("no route")
	do := func() (int32, error) {
		if running.Add(1) != 1 {
			t.Error("two are made at once")
		}
		defer running.Add(-1)
		n := begun.Add(1)
		for range 20 {
			runtime.Gosched() // others call meanwhile
		}
		if n%3 == 0 {
			return n, failed
		}
		return n, nil
	}
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range calls {
				before := begun.Load()
				n, err := b.get(do)
				if n <= before {
					t.Errorf("the result is number %d; number %d had begun before the call", n, before)
				}
				if (n%3 == 0) != errors.Is(err, failed) {
					t.Errorf("number %d comes with the error %v", n, err)
				}
			}
		})
	}
	all.Wait()
}

// TestBatchBeginsAfterTheCall: one is being made when somebody calls. That one is not for him, even if he waits for it.
func TestBatchBeginsAfterTheCall(t *testing.T) {
	var b batch[int]
	begun, finish := make(chan int), make(chan struct{})
	n := 0
	do := func() (int, error) {
		n++
		begun <- n
		<-finish
		return n, nil
	}
	var all sync.WaitGroup
	for want := range 5 {
		all.Go(func() {
			if got, _ := b.get(do); got != want+1 {
				t.Errorf("caller %d has result %d", want+1, got)
			}
		})
		if want == 0 {
			<-begun
			continue
		}
		for waits := false; !waits; runtime.Gosched() {
			b.mu.Lock()
			waits = b.next != nil
			b.mu.Unlock()
		}
		finish <- struct{}{}
		if got := <-begun; got != want+1 {
			t.Errorf("%d begins, want %d", got, want+1)
		}
	}
	finish <- struct{}{}
	all.Wait()
}
