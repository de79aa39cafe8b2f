// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// says is what stands on a Lease. The zero one has never been renewed, and says nothing; "absent" is what is not even
// there.
type says struct {
	name     string // or "r1"
	version  int
	renewed  time.Duration // since epoch, by whatever clock; absent: not at all
	duration int32         // in seconds; 0: not there
	applied  string
	revoked  string
	canceled string
	awaited  string
	holder   string

	environment string // "": it has no label of one
}

const absent = -1 << 62

func (y says) lease() coordinationv1.Lease {
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: y.name, ResourceVersion: strconv.Itoa(100 + y.version), Annotations: map[string]string{}}}
	if y.name == "" {
		l.Name = "r1"
	}
	if y.environment != "" {
		l.Labels = map[string]string{v1alpha1.LabelReplica: y.environment}
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
	for name, value := range map[string]string{v1alpha1.AnnotationApplied: y.applied, v1alpha1.AnnotationRevoked: y.revoked, v1alpha1.AnnotationCanceled: y.canceled, v1alpha1.AnnotationAwaited: y.awaited} {
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

func (n *namespace) Patch(
	_ context.Context, name string, kind types.PatchType, body []byte, _ metav1.PatchOptions, _ ...string,
) (*coordinationv1.Lease, error) {
	var patch struct {
		Metadata struct{ Annotations map[string]*string }
	}
	if err := json.Unmarshal(body, &patch); err != nil || kind != types.MergePatchType {
		return nil, fmt.Errorf("a %s %s: %w", kind, body, err)
	}
	asked, asks := patch.Metadata.Annotations[v1alpha1.AnnotationAsked]
	delete(patch.Metadata.Annotations, v1alpha1.AnnotationAsked)
	awaited, tells := patch.Metadata.Annotations[v1alpha1.AnnotationAwaited]
	words := 2
	for _, said := range []bool{asks, tells} {
		if said {
			words++
		}
	}
	if asks {
		n.written = append(n.written, name+" asked "+ptr.Deref(asked, ""))
	}
	switch {
	case len(patch.Metadata.Annotations) > 1 || strings.Count(string(body), ":") != words:
		return nil, fmt.Errorf("it writes more than its word: %s", body)
	case !tells:
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
