// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tokenreview

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Account is a ServiceAccount that has shown a token. It is what Review has found. Any number of goroutines may hold
// it. What it may do is remembered with it, and so is asked anew once the token was reviewed anew.
type Account struct {
	Username  string // system:serviceaccount:NAMESPACE:NAME
	Namespace string

	id   digest                    // of the token
	user authenticationv1.UserInfo // all of it: RBAC goes by groups, and other authorizers by the rest

	mu     sync.Mutex
	rights map[Right]answer
}

// Right is something that RBAC allows or not, of group letmepost.dev. The resource need not exist: RBAC compares names,
// and introspections are known to RBAC alone.
type Right struct {
	Verb, Resource string
	Namespace      string // "": in all of them
}

// answer is what the apiserver has said, and until when that is gone by.
type answer struct {
	allowed bool
	until   time.Time
}

// May tells whether RBAC allows the account something. An error allows nothing. "No" is remembered for a shorter time
// than "yes": a right that was just granted is to work soon, and one that was taken back is gone within rightFor.
func (r *Reviewer) May(ctx context.Context, a *Account, right Right) (bool, error) {
	now := r.o.Clock.Now()
	if known, ok := a.known(right); ok && now.Before(known.until) {
		return known.allowed, nil
	}
	// It begins with the token's digest, as two accounts are two questions; and it is longer than a digest, as Review asks
	// by that in the same group.
	what := fmt.Sprintf("%s %q", a.id[:], right)
	found, err := r.once(ctx, what, func(ctx context.Context) (any, error) { return r.ask(ctx, a, right) })
	if err != nil {
		return false, err
	}
	allowed := found.(bool) //nolint:forcetypeassert // what ask returns
	until := now.Add(refuseFor)
	if allowed {
		until = now.Add(rightFor)
	}
	a.remember(right, answer{allowed, until})
	return allowed, nil
}

// ask asks the apiserver by a SubjectAccessReview. It hands on all that the TokenReview has said of the account, so
// that the authorizer sees what it would see if the account asked itself.
func (r *Reviewer) ask(ctx context.Context, a *Account, right Right) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for name, values := range a.user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	review, err := r.rights.Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: a.user.Username, UID: a.user.UID, Groups: a.user.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: right.Namespace, Verb: right.Verb, Group: v1alpha1.GroupVersion.Group, Resource: right.Resource,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("review what an account may do: %w", err)
	}
	// Both together are against the API's own rules. Whatever has answered so, nobody is let in for it.
	return review.Status.Allowed && !review.Status.Denied, nil
}

func (a *Account) known(right Right) (answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.rights[right]
	return known, ok
}

// remember keeps an answer, and begins anew when there are as many as may be: whoever asks about ever other namespaces
// takes no more memory, and only has their own answers forgotten.
func (a *Account) remember(right Right, said answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rights == nil || len(a.rights) >= maxRights {
		a.rights = map[Right]answer{}
	}
	a.rights[right] = said
}
