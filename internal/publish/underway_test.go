// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// gate is a platform that takes posts, and says so when it has them, once it is told to.
type gate struct {
	faulty
	begun, open chan struct{}
}

func newGate() gate {
	g := gate{begun: make(chan struct{}, 100), open: make(chan struct{})}
	g.faulty = func(_ context.Context, _ platform.Account, c platform.Content) (platform.Receipt, error) {
		g.begun <- struct{}{}
		<-g.open
		return platform.Receipt{URI: "at://" + c.Text}, nil
	}
	return g
}

// within does what a request to publish does: it commits posts with their attempts, makes these, and records how they
// ended. recording is closed between the last two.
func (p *process) within(
	t *testing.T, view *store.View, posts []store.Post, recording chan struct{}, goOn <-chan struct{},
) <-chan error {
	t.Helper()
	var attempts []store.Attempt
	err := view.Write(t.Context(), func(tx *store.Tx) (err error) {
		for i := range posts {
			posts[i].Status = store.Publishing
		}
		attempts, err = tx.AddPosts(posts)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range posts {
		posts[i].Account = &store.AccountRef{ID: posts[i].AccountID, Platform: posts[i].Platform, PlatformAccountID: "did:test:alice"}
	}
	done := make(chan error, 1)
	go func() {
		outcomes := p.Publish(context.WithoutCancel(t.Context()), posts, attempts, nil)
		close(recording)
		<-goOn
		done <- p.Record(context.WithoutCancel(t.Context()), outcomes, func(ctx context.Context) error {
			return view.Write(ctx, func(tx *store.Tx) error { return tx.Finish(outcomes) })
		})
	}()
	return done
}

// TestEndWaitsForRequests: what a platform has taken is recorded, though the connection that it was for has been cut
// off.
func TestEndWaitsForRequests(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := newGate()
		p, id := start(t, databaseURL, to), admitted(t)
		view := p.db.View(id)
		posts := draft(id, connect(t, view), time.Time{}, "1", "2", "3", "4", "5", "6", "7")
		end := p.run(t)
		await(t, "the first sweep", func() bool { return p.has(t, marker) }) // Run has begun
		recording, goOn := make(chan struct{}), make(chan struct{})
		done := p.within(t, view, posts, recording, goOn)
		for range 5 {
			<-to.begun
		}
		ended := make(chan struct{})
		go func() { defer close(ended); end() }()
		await(t, "the end", p.Ending) // before the platform lets go: a sixth post would be sent
		still := func(what string) {
			t.Helper()
			select {
			case <-ended:
				t.Errorf("Run has not waited for %s", what)
			case <-time.After(300 * time.Millisecond):
			}
		}
		still("the platform")
		close(to.open)
		<-recording
		still("the record")
		close(goOn)
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-ended
		sent, unsent := 0, 0
		for _, post := range posts {
			got, err := view.Post(t.Context(), post.ID)
			switch {
			case err != nil:
				t.Fatal(err)
			case got.Status == store.Published && got.Receipt.URI == "at://"+post.Text:
				sent++
			case got.Status == store.Failed && got.Failure.Rule == publish.RuleNotSent:
				unsent++
			default:
				t.Errorf("%s: %+v, %+v", post.Text, got, got.Failure)
			}
		}
		if sent != 5 || unsent != 2 || len(to.begun) != 0 {
			t.Errorf("%d were published, %d not sent, %d begun too late; want 5, 2 and none", sent, unsent, len(to.begun))
		}
	})
}

// TestEndIsBounded: a request that never ends does not keep the process from ending.
func TestEndIsBounded(t *testing.T) {
	to := newGate()
	p, id := start(t, sqlite(t), to, func(o *publish.Options) { o.Timeout = time.Second }), admitted(t)
	p.HurryEnd(100 * time.Millisecond)
	view := p.db.View(id)
	end := p.run(t)
	await(t, "the first sweep", func() bool { return p.has(t, marker) })
	recording, goOn := make(chan struct{}), make(chan struct{})
	done := p.within(t, view, draft(id, connect(t, view), time.Time{}, "stuck"), recording, goOn)
	<-to.begun
	ended := make(chan struct{})
	go func() { defer close(ended); end() }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("Run waits for ever")
	}
	close(to.open)
	close(goOn)
	if err := <-done; err != nil { // nobody has closed the database yet
		t.Error(err)
	}
}
