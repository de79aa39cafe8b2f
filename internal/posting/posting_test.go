// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package posting_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

var now = authntest.Epoch.AddDate(0, 1, 0)

// fixture is what posts without any HTTP, as a form of a page would, for a person who is signed in and has no key.
type fixture struct {
	*posting.Posting
	t      *testing.T
	writes write.Protocol
	db     *store.DB
	clock  *testclock.FakeClock
	ctx    context.Context // of the person's request
	person *caller.Caller
}

// signedIn is the person's session. It never ends.
type signedIn struct{ who caller.Caller }

func (s signedIn) Caller() caller.Caller { return s.who }

func (signedIn) Refusal(time.Time) error { return nil }

func newFixture(t *testing.T, platforms ...platform.Platform) *fixture {
	t.Helper()
	if len(platforms) == 0 {
		platforms = sandbox.OfAll(catalog.All, newID, clock.RealClock{})
	}
	dir, fake := t.TempDir(), testclock.NewFakeClock(now)
	logger := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{
		URL: "sqlite:" + filepath.Join(dir, "test.db"), Clock: fake, NewID: newID, Logger: logger,
	})
	check(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); db.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
		check(t, db.Close())
	})
	<-db.Migrated()
	library, err := media.Open(ctx, (&url.URL{Scheme: "file", Path: filepath.Join(dir, "media")}).String(), media.DefaultMaxSize)
	check(t, err)
	t.Cleanup(func() { check(t, library.Close()) })
	publisher, err := publish.New(publish.Options{
		Store: db, Media: library, Environment: key.Live, Clock: fake, Logger: logger, Registerer: prometheus.NewRegistry(),
		Platforms: platforms,
	})
	check(t, err)
	index := authn.NewIndex()
	f := &fixture{
		t: t, db: db, clock: fake, writes: write.Protocol{Later: publisher.RecordLater, Logger: logger},
		Posting: posting.New(posting.Options{
			Store: db, Publisher: publisher, Profiles: index, NewID: newID, Clock: fake,
		}),
	}
	session := signedIn{caller.Caller{
		Organization: caller.Organization{ID: authntest.OrganizationID, Name: authntest.Namespace},
		Environment:  key.Live, Scopes: caller.AllScopes, Meter: new(rate.Meter),
		Actor: caller.PersonActor("ann@example.com", now.Add(time.Hour)),
	}}
	flight := new(authn.Flight)
	check(t, authntest.Authenticator(t, index, key.Live, fake).AdmitSession(t.Context(),
		func(context.Context) (authn.Session, error) { return session, nil }, flight))
	t.Cleanup(func() { _ = flight.End() })
	f.ctx, f.person = flight.Context(), flight.Caller()
	return f
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// operation is a write of somebody, without an Idempotency-Key.
func (f *fixture) operation(by *caller.Caller) *write.Operation {
	o := f.writes.Start(f.db.View(by), "id")
	return &o
}

// account adds an account of bluesky, and returns its id.
func (f *fixture) account() string {
	f.t.Helper()
	id := newID()
	check(f.t, f.db.View(f.person).Write(f.t.Context(), func(tx *store.Tx) error {
		_, _, err := tx.PutAccount(store.Account{
			ID: id, Platform: bluesky.Name, PlatformAccountID: "did:plc:" + id, CreatedAt: now, UpdatedAt: now,
		})
		return err
	}))
	return id
}

// create posts a draft as the person, and returns the one post that it makes, as it is stored.
func (f *fixture) create(d posting.Draft) store.Post {
	f.t.Helper()
	b, err := f.Create(f.ctx, f.person, f.operation(f.person), d, unanswered[posting.Batch])
	check(f.t, err)
	if len(b.Posts) != 1 || b.Scheduled != (d.ScheduledAt != nil) {
		f.t.Fatalf("%+v", b)
	}
	return f.stored(b.Posts[0].ID)
}

func (f *fixture) stored(id string) store.Post {
	f.t.Helper()
	p, err := f.db.View(f.person).Post(f.t.Context(), id)
	check(f.t, err)
	return p
}

// unanswered is for what nobody repeats.
func unanswered[T any](T) (store.Stored, error) { return store.Stored{}, nil }

func to(account string) []posting.Target { return []posting.Target{{AccountID: &account}} }

const ann = "person:ann%40example.com"

// A person publishes, puts off, changes, cancels and tries again: what comes of it names them, and no key.
func TestAPersonPosts(t *testing.T) {
	f := newFixture(t)
	account, later := f.account(), now.Add(time.Hour)
	wants := func(what string, p store.Post, status store.Status, text string) {
		t.Helper()
		if p.Status != status || p.Text != text || p.MadeBy != ann {
			t.Errorf("%s: %s, %q, made by %q; want %s, %q, made by %q", what, p.Status, p.Text, p.MadeBy, status, text, ann)
		}
	}
	at := f.create(posting.Draft{Targets: to(account), Text: "hello"})
	wants("at once", at, store.Published, "hello")

	p := f.create(posting.Draft{Targets: to(account), Text: "later", ScheduledAt: &later})
	wants("later", p, store.Queued, "later")
	if !p.ScheduledAt.Equal(later) {
		t.Errorf("it is for %v", p.ScheduledAt)
	}
	text := "changed"
	_, err := f.Edit(f.ctx, f.person, f.operation(f.person), p.ID, posting.Change{Text: &text}, unanswered[store.Post])
	check(t, err)
	wants("changed", f.stored(p.ID), store.Queued, "changed")
	_, err = f.Cancel(f.ctx, f.person, f.operation(f.person), p.ID, unanswered[store.Post])
	check(t, err)
	wants("canceled", f.stored(p.ID), store.Canceled, "changed")
	_, err = f.Retry(f.ctx, f.person, f.operation(f.person), p.ID, nil, unanswered[store.Post])
	check(t, err)
	wants("tried again", f.stored(p.ID), store.Queued, "changed")

	failed := f.create(posting.Draft{Targets: to(account), Text: "sandbox:unavailable"})
	wants("failed", failed, store.Failed, "sandbox:unavailable")
}

// What is refused is a problem, and nothing is stored.
func TestRefused(t *testing.T) {
	f := newFixture(t)
	account := f.account()
	done := f.create(posting.Draft{Targets: to(account), Text: "hello"})
	past, text, none := now, "changed", newID()
	creating := func(d posting.Draft) func() error {
		return func() error {
			_, err := f.Create(f.ctx, f.person, f.operation(f.person), d, unanswered[posting.Batch])
			return err
		}
	}
	for reason, c := range map[string]struct {
		do   func() error
		kind problem.Kind
		rule string
	}{
		"no targets":  {creating(posting.Draft{Text: "x"}), problem.Invalid, "targets.required"},
		"no such one": {creating(posting.Draft{Targets: to(none), Text: "x"}), problem.NotFound, ""},
		"no such profile": {
			creating(posting.Draft{Targets: to(account), Text: "x", ProfileID: &none}), problem.NotFound, "",
		},
		"the past": {
			creating(posting.Draft{Targets: to(account), Text: "x", ScheduledAt: &past}), problem.Invalid, "scheduledAt.future",
		},
		"nothing to say": {creating(posting.Draft{Targets: to(account)}), problem.Invalid, "bluesky.text.non_empty"},
		"it was published: no change": {func() error {
			_, err := f.Edit(f.ctx, f.person, f.operation(f.person), done.ID, posting.Change{Text: &text}, unanswered[store.Post])
			return err
		}, problem.Conflict, "post.status"},
		"it was published: not canceled": {func() error {
			_, err := f.Cancel(f.ctx, f.person, f.operation(f.person), done.ID, unanswered[store.Post])
			return err
		}, problem.Conflict, "post.status"},
		"it was published: not again": {func() error {
			_, err := f.Retry(f.ctx, f.person, f.operation(f.person), done.ID, nil, unanswered[store.Post])
			return err
		}, problem.Conflict, "post.retry.status"},
	} {
		var p *problem.Problem
		if err := c.do(); !errors.As(err, &p) || p.Kind != c.kind || p.Rule != c.rule {
			t.Errorf("%s: %v, want the kind %d and the rule %q", reason, err, c.kind, c.rule)
		}
	}
	posts, _, err := f.db.View(f.person).Posts(t.Context(), store.PostFilter{}, store.Page{Limit: 10})
	check(t, err)
	if len(posts) != 1 || posts[0].Text != "hello" {
		t.Errorf("%d posts, want the one that was published, as it was: %+v", len(posts), posts)
	}
}

// The zero Caller reaches nothing: neither what is there, nor a place to put anything.
func TestNobodyPosts(t *testing.T) {
	f := newFixture(t)
	account, later := f.account(), now.Add(time.Hour)
	queued := f.create(posting.Draft{Targets: to(account), Text: "later", ScheduledAt: &later})
	nobody, text, name := new(caller.Caller), "x", bluesky.Name
	create := func(target posting.Target, at *time.Time) error {
		d := posting.Draft{Targets: []posting.Target{target}, Text: "x", ScheduledAt: at}
		_, err := f.Create(f.ctx, nobody, f.operation(nobody), d, unanswered[posting.Batch])
		return err
	}
	for reason, err := range map[string]error{
		"by the account":  create(posting.Target{AccountID: &account}, nil),
		"later":           create(posting.Target{AccountID: &account}, &later),
		"by the platform": create(posting.Target{Platform: &name}, nil),
		"a change": func() error {
			_, err := f.Edit(f.ctx, nobody, f.operation(nobody), queued.ID, posting.Change{Text: &text}, unanswered[store.Post])
			return err
		}(),
		"a cancellation": func() error {
			_, err := f.Cancel(f.ctx, nobody, f.operation(nobody), queued.ID, unanswered[store.Post])
			return err
		}(),
		"another try": func() error {
			_, err := f.Retry(f.ctx, nobody, f.operation(nobody), queued.ID, nil, unanswered[store.Post])
			return err
		}(),
	} {
		var p *problem.Problem
		if !errors.As(err, &p) || p.Kind != problem.NotFound && p.Rule != "target.account.not_connected" {
			t.Errorf("%s: %v, want that nothing is found", reason, err)
		}
	}
	if p := f.stored(queued.ID); p.Status != store.Queued || p.Text != "later" {
		t.Errorf("%+v", p)
	}
}

// What is on a platform is recorded, also if whoever asked can't be told.
func TestAnAnswerThatFails(t *testing.T) {
	f := newFixture(t)
	account, broken := f.account(), errors.New("it has no JSON")
	d := posting.Draft{Targets: []posting.Target{{AccountID: &account}}, Text: "hello"}
	b, err := f.Create(f.ctx, f.person, f.operation(f.person), d, func(posting.Batch) (store.Stored, error) {
		return store.Stored{}, broken
	})
	if !errors.Is(err, broken) || len(b.Posts) != 1 {
		t.Fatalf("%v, %+v", err, b)
	}
	post, err := f.db.View(f.person).Post(t.Context(), b.Posts[0].ID)
	if err != nil || post.Status != store.Published {
		t.Errorf("the post is %s, %v", post.Status, err)
	}
}
