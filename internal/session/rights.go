// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

const (
	// fieldManager is how managedFields of what a person makes here name the dashboard.
	fieldManager = "letmepost-dashboard"
	// rightsFor is how long an answer of the apiserver is gone by. Whoever loses a right loses it here no later.
	rightsFor = 30 * time.Second
	// maxRights is how many answers are kept for one person: enough for some organizations.
	maxRights = 256
)

// Right is something that RBAC allows or not. posts, media and accounts of group letmepost.dev are resources that only
// RBAC knows: they stand for what lies in the database.
type Right struct {
	Verb      string // get, list, create, delete
	Resource  string // of group letmepost.dev: apikeys, profiles, posts, media, accounts
	Namespace string
}

// rights are those of one person, as far as they were asked for.
type rights struct {
	mu    sync.Mutex
	known map[Right]answer
}

type answer struct {
	allowed bool
	until   time.Time
}

// May asks whether the person has a right, and goes by the answer for 30 seconds from now. An error allows nothing.
// It is not kept, so that the next one asks again.
func (c *Cluster) May(ctx context.Context, now time.Time, r Right) (bool, error) {
	c.rights.mu.Lock()
	known, ok := c.rights.known[r]
	c.rights.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.allowed, nil
	}
	// Without the lock: other questions about the same person must not wait for the apiserver, and the same one asked
	// twice costs no more than a request.
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: r.Namespace, Verb: r.Verb, Group: v1alpha1.GroupVersion.Group, Resource: r.Resource,
		},
	}}
	err := c.authorization.Post().Resource("selfsubjectaccessreviews").Body(review).Do(ctx).Into(review)
	if err != nil {
		return false, err
	}
	c.rights.mu.Lock()
	defer c.rights.mu.Unlock()
	if len(c.rights.known) >= maxRights {
		clear(c.rights.known)
	}
	c.rights.known[r] = answer{review.Status.Allowed, now.Add(rightsFor)}
	return review.Status.Allowed, nil
}

// metadataPatch is a merge patch of annotations, for the object with this UID alone.
func metadataPatch(id types.UID, annotations map[string]string) ([]byte, error) {
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": id, "annotations": annotations}})
}
