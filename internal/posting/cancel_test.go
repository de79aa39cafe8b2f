// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package posting_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// silent is a platform whose answers get lost: it says what it has only to who looks.
type silent struct {
	looked  int
	outcome platform.Outcome // of a look
	err     error
}

func (*silent) Preflight(platform.Content) *platform.Failure { return nil }

func (*silent) Publish(context.Context, platform.Publication) (platform.Outcome, error) {
	return platform.OutcomeUnknown{Failure: platform.Failure{Code: platform.CodeUnavailable}}, nil
}

func (s *silent) Ask(ctx context.Context, p platform.Publication, _ []byte) (platform.Outcome, error) {
	return s.Publish(ctx, p)
}

func (s *silent) Look(_ context.Context, p platform.Publication) (platform.Outcome, error) {
	s.looked++
	if p.FirstSentAt.IsZero() {
		return nil, errors.New("when it was sent first is not known")
	}
	return s.outcome, s.err
}

// TestCancelWhatMayBeOut: whoever cancels a post of which nobody knows whether its platform has it is never told that
// it was canceled if it is out.
func TestCancelWhatMayBeOut(t *testing.T) {
	const long = time.Hour // after the attempt
	is := platform.Published{Receipt: platform.Receipt{URI: "at://there"}}
	away := platform.OutcomeUnknown{Failure: platform.Failure{Code: platform.CodeUnavailable, Rule: "its.own"}}
	for name, c := range map[string]struct {
		look    silent
		blind   bool // it can't be looked at
		after   time.Duration
		becomes store.Status
	}{
		"it is there":                      {look: silent{outcome: is}, becomes: store.Published},
		"it is there, long after":          {look: silent{outcome: is}, after: long, becomes: store.Published},
		"it is not there, and may yet be":  {look: silent{outcome: platform.NotTaken{}}, becomes: store.Failed},
		"it is not there":                  {look: silent{outcome: platform.NotTaken{}}, after: long, becomes: store.Canceled},
		"the platform is away":             {look: silent{outcome: away}, after: long, becomes: store.Failed},
		"the platform's client fails":      {look: silent{err: errors.New("oops")}, after: long, becomes: store.Failed},
		"what it says makes no sense":      {look: silent{outcome: platform.Rejected{}}, after: long, becomes: store.Failed},
		"the platform can't be looked at":  {blind: true, after: long, becomes: store.Failed},
		"it can't be, and would be silent": {look: silent{outcome: is}, blind: true, becomes: store.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			p := bluesky.Platform
			p.Publisher, p.Asker = &c.look, &c.look
			if !c.blind {
				p.Looker = &c.look
			}
			f := newFixture(t, p)
			post := f.create(posting.Draft{Targets: to(f.account()), Text: "hello"})
			if post.Status != store.Queued {
				t.Fatalf("the post is %s", post.Status)
			}
			f.clock.Step(c.after)
			answered, err := f.Cancel(f.ctx, f.person, f.operation(f.person), post.ID, unanswered[store.Post])
			var refused *problem.Problem
			switch {
			case c.becomes == store.Published && (!errors.As(err, &refused) || refused.Rule != "post.status"):
				t.Errorf("it is out, and the error is %v", err)
			case c.becomes != store.Published && (err != nil || answered.Status != c.becomes):
				t.Errorf("answered %s, error %v", answered.Status, err)
			}
			got := f.stored(post.ID)
			if got.Status != c.becomes || (got.Failure == nil) != (c.becomes != store.Failed) {
				t.Errorf("it is %s: %+v", got.Status, got.Failure)
			}
			if got.Failure != nil && got.Failure.Rule != store.RuleOutcomeUnknown {
				t.Errorf("the failure is %+v", got.Failure)
			}
			if (c.look.looked > 0) == c.blind {
				t.Errorf("looked %d times", c.look.looked)
			}
			// Whatever has become of it, it is over, and a second request says so.
			if _, err := f.Cancel(f.ctx, f.person, f.operation(f.person), post.ID, unanswered[store.Post]); !errors.As(err, &refused) {
				t.Errorf("canceled again: %v", err)
			}
		})
	}
}
