// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Cluster is the cluster as one person reaches it: each request carries their credential, and what the apiserver
// answers decides. It is safe for concurrent use, and lives as long as their session.
//
// Errors are the apiserver's own (package apierrors tells them apart), whose words are meant for people.
type Cluster struct {
	letmepost, core, authorization, authentication, coordination rest.Interface
	parameters                                                   runtime.ParameterCodec

	// What the apiserver has said, to be gone by for rightsFor. It goes with the credential: a renewed one has another
	// Cluster, which knows nothing yet.
	rights        rights
	rules         rules
	organizations organizations
	calls         atomic.Int64
	refused       atomic.Bool
}

// Calls is how many requests have been made: a page has a budget of them.
func (c *Cluster) Calls() int64 { return c.calls.Load() }

// Refused tells whether the apiserver has refused the credential: it has expired or was taken back, and the session
// that stands on it is over, unless it is renewed: then that has another Cluster. It does not heal.
func (c *Cluster) Refused() bool { return c.refused.Load() }

// WhoAmI returns what Kubernetes calls the person. The error of a credential that is good for nobody is Unauthorized.
// It takes no right that a person could lack: Kubernetes gives it to all whom it knows.
func (c *Cluster) WhoAmI(ctx context.Context) (authenticationv1.UserInfo, error) {
	review := new(authenticationv1.SelfSubjectReview)
	err := c.authentication.Post().Resource("selfsubjectreviews").Body(review).Do(ctx).Into(review)
	return review.Status.UserInfo, err
}

// Namespaces returns the names of at most limit namespaces. Many people may not list them, which is Forbidden.
func (c *Cluster) Namespaces(ctx context.Context, limit int64) ([]corev1.Namespace, error) {
	list := new(corev1.NamespaceList)
	err := c.core.Get().Resource("namespaces").
		VersionedParams(&metav1.ListOptions{Limit: limit}, c.parameters).Do(ctx).Into(list)
	return list.Items, err
}

// Namespace returns one namespace: its UID is the organization's id.
func (c *Cluster) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	if err := possible(corev1.Resource("namespaces"), name); err != nil {
		return nil, err
	}
	n := new(corev1.Namespace)
	return n, c.core.Get().Resource("namespaces").Name(name).Do(ctx).Into(n)
}

// possible is the apiserver's error that there is no such object, for a name that none can have; nil: one may. Names
// come from addresses and forms. The client refuses to ask for some, such as one with a slash, by an error that would
// be told as a failure of ours.
func possible(resource schema.GroupResource, name string) error {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return apierrors.NewNotFound(resource, "") // nobody is told, and no log, what may be anything
	}
	return nil
}

var (
	apiKeys  = v1alpha1.GroupVersion.WithResource("apikeys").GroupResource()
	profiles = v1alpha1.GroupVersion.WithResource("profiles").GroupResource()
)

// Key returns one ApiKey as it is now.
func (c *Cluster) Key(ctx context.Context, namespace, name string) (*v1alpha1.ApiKey, error) {
	if err := possible(apiKeys, name); err != nil {
		return nil, err
	}
	k := new(v1alpha1.ApiKey)
	return k, c.letmepost.Get().Namespace(namespace).Resource("apikeys").Name(name).Do(ctx).Into(k)
}

// Keys returns at most limit ApiKeys of a namespace, and how many there are beside them: the apiserver says so of lists
// without selectors alone.
func (c *Cluster) Keys(
	ctx context.Context, namespace string, limit int64,
) (keys []v1alpha1.ApiKey, more int, err error) {
	list := new(v1alpha1.ApiKeyList)
	err = c.letmepost.Get().Namespace(namespace).Resource("apikeys").
		VersionedParams(&metav1.ListOptions{Limit: limit}, c.parameters).Do(ctx).Into(list)
	if n := list.RemainingItemCount; n != nil {
		more = int(*n)
	}
	return list.Items, more, err
}

// CountKeys returns how many ApiKeys a namespace has, of which but one is sent.
func (c *Cluster) CountKeys(ctx context.Context, namespace string) (int, error) {
	keys, more, err := c.Keys(ctx, namespace, 1)
	return len(keys) + more, err
}

// CreateKey creates an ApiKey; with dryRun it is only checked, by the schema and by every admission policy.
func (c *Cluster) CreateKey(ctx context.Context, k *v1alpha1.ApiKey, dryRun bool) (*v1alpha1.ApiKey, error) {
	made := new(v1alpha1.ApiKey)
	return made, c.letmepost.Post().Namespace(k.Namespace).Resource("apikeys").
		VersionedParams(createOptions(dryRun), c.parameters).Body(k).Do(ctx).Into(made)
}

// AnnotateKey sets annotations of the ApiKey with this UID.
func (c *Cluster) AnnotateKey(
	ctx context.Context, namespace, name string, id types.UID, annotations map[string]string,
) error {
	if err := possible(apiKeys, name); err != nil {
		return err
	}
	patch, err := metadataPatch(id, annotations)
	if err != nil {
		return err
	}
	// A patch has no preconditions, as a deletion has them: the UID stands in its text (metadataPatch).
	err = c.letmepost.Patch(types.MergePatchType).Namespace(namespace).Resource("apikeys").Name(name).
		Body(patch).Do(ctx).Error()
	return ofAnother(name, err)
}

// ofAnother is the error of a patch of an ApiKey as people are told it. To a patch, a UID is a field like others, which
// can't be changed; to people it is that somebody was faster.
func ofAnother(name string, err error) error {
	if apierrors.IsInvalid(err) && isAboutUID(err) {
		return apierrors.NewConflict(apiKeys, name, err)
	}
	return err
}

// isAboutUID tells that from whatever else is invalid: admission policies, too, refuse with that reason.
func isAboutUID(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Details != nil &&
		slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool {
			return c.Field == "metadata.uid"
		})
}

// DeleteKey revokes the ApiKey with this UID. It returns before the revocation is confirmed: the controller lets the
// key go when every replica refuses it.
func (c *Cluster) DeleteKey(ctx context.Context, namespace, name string, id types.UID) error {
	if err := possible(apiKeys, name); err != nil {
		return err
	}
	return c.letmepost.Delete().Namespace(namespace).Resource("apikeys").Name(name).
		Body(deletionOf(id)).Do(ctx).Error()
}

// Profile returns one Profile as it is now.
func (c *Cluster) Profile(ctx context.Context, namespace, name string) (*v1alpha1.Profile, error) {
	if err := possible(profiles, name); err != nil {
		return nil, err
	}
	p := new(v1alpha1.Profile)
	return p, c.letmepost.Get().Namespace(namespace).Resource("profiles").Name(name).Do(ctx).Into(p)
}

// CreateProfile creates a Profile; with dryRun it is only checked.
func (c *Cluster) CreateProfile(ctx context.Context, p *v1alpha1.Profile, dryRun bool) (*v1alpha1.Profile, error) {
	made := new(v1alpha1.Profile)
	return made, c.letmepost.Post().Namespace(p.Namespace).Resource("profiles").
		VersionedParams(createOptions(dryRun), c.parameters).Body(p).Do(ctx).Into(made)
}

// DeleteProfile deletes the Profile with this UID. Keys that are pinned to it are refused from then on, for good.
func (c *Cluster) DeleteProfile(ctx context.Context, namespace, name string, id types.UID) error {
	if err := possible(profiles, name); err != nil {
		return err
	}
	return c.letmepost.Delete().Namespace(namespace).Resource("profiles").Name(name).
		Body(deletionOf(id)).Do(ctx).Error()
}

// Events returns at most limit events about the object with this UID. Events outlive their object: by its name, they
// would be shown of one that was made again.
//
// They come in the order of their names, and not of their times: if there are more than limit, any may be missing, the
// latest as well.
func (c *Cluster) Events(ctx context.Context, namespace string, id types.UID, limit int64) ([]corev1.Event, error) {
	list := new(corev1.EventList)
	err := c.core.Get().Namespace(namespace).Resource("events").VersionedParams(&metav1.ListOptions{
		FieldSelector: "involvedObject.uid=" + string(id), Limit: limit,
	}, c.parameters).Do(ctx).Into(list)
	return list.Items, err
}

// Pods returns at most limit Pods of a namespace.
func (c *Cluster) Pods(ctx context.Context, namespace string, limit int64) ([]corev1.Pod, error) {
	list := new(corev1.PodList)
	err := c.core.Get().Namespace(namespace).Resource("pods").
		VersionedParams(&metav1.ListOptions{Limit: limit}, c.parameters).Do(ctx).Into(list)
	return list.Items, err
}

// Replicas returns at most limit Leases of replicas. Few people may list them: who runs the release.
func (c *Cluster) Replicas(ctx context.Context, namespace string, limit int64) ([]coordinationv1.Lease, error) {
	list := new(coordinationv1.LeaseList)
	err := c.coordination.Get().Namespace(namespace).Resource("leases").VersionedParams(&metav1.ListOptions{
		LabelSelector: v1alpha1.LabelReplica, Limit: limit,
	}, c.parameters).Do(ctx).Into(list)
	return list.Items, err
}

// createOptions are strict: a field that the cluster does not know would be left out otherwise, and the rest stored.
func createOptions(dryRun bool) *metav1.CreateOptions {
	o := &metav1.CreateOptions{FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict}
	if dryRun {
		o.DryRun = []string{metav1.DryRunAll}
	}
	return o
}

// deletionOf lets nothing be deleted that was made again under the name after somebody had looked at it.
func deletionOf(id types.UID) *metav1.DeleteOptions {
	return &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(id))}
}
