// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// TestScheduledPosts are published once, whatever the number of processes, and not before their time.
func TestScheduledPosts(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := newCounter()
		a, b := start(t, databaseURL, to), start(t, databaseURL, to)
		id := admitted(t)
		var texts []string
		for i := range 20 {
			texts = append(texts, fmt.Sprint("post ", i))
		}
		at := time.Now().Add(2 * time.Second)
		posts := a.queue(t, id, at, texts...)
		a.run(t)
		b.run(t)
		for _, post := range posts {
			published, attempts := b.await(t, id, post.ID, store.Published)
			if len(attempts) != 1 || attempts[0].FinishedAt.IsZero() || published.Receipt.URI == "" || published.PublishedAt.IsZero() {
				t.Errorf("%s: %+v, attempts %+v", post.Text, published, attempts)
			}
			times := to.times(post.Text)
			if len(times) != 1 || times[0].Before(at) {
				t.Errorf("%s was published at %v, want once, from %v on", post.Text, times, at)
			}
		}
	})
}

func TestCanceledPostIsNotPublished(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := newCounter()
		p, id := start(t, databaseURL, to), admitted(t)
		at := time.Now().Add(time.Second)
		canceled := p.queue(t, id, at, "canceled")[0]
		later := p.queue(t, id, at.Add(500*time.Millisecond), "later")[0]
		err := p.db.View(id).Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.CancelPost(canceled.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		p.run(t)
		p.await(t, id, later.ID, store.Published)
		post, attempts := p.await(t, id, canceled.ID, store.Canceled)
		if len(attempts) > 0 || len(to.times("canceled")) > 0 {
			t.Errorf("%+v, attempts %+v", post, attempts)
		}
	})
}

// TestRestart: what one process has accepted, and what it has begun, outlives it.
func TestRestart(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		begun, goOn := make(chan struct{}, 1), make(chan struct{})
		a := start(t, databaseURL, faulty(func(context.Context, platform.Account, platform.Content) (platform.Receipt, error) {
			begun <- struct{}{}
			<-goOn
			return platform.Receipt{URI: "at://1"}, nil
		}))
		id := admitted(t)
		first := a.queue(t, id, time.Time{}, "first")[0]
		end := a.run(t)
		<-begun
		ended := make(chan struct{})
		go func() { defer close(ended); end() }()
		second := a.queue(t, id, time.Now().Add(time.Hour), "second")[0] // which is not to come while the first process ends
		select {
		case <-ended:
			t.Error("Run did not wait for an attempt that was running")
		case <-time.After(300 * time.Millisecond):
		}
		close(goOn)
		<-ended
		if post, _ := a.await(t, id, first.ID, store.Published); post.Receipt.URI != "at://1" {
			t.Errorf("receipt is %+v", post.Receipt)
		}
		a.leave()

		to := newCounter()
		b := start(t, databaseURL, to)
		now := time.Now()
		err := b.db.View(id).Write(t.Context(), func(tx *store.Tx) error {
			edited, err := tx.EditPost(second.ID, store.Edit{ScheduledAt: &now})
			if err != nil {
				return err
			}
			return b.Enqueue(t.Context(), tx, []store.Post{edited})
		})
		if err != nil {
			t.Fatal(err)
		}
		b.run(t)
		b.await(t, id, second.ID, store.Published)
		if len(to.times("first")) > 0 || len(to.times("second")) != 1 {
			t.Errorf("the second process published %v", to.got)
		}
	})
}

// TestLostAttempt: whether the platform took the post is not known, so nobody sends it again.
func TestLostAttempt(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		begun, goOn := make(chan struct{}, 1), make(chan struct{})
		a := start(t, databaseURL, faulty(func(context.Context, platform.Account, platform.Content) (platform.Receipt, error) {
			begun <- struct{}{}
			<-goOn
			return platform.Receipt{URI: "at://1"}, nil
		}))
		id := admitted(t)
		post := a.queue(t, id, time.Time{}, "lost")[0]
		end := a.run(t)
		<-begun
		a.leave() // for the others, it is dead

		to := newCounter()
		b := start(t, databaseURL, to)
		b.Hurry(0, 0, time.Second)
		b.run(t)
		lost, _ := b.await(t, id, post.ID, store.Failed)
		if f := lost.Failure; f == nil || f.Code != platform.CodeInternalError || f.Rule != publish.RuleOutcomeUnknown || f.Remediation == "" {
			t.Errorf("failure is %+v", f)
		}
		close(goOn) // it was not dead after all
		end()
		lost, attempts := b.await(t, id, post.ID, store.Failed)
		if len(attempts) != 1 || lost.Receipt.URI != "" || len(to.times("lost")) > 0 {
			t.Errorf("%+v, attempts %+v, sent again %v", lost, attempts, to.got)
		}
	})
}

// TestOutage: a job that comes while the database does not do its work is tried again.
func TestOutage(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := newCounter()
		p, id := start(t, databaseURL, to), admitted(t)
		post := p.queue(t, id, time.Time{}, "patient")[0]
		p.exec(t, "ALTER TABLE attempts RENAME TO attempts_away")
		p.run(t)
		await(t, "a try of the job", func() bool {
			return p.count(t, "SELECT count(*) FROM river_job WHERE errors IS NOT NULL AND kind = 'publish_post'") > 0
		})
		p.exec(t, "ALTER TABLE attempts_away RENAME TO attempts")
		_, attempts := p.await(t, id, post.ID, store.Published)
		if len(attempts) != 1 || len(to.times("patient")) != 1 {
			t.Errorf("attempts %+v, published %v", attempts, to.times("patient"))
		}
	})
}

// TestServerAway: an attempt that ends while the server is away is recorded when it is back, and the queue goes on.
func TestServerAway(t *testing.T) {
	t.Parallel()
	server := postgres.StartServer(t)
	begun, goOn := make(chan struct{}, 1), make(chan struct{})
	late := listener{text: "could not be recorded yet", said: make(chan struct{}, 1)}
	p := start(t, server.Address, faulty(func(_ context.Context, _ platform.Account, c platform.Content) (platform.Receipt, error) {
		begun <- struct{}{}
		if c.Text == "now" {
			<-goOn
		}
		return platform.Receipt{URI: "at://" + c.Text}, nil
	}), func(o *publish.Options) { late.Handler, o.Logger = o.Logger.Handler(), slog.New(&late) })
	p.Hurry(30*time.Second, 0, 100*time.Millisecond)
	id := admitted(t)
	now := p.queue(t, id, time.Time{}, "now")[0]
	p.run(t)
	<-begun
	later := p.queue(t, id, time.Now().Add(2*time.Second), "later")[0]
	server.Stop(t)
	close(goOn)
	select {
	case <-late.said: // the outage has lasted long enough to be noticed
	case <-time.After(patience):
		t.Fatal("an outcome could be recorded without a server")
	}
	server.Start(t)
	for _, post := range []store.Post{now, later} {
		published, attempts := p.await(t, id, post.ID, store.Published)
		if len(attempts) != 1 || published.Receipt.URI != "at://"+post.Text {
			t.Errorf("%s: %+v, attempts %+v", post.Text, published, attempts)
		}
	}
}

// listener is a log that tells when something is said.
type listener struct {
	slog.Handler
	text string
	said chan struct{}
}

func (l *listener) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, l.text) {
		select {
		case l.said <- struct{}{}:
		default:
		}
	}
	return l.Handler.Handle(ctx, r)
}

// TestOverduePost: a post whose job is lost gets another, and never more than one.
func TestOverduePost(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := newCounter()
		p, id := start(t, databaseURL, to), admitted(t)
		p.Hurry(0, 0, time.Second)
		post := p.queue(t, id, time.Time{}, "overdue")[0]
		p.exec(t, "DELETE FROM river_job")
		for range 3 {
			if err := p.RequeueOverdue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if jobs := p.count(t, "SELECT count(*) FROM river_job"); jobs != 1 {
			t.Errorf("there are %d jobs, want 1", jobs)
		}
		p.run(t)
		_, attempts := p.await(t, id, post.ID, store.Published)
		if len(attempts) != 1 || len(to.times("overdue")) != 1 {
			t.Errorf("attempts %+v, published %v", attempts, to.times("overdue"))
		}
	})
}

// TestMovedPost: it has one job, for the time that it was moved to last, however often that was.
func TestMovedPost(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := newCounter()
		p, id := start(t, databaseURL, to), admitted(t)
		p.Hurry(time.Hour, time.Hour, time.Second) // its job alone reminds of it
		view := p.db.View(id)
		post := p.queue(t, id, time.Now().Add(time.Hour), "moved")[0]
		move := func(at time.Time) {
			t.Helper()
			err := view.Write(t.Context(), func(tx *store.Tx) error {
				edited, err := tx.EditPost(post.ID, store.Edit{ScheduledAt: &at})
				if err != nil {
					return err
				}
				return p.Enqueue(t.Context(), tx, []store.Post{edited})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 {
			move(time.Now().Add(time.Hour + time.Duration(i*i%7)*time.Minute)) // later and earlier
		}
		soon := time.Now().Add(2 * time.Second)
		move(soon)
		if jobs := p.count(t, "SELECT count(*) FROM river_job"); jobs != 1 {
			t.Errorf("there are %d jobs, want 1", jobs)
		}
		p.run(t)
		p.await(t, id, post.ID, store.Published)
		times := to.times("moved")
		if len(times) != 1 || times[0].Before(soon) {
			t.Errorf("published at %v, want once, from %v on", times, soon)
		}
	})
}

// TestJobBesideARunningOne: the job of an earlier attempt may not have ended yet when its post is queued again.
func TestJobBesideARunningOne(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		p, id := start(t, databaseURL, newSandbox()), admitted(t)
		posts := p.queue(t, id, time.Now().Add(time.Hour), "again")
		p.exec(t, "UPDATE river_job SET state = 'running'")
		for range 2 {
			if err := p.db.View(id).Write(t.Context(), func(tx *store.Tx) error { return p.Enqueue(t.Context(), tx, posts) }); err != nil {
				t.Fatal(err)
			}
		}
		if jobs := p.count(t, "SELECT count(*) FROM river_job WHERE state = 'scheduled'"); jobs == 0 {
			t.Error("nothing will remind of the post")
		}
	})
}

// TestRolledBack: a post that was not added is not published either.
func TestRolledBack(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		p, id := start(t, databaseURL, newSandbox()), admitted(t)
		view := p.db.View(id)
		posts := draft(id, connect(t, view), time.Time{}, "undone")
		err := view.Write(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.AddPosts(posts); err != nil {
				return err
			}
			if err := p.Enqueue(t.Context(), tx, posts); err != nil {
				return err
			}
			return context.Canceled
		})
		if err == nil {
			t.Fatal("it was committed")
		}
		if jobs := p.count(t, "SELECT count(*) FROM river_job"); jobs != 0 {
			t.Errorf("there are %d jobs", jobs)
		}
	})
}
