// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/ptr"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// What the two ends tell each other stands on the replica's Lease. Writers and readers of it are in this file.

// DefaultLeaseDuration is L. A replica that has crashed holds deletions up for so long; an apiserver that is away for
// longer than F, which is a part of it (fenceThirds), makes the replicas refuse everything.
const DefaultLeaseDuration = 15 * time.Second

const (
	// MaxNamed is how many keys a Lease names at most: those that the controller asks for, and then of each organization
	// in turn the oldest deletion; and how many it says of that their posts are canceled. It keeps a Lease below 60 KB,
	// because all Leases are listed for every decision of the Barrier.
	MaxNamed = 500
	// maxAsked is how many keys the controller asks for at once. The other places are for what nobody has named yet.
	maxAsked = MaxNamed / 2
)

// announcement is what a Lease says besides the renewal.
type announcement struct {
	applied  string                 // the resourceVersion up to which its store has applied ApiKeys; "": none yet
	revoked  map[types.UID]struct{} // keys that the replica refuses, by NameOf
	canceled []types.UID            // keys of which it has canceled what was queued, since nobody accepts them
	awaited  string                 // the resourceVersion that the controller waits for; "": it waits for nothing
	asked    string                 // the keys that it asks for, as encodeIDs has them; "": none
}

// announcementOn reads a Lease. What is missing there, or is not what a replica writes, confirms nothing.
func announcementOn(l *coordinationv1.Lease) announcement {
	a := announcement{
		applied:  l.Annotations[v1alpha1.AnnotationApplied],
		awaited:  l.Annotations[v1alpha1.AnnotationAwaited],
		asked:    l.Annotations[v1alpha1.AnnotationAsked],
		revoked:  map[types.UID]struct{}{},
		canceled: decodeIDs(l.Annotations[v1alpha1.AnnotationCanceled]),
	}
	for _, id := range decodeIDs(l.Annotations[v1alpha1.AnnotationRevoked]) {
		a.revoked[id] = struct{}{}
	}
	return a
}

// confirms tells whether the replica refuses the key with this UID, whose deletion has this resourceVersion. That its
// store is past the deletion is not enough: a watch that has lost the event goes past it as well.
func (a announcement) confirms(id types.UID, resourceVersion string) bool {
	_, named := a.revoked[id]
	return named && !before(a.applied, resourceVersion)
}

// before tells whether resourceVersion a is older than b. A text that is not a resourceVersion, "" for one, is older
// than all of them: it must never pass for a confirmation.
func before(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order < 0
}

// NameOf is what Leases call the key of k, which is being deleted, or has leaked and stays. It is k's UID if k is being
// deleted: nothing takes that back. A leak can be forgiven, and its key be served again. So what a replica says of one
// counts for that leak alone, for no later one and for no deletion: its name has in it since when it is awaited.
//
// Model: step Name.
func NameOf(k *v1alpha1.ApiKey) types.UID {
	leak := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionRevoking)
	if !k.DeletionTimestamp.IsZero() || leak == nil {
		return k.UID
	}
	return k.UID + leakedSince + types.UID(strconv.FormatInt(leak.LastTransitionTime.Unix(), 10))
}

// IDOf is the UID of the ApiKey that a Lease calls by this name.
func IDOf(name types.UID) types.UID {
	id, _, _ := strings.Cut(string(name), leakedSince)
	return types.UID(id)
}

// leakedSince stands between a UID and a time in Unix seconds.
const leakedSince = "@"

// encodeIDs is the value of AnnotationRevoked, AnnotationCanceled and AnnotationAsked. It is sorted, so that a renewal
// which names the same keys changes nothing but its time.
func encodeIDs(ids []types.UID) string {
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, string(id))
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

func decodeIDs(text string) (ids []types.UID) {
	if text == "" {
		return nil
	}
	for name := range strings.SplitSeq(text, ",") {
		ids = append(ids, types.UID(name))
	}
	return ids
}

// MaxReports is how many leaked keys a Lease tells of at most, in some 8 KB: the oldest reports that are not settled.
const MaxReports = 64

// Report says that a namespace has a key that has leaked. The digest proves that whoever reports it has seen the key.
type Report struct {
	Namespace string
	Digest    key.Digest
}

// LeaseReport is a Report, and the name of the Lease that it stands on.
type LeaseReport struct {
	Report
	Lease string
}

// encodeReports is the value of AnnotationLeaked.
func encodeReports(reports []Report) string {
	texts := make([]string, len(reports))
	for i, r := range reports {
		texts[i] = r.Namespace + "/" + r.Digest.Hex()
	}
	return strings.Join(texts, ",")
}

// ReportsOn reads the reports on a Lease: MaxReports at most, and none that is not what a replica writes.
func ReportsOn(l *coordinationv1.Lease) (reports []Report) {
	for text := range strings.SplitSeq(l.Annotations[v1alpha1.AnnotationLeaked], ",") {
		namespace, hex, _ := strings.Cut(text, "/")
		digest, err := key.ParseHex(hex)
		if err == nil && namespace != "" && len(reports) < MaxReports {
			reports = append(reports, Report{namespace, digest})
		}
	}
	return reports
}

// annotations are what the replica announces. AnnotationAwaited and AnnotationAsked are not among them: they are the
// controller's to write, and a renewal, which is a merge patch, leaves them as they are.
// told is to be called once they stand on the Lease.
func (r *Replica) annotations() (all map[string]string, told func()) {
	asked := decodeIDs(r.askedFor)
	resourceVersion, revoked := r.Store.Applied(MaxNamed, asked[:min(maxAsked, len(asked))]...)
	all = map[string]string{
		v1alpha1.AnnotationApplied:  resourceVersion,
		v1alpha1.AnnotationRevoked:  encodeIDs(revoked),
		v1alpha1.AnnotationCanceled: encodeIDs(r.Store.Canceled(MaxNamed)),
	}
	if r.Reports == nil {
		return all, func() {}
	}
	// After what is revoked, and never before: whoever names a key has told of all that was reported of it until then.
	reports, told := r.Reports.Take(MaxReports)
	all[v1alpha1.AnnotationLeaked] = encodeReports(reports)
	return all, told
}

// labels are written with every renewal, not only when the Lease is made: if somebody takes them off, the controller no
// longer finds the Lease, and must not miss it for longer than until the next renewal.
func (r *Replica) labels() map[string]string {
	return map[string]string{v1alpha1.LabelReplica: string(r.Environment), v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
}

// spec is the rest of the Lease, renewed at now. RenewTime is for people and to tell one renewal from another: nobody
// compares it with a clock, because the two ends' clocks may differ by anything.
func (r *Replica) spec(now time.Time) coordinationv1.LeaseSpec {
	seconds := int32(r.Duration / time.Second)
	renewed := metav1.NewMicroTime(now)
	return coordinationv1.LeaseSpec{HolderIdentity: &r.Holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed}
}

// leaseDurationOf is how long a Lease lasts after a renewal. A Lease that does not say gets the default rather than
// none: without a duration it would be counted out at once.
func leaseDurationOf(l *coordinationv1.Lease) time.Duration {
	if s := l.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		return time.Duration(*s) * time.Second
	}
	return DefaultLeaseDuration
}

// Silent tells since when a Lease was not renewed, and whether that is for as long as it lasts: then its replica has
// shut its fence, or is gone. It is for people to look at. The clocks that it compares may differ, for which the last
// third of the duration is left; whom a revocation waits for, the Barrier decides, by no clock but its own.
func Silent(l *coordinationv1.Lease, now time.Time) (since time.Time, silent bool) {
	since = l.CreationTimestamp.Time
	if l.Spec.RenewTime != nil {
		since = l.Spec.RenewTime.Time
	}
	return since, now.Sub(since) >= leaseDurationOf(l)
}

// word is what the controller writes on a Lease: an annotation, and its value. nil removes it.
type word map[string]*string

// patch is the merge patch that writes it.
func (w word) patch() ([]byte, error) {
	return json.Marshal(map[string]any{"metadata": map[string]any{"annotations": w}})
}

// ReplicaName is how people are told of the replica that holds a Lease: the Lease, and the pod or host in parentheses.
func ReplicaName(l *coordinationv1.Lease) string {
	return shownName(l.Name, ptr.Deref(l.Spec.HolderIdentity, ""))
}

// ShownName is how people are told of this replica, wherever they are.
func (r *Replica) ShownName() string { return shownName(r.Name, r.Holder) }

func shownName(lease, holder string) string { return lease + " (" + holder + ")" }
