// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"slices"
	"strings"
	"time"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// listedKey is what an index takes in of an ApiKey, in a fraction of its size. A reflector holds a whole list before it
// hands it over: of a hundred thousand ApiKeys, that is more than all else that the process needs. Whatever the index
// comes to read of an ApiKey has to be here too, and in listedOf and object: a key that has come in a list would be
// without it until it changes.
type listedKey struct {
	name, id                           string                // the UID; both in one piece of memory with others, see pack
	namespace, organization, profileID unique.Handle[string] // shared by many

	createdAt, deletedAt, mintedAt int64 // Unix seconds; deletedAt, mintedAt: 0 is none
	awaitedSince                   int64 // of one that has leaked, likewise; see awaitedSince
	expiresAt                      time.Time
	hash                           key.Hash
	rate                           compactRate
	last4                          [4]byte
	scopes                         caller.Scopes
	claims                         caller.Claims

	hashed, brought, live, pinned, duplicate, leaked, cancels, finalized bool
	unaccepted                                                           bool // see v1alpha1.AwaitsCancellation
}

// listedKeys is an ApiKeyList of them. The reflector's pager takes it for any other list.
type listedKeys struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []listedKey
}

// compactList makes of a page what is kept of it until the last page has come. The page itself is garbage as soon as
// the next one is asked for.
func compactList(keys *v1alpha1.ApiKeyList) *listedKeys {
	l := &listedKeys{TypeMeta: keys.TypeMeta, ListMeta: keys.ListMeta, Items: make([]listedKey, len(keys.Items))}
	for i := range keys.Items {
		l.Items[i] = listedOf(&keys.Items[i])
	}
	for some := range slices.Chunk(l.Items, together) {
		pack(some)
	}
	return l
}

// together is how many keys of a list have their names and UIDs in one piece of memory. When a key is gone, its part
// stays until the others are: with many more, a few keys could hold what thousands needed.
const together = 32

// pack puts names and UIDs into a piece of memory of their own. As they come, they stand scattered among what is
// garbage soon, and keep its memory from being given back: a fifth of what a process holds at a million keys.
func pack(keys []listedKey) {
	var all strings.Builder
	for i := range keys {
		all.WriteString(keys[i].name)
		all.WriteString(keys[i].id)
	}
	rest := strings.Clone(all.String()) // in no more memory than it needs
	for i := range keys {
		k := &keys[i]
		k.name, rest = rest[:len(k.name)], rest[len(k.name):]
		k.id, rest = rest[:len(k.id)], rest[len(k.id):]
	}
}

// listedOf reads an ApiKey. What it leaves out, nobody in this room reads.
func listedOf(o *v1alpha1.ApiKey) listedKey {
	life := lifecycle.KeyOf(o)
	l := listedKey{
		name: o.Name, id: string(o.UID), namespace: unique.Make(o.Namespace),
		organization: unique.Make(o.Status.OrganizationID), profileID: unique.Make(o.Status.ProfileID),
		createdAt: o.CreationTimestamp.Unix(), expiresAt: life.ExpiresAt,
		rate: rateOf(o.Spec.RateLimit), last4: last4Of(o),
		scopes: caller.ScopesOf(o.Spec.Scopes), claims: caller.ClaimsOf(o.Spec.Claims),
		live: o.Spec.Environment == v1alpha1.EnvironmentLive, pinned: life.Pinned, duplicate: life.Duplicate,
		leaked:    life.Leaked,
		cancels:   v1alpha1.CancelsScheduled(o.Annotations),
		finalized: slices.Contains(o.Finalizers, v1alpha1.FinalizerRevocation),

		unaccepted: v1alpha1.AwaitsCancellation(o),
	}
	if life.Deleting {
		l.deletedAt = o.DeletionTimestamp.Unix()
	}
	if !life.MintedAt.IsZero() {
		l.mintedAt = life.MintedAt.Unix()
	}
	if since, waits := awaitedSince(o); waits && !life.Deleting {
		l.awaitedSince = since.Unix()
	}
	if hash, err := lifecycle.HashOf(o); err == nil {
		l.hash, l.hashed, l.brought = hash, true, o.Spec.SecretHash != ""
	}
	return l
}

// GetUID returns the UID of the ApiKey. It completes compact, and is all that a list is asked before it is put.
func (l *listedKey) GetUID() types.UID { return types.UID(l.id) }

// object returns the ApiKey, as far as an index takes it in: the reverse of listedOf, so that lists and watches go
// through the same code.
func (l *listedKey) object() *v1alpha1.ApiKey {
	o := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{
			Name: l.name, Namespace: l.namespace.Value(), UID: types.UID(l.id), CreationTimestamp: metav1.Unix(l.createdAt, 0),
		},
		Spec:   v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentTest, RateLimit: l.rate.limit()},
		Status: v1alpha1.ApiKeyStatus{OrganizationID: l.organization.Value(), ProfileID: l.profileID.Value()},
	}
	if l.live {
		o.Spec.Environment = v1alpha1.EnvironmentLive
	}
	if l.pinned {
		// Its name is not read here: keys are bound to the UID in status.
		o.Spec.ProfileRef = &v1alpha1.ProfileReference{}
	}
	if l.hashed {
		o.Status.Hash = l.hash.String()
	}
	if l.brought {
		// What was brought is not read here, only that it was.
		o.Spec.SecretHash = o.Status.Hash
	}
	l.setGrants(o)
	if l.last4 != ([4]byte{}) {
		o.Status.Hint = key.HintGap + string(l.last4[:])
	}
	if l.mintedAt != 0 {
		o.Status.MintedAt = new(metav1.Unix(l.mintedAt, 0))
	}
	if !l.expiresAt.IsZero() {
		o.Status.ExpiresAt = &metav1.Time{Time: l.expiresAt}
	}
	if l.duplicate {
		o.Status.Conditions = duplicateHash
	}
	if l.leaked {
		o.Status.Conditions = hasLeaked
		if l.awaitedSince != 0 {
			o.Status.Conditions = append(slices.Clip(hasLeaked), metav1.Condition{
				Type: v1alpha1.ConditionRevoking, LastTransitionTime: metav1.Unix(l.awaitedSince, 0),
			})
		}
	}
	l.setDeletion(o)
	return o
}

// These are all that is read of most conditions; one slice for all keys.
var (
	awaitsCancellation = metav1.Condition{
		Type: v1alpha1.ConditionRevoking, Reason: v1alpha1.ReasonAwaitingCancellation,
	}
	duplicateHash = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonDuplicateHash}}
	hasLeaked     = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonLeaked}}
)

// setGrants sets what the key is passed on with: its scopes and claims.
func (l *listedKey) setGrants(o *v1alpha1.ApiKey) {
	for _, name := range l.scopes.Names() {
		o.Spec.Scopes = append(o.Spec.Scopes, v1alpha1.Scope(name))
	}
	for name, value := range l.claims.All() {
		if o.Spec.Claims == nil {
			o.Spec.Claims = map[string]v1alpha1.ClaimValue{}
		}
		o.Spec.Claims[name] = v1alpha1.ClaimValue(value)
	}
}

// setDeletion sets what says whether, and how, the ApiKey is being deleted.
func (l *listedKey) setDeletion(o *v1alpha1.ApiKey) {
	if l.deletedAt != 0 {
		o.DeletionTimestamp = new(metav1.Unix(l.deletedAt, 0))
	}
	if l.finalized {
		o.Finalizers = []string{v1alpha1.FinalizerRevocation}
	}
	if l.cancels {
		o.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: v1alpha1.CancelScheduled}
	}
	if l.unaccepted {
		o.Status.Conditions = append(slices.Clip(o.Status.Conditions), awaitsCancellation)
	}
}

// DeepCopyObject completes runtime.Object.
func (l *listedKey) DeepCopyObject() runtime.Object {
	c := *l
	return &c
}

// GetObjectKind completes runtime.Object.
func (*listedKey) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject completes runtime.Object.
func (l *listedKeys) DeepCopyObject() runtime.Object {
	c := *l
	c.Items = slices.Clone(l.Items)
	return &c
}
