// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"slices"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// rules are what RBAC says of a person in each namespace that was asked about.
type rules struct {
	mu    sync.Mutex
	known map[string]ruled // by namespace
}

type ruled struct {
	of    []authorizationv1.ResourceRule
	until time.Time
}

// Offers tells whether to offer what takes a right: a button, how many there are of something, or which keys need
// somebody. All rights of a namespace are one request, whose answer holds for as long as that of May. It does not
// decide who is shown what lies in the database, or what is done: that is asked for by itself. Where an authorizer
// keeps its rules to itself, May answers.
func (c *Cluster) Offers(ctx context.Context, now time.Time, r Right) (bool, error) {
	c.rules.mu.Lock()
	known, ok := c.rules.known[r.Namespace]
	c.rules.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.allow(r), nil
	}
	review := &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: r.Namespace},
	}
	if err := c.authorization.Post().Resource("selfsubjectrulesreviews").Body(review).Do(ctx).Into(review); err != nil {
		return false, err
	}
	if review.Status.Incomplete {
		return c.May(ctx, now, r)
	}
	known = ruled{ours(review.Status.ResourceRules), now.Add(rightsFor)}
	c.rules.mu.Lock()
	defer c.rules.mu.Unlock()
	if c.rules.known == nil || len(c.rules.known) >= maxRights {
		c.rules.known = map[string]ruled{}
	}
	c.rules.known[r.Namespace] = known
	return known.allow(r), nil
}

// Offered is the last that is known of that, however old, without a request; false, false: nothing. It is for a page
// that has no request left to ask with.
func (c *Cluster) Offered(r Right) (allowed, known bool) {
	c.rules.mu.Lock()
	defer c.rules.mu.Unlock()
	k, known := c.rules.known[r.Namespace]
	return known && k.allow(r), known
}

// ours are the rules about this group's resources: those of all others are not kept. Nor are those of single objects:
// they allow nothing of a kind as a whole, which is what is offered.
func ours(all []authorizationv1.ResourceRule) []authorizationv1.ResourceRule {
	return slices.DeleteFunc(all, func(r authorizationv1.ResourceRule) bool {
		return len(r.ResourceNames) > 0 || !names(r.APIGroups, v1alpha1.GroupVersion.Group)
	})
}

func (k ruled) allow(r Right) bool {
	return slices.ContainsFunc(k.of, func(rule authorizationv1.ResourceRule) bool {
		return names(rule.Verbs, r.Verb) && names(rule.Resources, r.Resource)
	})
}

// names tells whether a list of a rule has this one.
func names(list []string, one string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, one)
}
