// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tokenreview knows which ServiceAccount shows a token, and what RBAC allows it: services of a cluster prove by
// such a token who they are, and need no secret of their own.
//
// The apiserver is asked by TokenReview and SubjectAccessReview, and its answers are remembered for a short time. Many
// requests at once ask for the same thing once; there are bounds to what is asked and to what is remembered, so that
// whoever sends tokens that are none harms neither the apiserver nor this process. An error lets nobody in.
//
// claims.go refuses what can't be such a token without asking, reviewer.go asks whose the others are, and account.go
// what they may do. A caller asks for the two one after the other: Review gives an Account, and May answers for that
// Account alone. Both ask by once, which holds the bounds.
package tokenreview

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// How long the apiserver's answers are gone by. A token that was withdrawn is one here no longer than trustFor; of what
// was refused, the reason may be mended the next moment.
const (
	trustFor  = time.Minute
	rightFor  = 30 * time.Second
	refuseFor = 5 * time.Second
)

// Bounds of what is asked and remembered.
const (
	askTimeout  = 5 * time.Second
	maxAsking   = 8    // questions to the apiserver at once
	maxWaiting  = 64   // those, and others that wait for their turn
	maxAccounts = 1024 // tokens that are remembered as good, some 4 KB each
	maxRefused  = 1024 // tokens that are remembered as refused: apart, so that bad ones push out no good ones
	maxRights   = 64   // answers for one token
)

// ErrUnauthenticated says that a token is no ServiceAccount's, or not of the audience, or expired.
var ErrUnauthenticated = errors.New("the token is no ServiceAccount's of this cluster, or not for this audience")

// errBusy says that too much is asked already. It is no refusal, and no word about the token: who sent it may come
// again.
var errBusy = errors.New("too many tokens are being reviewed")

// Options are what a Reviewer is made of. All are required.
type Options struct {
	// Config is for the cluster, with credentials that may create tokenreviews and subjectaccessreviews.
	Config *rest.Config
	// Audience that tokens must be for. It must not be the apiserver's: whoever a service shows its token to could act as
	// that service in the cluster.
	Audience string
	Clock    clock.PassiveClock
}

// Reviewer asks who holds a token, and what they may do. Any number of goroutines may use it. What it remembers is in
// memory, and each process asks for itself: what is withdrawn is gone here after trustFor at the latest, without
// anybody telling it.
type Reviewer struct {
	o        Options
	tokens   authenticationclient.TokenReviewInterface
	rights   authorizationclient.SubjectAccessReviewInterface
	accounts *lru.Cache[digest, known]
	refused  *lru.Cache[digest, known]
	asked    singleflight.Group // by digest, and for rights by digest and right: see May
	asking   chan struct{}      // a place for each question at the apiserver
	waiting  chan struct{}      // those, and others: who finds none is told so at once
}

// digest is the SHA-256 of a token: tokens themselves are not kept.
type digest [sha256.Size]byte

// known is what the apiserver has said of a token, and until when that is gone by.
type known struct {
	account *Account // nil: it is refused
	until   time.Time
}

// said returns what is known as Review does. An Account is shared by all who show the token.
func (k known) said() (*Account, error) {
	if k.account == nil {
		return nil, ErrUnauthenticated
	}
	return k.account, nil
}

// New returns a Reviewer. It dials nothing yet.
func New(o Options) (*Reviewer, error) {
	if o.Config == nil || o.Audience == "" || o.Clock == nil {
		return nil, errors.New("tokenreview: Config, Audience and Clock are required")
	}
	config := rest.CopyConfig(o.Config)
	config.QPS = -1 // the apiserver's priority and fairness decides; what is asked at once is bounded here
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client of reviews: %w", err)
	}
	authentication, err := authenticationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("client of TokenReviews: %w", err)
	}
	authorization, err := authorizationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("client of SubjectAccessReviews: %w", err)
	}
	accounts, err := lru.New[digest, known](maxAccounts)
	if err != nil {
		return nil, err
	}
	refused, err := lru.New[digest, known](maxRefused)
	if err != nil {
		return nil, err
	}
	return &Reviewer{
		o: o, tokens: authentication.TokenReviews(), rights: authorization.SubjectAccessReviews(),
		accounts: accounts, refused: refused,
		asking: make(chan struct{}, maxAsking), waiting: make(chan struct{}, maxWaiting),
	}, nil
}

// Review tells whose token it is. The error is ErrUnauthenticated, or says why the apiserver could not be asked. A
// refusal and an error are to be told apart: the first is for whoever asks to mend, and is remembered; the second is
// nobody's fault, and the next call asks again. An answer counts from before it was asked for, so none is gone by for
// longer than its time.
func (r *Reviewer) Review(ctx context.Context, token string) (*Account, error) {
	now := r.o.Clock.Now()
	if !plausible(token, r.o.Audience, now) { // first: what is remembered of a token that has expired is nothing
		return nil, ErrUnauthenticated
	}
	id := digest(sha256.Sum256([]byte(token)))
	if known, ok := r.remembered(id, now); ok {
		return known.said()
	}
	found, err := r.once(ctx, string(id[:]), func(ctx context.Context) (any, error) {
		// Once more: somebody may have asked, and been answered, since.
		if known, ok := r.remembered(id, now); ok {
			return known.said()
		}
		account, err := r.review(ctx, id, token)
		r.remember(id, account, err, now)
		return account, err
	})
	if err != nil {
		return nil, err
	}
	return found.(*Account), nil //nolint:forcetypeassert // what is returned above
}

// remembered is what the apiserver has said of a token, if that is still gone by.
func (r *Reviewer) remembered(id digest, now time.Time) (known, bool) {
	for _, of := range []*lru.Cache[digest, known]{r.accounts, r.refused} {
		if k, ok := of.Get(id); ok && now.Before(k.until) {
			return k, true
		}
	}
	return known{}, false
}

// remember keeps what the apiserver has said at now. That it could not be asked is not kept.
func (r *Reviewer) remember(id digest, a *Account, err error, now time.Time) {
	switch {
	case err == nil:
		r.accounts.Add(id, known{a, now.Add(trustFor)})
	case errors.Is(err, ErrUnauthenticated):
		r.refused.Add(id, known{nil, now.Add(refuseFor)})
	}
}

// review asks the apiserver, whose word alone counts.
func (r *Reviewer) review(ctx context.Context, id digest, token string) (*Account, error) {
	review, err := r.tokens.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{r.o.Audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("review a token: %w", err)
	}
	user := review.Status.User
	namespace, ok := namespaceOf(user.Username)
	// Without audiences in the answer, whoever has authenticated the token knows of none, and has checked none.
	if !ok || !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, r.o.Audience) {
		return nil, ErrUnauthenticated
	}
	return &Account{Username: user.Username, Namespace: namespace, id: id, user: user}, nil
}

// once asks, or waits for whoever asks the same already. What is asked goes on when ctx ends: others may wait for it.
// what must be the same for the same question, and for no other: all who give it get one answer. The error is that of
// ask, or of ctx, or errBusy: of too many different questions, some are turned away at once, and some after askTimeout
// in the queue, for the apiserver gets maxAsking at a time.
func (r *Reviewer) once(ctx context.Context, what string, ask func(context.Context) (any, error)) (any, error) {
	answer := r.asked.DoChan(what, func() (any, error) {
		select {
		case r.waiting <- struct{}{}:
			defer func() { <-r.waiting }()
		default:
			return nil, errBusy
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		select {
		case r.asking <- struct{}{}:
			defer func() { <-r.asking }()
		case <-ctx.Done():
			return nil, errBusy
		}
		return ask(ctx)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answer:
		return a.Val, a.Err
	}
}
