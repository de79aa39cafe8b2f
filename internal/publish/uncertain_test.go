// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// busy is a platform that holds what it is sent until it is let go, and then does not take it yet.
type busy struct {
	*remembering
	begun, goOn chan struct{}
}

func (b busy) Publish(context.Context, platform.Publication) (platform.Outcome, error) {
	b.begun <- struct{}{}
	<-b.goOn
	why := platform.Failure{Code: platform.CodeRateLimited, Message: "not now"}
	return platform.NotTaken{Failure: why, NotBefore: time.Now().Add(30 * time.Millisecond)}, nil
}

// TestWithdrawnOnItsWay: a post that is being sent when its key is deleted may come back to the queue. It does not go
// out from there, and whoever deletes the key is told only when that is certain. Nobody else waits for it.
func TestWithdrawnOnItsWay(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := busy{newRemembering(nil), make(chan struct{}, 100), make(chan struct{})}
		p, leaked, other := start(t, databaseURL, to), admitted(t), admitted(t)
		post := p.queue(t, leaked, time.Now().Add(50*time.Millisecond), "leaked")[0]
		kept := p.queue(t, other, time.Now().Add(time.Hour), "other")[0]
		p.run(t)
		<-to.begun
		done, others := make(chan struct{}), make(chan struct{})
		p.Withdraw(leaked.Organization.ID, leaked.Actor.ID, func() { close(done) })
		p.Withdraw(other.Organization.ID, other.Actor.ID, func() { close(others) })
		<-others
		p.await(t, other, kept.ID, store.Canceled)
		select {
		case <-done:
			t.Error("it is done, and a post of the key's is on its way")
		default:
		}
		close(to.goOn)
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("it was never done")
		}
		if canceled, attempts := p.await(t, leaked, post.ID, store.Canceled); len(attempts) != 1 || len(to.begun) > 0 {
			t.Errorf("%+v, attempts %+v, sent %d times more", canceled, attempts, len(to.begun))
		}
	})
}

// unlooked is a platform that has taken a post, and does not let anybody look whether it has.
type unlooked struct {
	*remembering
	looks atomic.Int32
}

func (u *unlooked) Ask(context.Context, platform.Publication, []byte) (platform.Outcome, error) {
	u.looks.Add(1)
	return platform.Rejected{Failure: platform.Failure{Code: platform.CodeAuthFailed, Rule: "who.is.that", Message: "who is that?"}}, nil
}

// TestRefusedLook: a platform that does not let us in has not said that the post is not there. It is asked again, and
// never sent.
func TestRefusedLook(t *testing.T) {
	publish.HurryPauses(t, 30*time.Millisecond)
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := &unlooked{remembering: newRemembering(map[string][]fate{"maybe": {lostAnswer}})}
		p, id := start(t, databaseURL, to, withAsker(to)), admitted(t)
		post := p.queue(t, id, time.Now().Add(50*time.Millisecond), "maybe")[0]
		p.run(t)
		await(t, "a look that is refused", func() bool {
			attempts, err := p.db.View(id).Attempts(t.Context(), post.ID)
			if err != nil {
				t.Fatal(err)
			}
			return len(attempts) >= 2 && attempts[1].Failure != nil
		})
		if maybe, err := p.db.View(id).Unsettled(t.Context(), post.ID); !maybe || err != nil {
			t.Errorf("it is taken for one that is not there: %v, %v", maybe, err)
		}
		if n := to.posts["maybe"]; n != 1 {
			t.Errorf("it is there %d times", n)
		}
	})
}

// TestNobodyCanLook: a post that its platform may have, and that nobody can look for, ends in no words by which its
// author would make it once more. It stays one that is looked for before anybody sends it again.
func TestNobodyCanLook(t *testing.T) {
	for _, tc := range []struct {
		reason  string
		mod     func(*store.Post)
		closed  bool // the account has to be connected again, as we know
		refused bool // and as its platform says
		late    bool // it was to go out more than a day ago
		sent    bool // false: the platform certainly does not have it
		status  store.Status
		rule    string
	}{
		{reason: "its platform is switched off", mod: elsewhere, sent: true, status: store.Failed, rule: publish.RuleOutcomeUnknown},
		{reason: "switched off before it was sent", mod: elsewhere, status: store.Failed},
		{reason: "its account is gone", mod: gone, sent: true, status: store.Failed, rule: publish.RuleOutcomeUnknown},
		{reason: "gone before it was sent", mod: gone, status: store.Rejected, rule: publish.RuleNotConnected},
		{reason: "its account is closed", closed: true, sent: true, status: store.Queued, rule: reconnect},
		{reason: "closed for a day", closed: true, sent: true, late: true, status: store.Failed, rule: publish.RuleOutcomeUnknown},
		{reason: "closed before it was sent", closed: true, late: true, status: store.Rejected, rule: reconnect},
		{reason: "its platform does not let us in", refused: true, sent: true, status: store.Queued, rule: "who.is.that"},
		{reason: "nor after a day", refused: true, sent: true, late: true, status: store.Failed, rule: publish.RuleOutcomeUnknown},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			l, to := &locked{}, &unlooked{remembering: newRemembering(nil)}
			if tc.closed {
				l.closed = "a"
			}
			p := start(t, sqlite(t), to, withAsker(to), func(o *publish.Options) { o.Connections = l })
			posts, attempts := begun("hello")
			if tc.mod != nil {
				tc.mod(&posts[0])
			}
			try := store.Try{Attempt: attempts[0], Queued: true, DueAt: time.Now()}
			if tc.late {
				try.DueAt = try.DueAt.Add(-25 * time.Hour)
			}
			if tc.sent {
				try.Ask, try.Token, try.FirstSentAt = true, []byte("token"), try.DueAt
			}
			o := p.Attempt(t.Context(), posts[0], try)
			f := o.Failure
			if f == nil || o.Status() != tc.status || f.Rule != tc.rule || o.Attempt.Failure != f {
				t.Fatalf("%+v, failure %+v, want %s by %s", o, f, tc.status, tc.rule)
			}
			if o.Unsettled != tc.sent || string(o.Token) != string(try.Token) {
				t.Errorf("it may be there: %t, to be asked about by %q; want %t, %q", o.Unsettled, o.Token, tc.sent, try.Token)
			}
			if f.Rule == publish.RuleOutcomeUnknown && !strings.HasPrefix(f.Remediation, "Look at the account on the platform.") {
				t.Errorf("the author is told: %s", f.Remediation)
			}
			if n := l.refused.Load(); (n == 1) != tc.refused {
				t.Errorf("that the account was refused is said %d times", n)
			}
		})
	}
}

// reconnect is the rule by which locked connections keep an account.
const reconnect = "account.reconnect_required"

func elsewhere(p *store.Post) { p.Platform = linkedin.Name }
func gone(p *store.Post)      { p.Account = nil }

// TestDatabaseGoesBeforeItIsSent: a scheduled post, which nobody waits for, is tried again where the database goes when
// an attempt at it was stored; for a day. A request's is not: whoever waits for it sends it again.
func TestDatabaseGoesBeforeItIsSent(t *testing.T) {
	p := start(t, sqlite(t), newRemembering(nil))
	posts, attempts := begun("with a picture")
	posts[0].ID, posts[0].Media = newID(), []store.MediaRef{{Kind: platform.Image, MediaID: "m"}}
	if err := p.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		reason string
		try    store.Try
		want   store.Status
	}{
		{"scheduled", store.Try{Queued: true, DueAt: time.Now()}, store.Queued},
		{"for yesterday", store.Try{Queued: true, DueAt: time.Now().Add(-25 * time.Hour)}, store.Failed},
		{"of a request", store.Try{DueAt: time.Now()}, store.Failed},
	} {
		tc.try.Attempt = attempts[0]
		o := p.Attempt(t.Context(), posts[0], tc.try)
		if o.Failure == nil || o.Failure.Rule != publish.RuleNotSent || o.Status() != tc.want || o.Unsettled {
			t.Errorf("%s: %+v, failure %+v, want %s", tc.reason, o, o.Failure, tc.want)
		}
	}
}
