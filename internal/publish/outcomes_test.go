// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

func TestOutcomes(t *testing.T) {
	for _, tc := range []outcome{
		{
			reason: "a platform that takes it",
			to: func(_ context.Context, to platform.Account, c platform.Content) (platform.Receipt, error) {
				return platform.Receipt{URI: to.PlatformAccountID + "/" + c.Text}, nil
			},
		},
		{
			reason: "a platform that says no",
			to: func(context.Context, platform.Account, platform.Content) (platform.Receipt, error) {
				return platform.Receipt{URI: "half"}, fmt.Errorf("wrapped: %w", &platform.Failure{Code: platform.CodeRejected, Rule: "its.own"})
			},
			code: platform.CodeRejected, rule: "its.own",
		},
		{
			reason: "a platform that does not answer",
			to: func(ctx context.Context, _ platform.Account, _ platform.Content) (platform.Receipt, error) {
				<-ctx.Done()
				return platform.Receipt{}, fmt.Errorf("dial: %w", ctx.Err())
			},
			code: platform.CodeUnavailable, rule: publish.RuleTimeout,
		},
		{
			reason: "a mistake",
			to: func(context.Context, platform.Account, platform.Content) (platform.Receipt, error) {
				return platform.Receipt{}, errors.New("secret detail")
			},
			code: platform.CodeInternalError, rule: publish.RuleOutcomeUnknown,
		},
		{
			reason: "a panic",
			to: func(context.Context, platform.Account, platform.Content) (platform.Receipt, error) {
				panic("secret detail")
			},
			code: platform.CodeInternalError, rule: publish.RuleOutcomeUnknown,
		},
		{
			reason: "a platform that is not offered",
			mod:    func(p *store.Post) { p.Platform = linkedin.Name },
			code:   platform.CodeNotEnabled,
		},
		{
			reason: "an account that is gone",
			mod:    func(p *store.Post) { p.Account = nil },
			code:   platform.CodeAuthFailed, rule: publish.RuleNotConnected,
		},
		{
			reason: "media that are gone",
			mod:    func(p *store.Post) { p.Media = []store.MediaRef{{Kind: platform.Image, MediaID: "m"}} },
			code:   platform.CodeInternalError, rule: publish.RuleNotSent,
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			tc.check(t)
		})
	}
}

// outcome is how an attempt at a post ends.
type outcome struct {
	reason string
	to     faulty
	mod    func(*store.Post)
	code   string // "": published
	rule   string
}

func (tc outcome) check(t *testing.T) {
	t.Helper()
	registry := prometheus.NewRegistry()
	p := start(t, sqlite(t), tc.to, func(o *publish.Options) {
		// Only a platform that does not answer is to run out of time, and on a slow machine all else takes long.
		if o.Registerer, o.Timeout = registry, patience; tc.rule == publish.RuleTimeout {
			o.Timeout = time.Second // the platform is asked within it
		}
	})
	posts, attempts := begun("hello")
	if tc.mod != nil {
		tc.mod(&posts[0])
	}
	o := p.Publish(t.Context(), posts, attempts, nil)[0]
	label := "published"
	switch {
	case tc.code == "":
		if o.Failure != nil || o.Receipt.URI != "did:test:alice/hello" {
			t.Errorf("outcome is %+v", o)
		}
	case o.Failure == nil || o.Failure.Code != tc.code || o.Failure.Rule != tc.rule || o.Receipt.URI != "":
		t.Errorf("outcome is %+v, failure %+v, want %s (%s)", o, o.Failure, tc.code, tc.rule)
	case strings.Contains(fmt.Sprintf("%+v", *o.Failure), "secret"):
		t.Errorf("the failure tells too much: %+v", o.Failure)
	default:
		label = tc.code
	}
	if o.Attempt.ID != attempts[0].ID || o.Attempt.FinishedAt.IsZero() || o.Attempt.Failure != o.Failure {
		t.Errorf("attempt is %+v", o.Attempt)
	}
	want := fmt.Sprintf(`
# HELP lmp_posts_published_total Attempts to publish a post, by platform and outcome: published, or the code of the failure.
# TYPE lmp_posts_published_total counter
lmp_posts_published_total{outcome=%q,platform=%q} 1
`, label, posts[0].Platform)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "lmp_posts_published_total"); err != nil {
		t.Error(err)
	}
}

// answering is a platform whose part of this server returns what it is told to.
type answering struct {
	faulty
	outcome platform.Outcome
}

func (a answering) Publish(ctx context.Context, p platform.Publication) (platform.Outcome, error) {
	if secrets, err := p.Credentials.Get(ctx); !errors.Is(err, platform.ErrNoSecrets) || secrets != nil {
		return nil, fmt.Errorf("there are credentials: %v, error %w", secrets, err)
	}
	return a.outcome, nil
}

// TestWhenToAsk: a platform that may have a post is asked when it wants to be, and not before the pause is over. What
// has been tried for a day is not asked about any more, whatever its platform wants.
func TestWhenToAsk(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		reason    string
		firstSent time.Time
		notBefore time.Time
		want      time.Time // zero: not by itself
	}{
		{"it does not say", now, time.Time{}, now.Add(publish.PauseAfter(1))},
		{"sooner than is good", now, now.Add(time.Millisecond), now.Add(publish.PauseAfter(1))},
		{"later", now, now.Add(time.Hour), now.Add(time.Hour)},
		{"after a day", now.Add(-25 * time.Hour), now.Add(time.Hour), time.Time{}},
	} {
		why := platform.Failure{Code: platform.CodeRateLimited}
		to := answering{outcome: platform.OutcomeUnknown{Failure: why, NotBefore: tc.notBefore}}
		p := start(t, sqlite(t), to, withAsker(newRemembering(nil)))
		posts, attempts := begun("hello")
		attempts[0].Number = 1
		o := p.Attempt(t.Context(), posts[0], store.Try{Attempt: attempts[0], DueAt: now, FirstSentAt: tc.firstSent})
		if late := o.Again.Sub(tc.want); !o.Unsettled || late < 0 || late > patience || o.Again.IsZero() != tc.want.IsZero() {
			t.Errorf("%s: asked again at %s, want %s: %+v", tc.reason, o.Again, tc.want, o)
		}
	}
}

// TestKindsOfOutcomes: every kind of outcome is kept as what it says, whether or not it may be tried again.
func TestKindsOfOutcomes(t *testing.T) {
	failure := platform.Failure{Code: platform.CodeUnavailable, Rule: "its.own"}
	for _, tc := range []struct {
		reason  string
		outcome platform.Outcome
		want    store.Outcome
	}{
		{"it took it", platform.Published{Receipt: platform.Receipt{URI: "at://1"}}, store.Outcome{Receipt: platform.Receipt{URI: "at://1"}}},
		{"it said no", platform.Rejected{Failure: failure}, store.Outcome{Failure: &failure}},
		{"it was not asked", platform.NotTaken{Failure: failure, NotBefore: time.Now()}, store.Outcome{Failure: &failure}},
		{"it may have it", platform.OutcomeUnknown{Failure: failure, Token: []byte("t")}, store.Outcome{Failure: &failure}},
		{"that is no outcome", nil, store.Outcome{Failure: &platform.Failure{Code: platform.CodeInternalError, Rule: publish.RuleOutcomeUnknown}}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			p := start(t, sqlite(t), answering{outcome: tc.outcome})
			posts, attempts := begun("hello")
			got := p.Publish(t.Context(), posts, attempts, nil)[0]
			if got.Receipt.URI != tc.want.Receipt.URI || (got.Failure == nil) != (tc.want.Failure == nil) {
				t.Fatalf("%+v, want %+v", got, tc.want)
			}
			if f := got.Failure; f != nil && (f.Code != tc.want.Failure.Code || f.Rule != tc.want.Failure.Rule || got.Attempt.Failure != f) {
				t.Errorf("failure is %+v, of the attempt %+v; want %+v", f, got.Attempt.Failure, tc.want.Failure)
			}
		})
	}
}
