// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// fate is what becomes of one request to a remembering platform.
type fate int

const (
	taken      fate = iota
	later           // not taken: it wants it in a moment
	lostAnswer      // taken, and the answer is lost
	lostAsk         // not taken, and that nobody learns
	broken          // taken, and then the platform's client fails
	fates
)

// remembering is a platform that keeps what it took, so that it can be asked, and does to each post as its fates say.
type remembering struct {
	mu    sync.Mutex
	fates map[string][]fate // by text; then taken
	posts map[string]int    // how often it took each, by text
	times map[string]time.Time
	order []string
	asked int
}

func newRemembering(fates map[string][]fate) *remembering {
	return &remembering{fates: fates, posts: map[string]int{}, times: map[string]time.Time{}}
}

func (r *remembering) Preflight(platform.Content) *platform.Failure { return nil }

func (r *remembering) Publish(_ context.Context, p platform.Publication) (platform.Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := p.Content.Text
	next := taken
	if left := r.fates[text]; len(left) > 0 {
		next, r.fates[text] = left[0], left[1:]
	}
	if next != later && next != lostAsk {
		// What a platform recognizes a post by is the same each time that it may have it.
		if at, known := r.times[text]; known && !at.Equal(p.FirstSentAt) {
			return nil, fmt.Errorf("first sent at %s, and before at %s", p.FirstSentAt, at)
		}
		r.times[text] = p.FirstSentAt
		r.posts[text]++
		r.order = append(r.order, text)
	}
	why := platform.Failure{Code: platform.CodeUnavailable, Rule: "its.own", Message: "not now"}
	switch next {
	case later:
		return platform.NotTaken{Failure: why, NotBefore: time.Now().Add(30 * time.Millisecond)}, nil
	case lostAnswer, lostAsk:
		return platform.OutcomeUnknown{Failure: why, Token: []byte("token of " + text)}, nil
	case broken:
		return nil, errors.New("broken")
	}
	return platform.Published{Receipt: platform.Receipt{URI: "at://" + text}}, nil
}

func (r *remembering) Ask(ctx context.Context, p platform.Publication, token []byte) (platform.Outcome, error) {
	r.mu.Lock()
	r.asked++
	there := r.posts[p.Content.Text] > 0
	if token != nil && string(token) != "token of "+p.Content.Text {
		r.mu.Unlock()
		return nil, fmt.Errorf("asked with %q", token)
	}
	r.mu.Unlock()
	if there {
		return platform.Published{Receipt: platform.Receipt{URI: "at://" + p.Content.Text}}, nil
	}
	return r.Publish(ctx, p)
}

// withAsker makes a platform one that can be asked.
func withAsker(a platform.Asker) func(*publish.Options) {
	return func(o *publish.Options) { o.Platforms[0].Asker = a }
}

// TestEachPostGoesOutOnce: whatever becomes of its attempts, each post is there once in the end, and those of an
// account in their order. Fates are drawn by seed.
func TestEachPostGoesOutOnce(t *testing.T) {
	publish.HurryPauses(t, 30*time.Millisecond)
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		const seeds = 50
		draw := map[string][]fate{}
		var texts [seeds][]string
		for seed := range texts {
			random := rand.New(rand.NewPCG(uint64(seed), 0))
			for i := range 3 {
				text := fmt.Sprintf("seed %d, post %d", seed, i)
				texts[seed] = append(texts[seed], text)
				for range random.IntN(4) {
					draw[text] = append(draw[text], fate(random.IntN(int(fates))))
				}
			}
		}
		to := newRemembering(draw)
		a, b := start(t, databaseURL, to, withAsker(to)), start(t, databaseURL, to, withAsker(to))
		id := admitted(t)
		var all []store.Post
		at := time.Now().Add(time.Second)
		for seed := range texts {
			account := connectAs(t, a.db.View(id), fmt.Sprint("did:test:", seed))
			posts := draft(id, account, at, texts[seed]...)
			for i := range posts {
				posts[i].ScheduledAt = at.Add(time.Duration(i) * time.Millisecond)
			}
			a.add(t, id, posts)
			all = append(all, posts...)
		}
		a.run(t)
		b.run(t)
		for _, p := range all {
			if post, _ := b.await(t, id, p.ID, store.Published); post.Receipt.URI != "at://"+p.Text {
				t.Errorf("%s: %+v", p.Text, post.Receipt)
			}
		}
		to.mu.Lock()
		defer to.mu.Unlock()
		last := map[string]string{}
		for _, text := range to.order {
			var seed, i int
			if _, err := fmt.Sscanf(text, "seed %d, post %d", &seed, &i); err != nil {
				t.Fatal(err)
			}
			if n := to.posts[text]; n != 1 {
				t.Errorf("%s is there %d times", text, n)
			}
			if who := fmt.Sprint(seed); last[who] > text {
				t.Errorf("%s came after %s", text, last[who])
			} else {
				last[who] = text
			}
		}
		if to.asked == 0 {
			t.Error("it was never asked: the fates prove nothing")
		}
	})
}

// TestMovedByARequest: a post that was to go at once, and that the platform wants later, is queued and goes out.
func TestMovedByARequest(t *testing.T) {
	publish.HurryPauses(t, 30*time.Millisecond)
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := newRemembering(map[string][]fate{"moved": {later}})
		p, id := start(t, databaseURL, to, withAsker(to)), admitted(t)
		view := p.db.View(id)
		posts := draft(id, connect(t, view), time.Time{}, "moved")
		posts[0].Status, posts[0].Account = store.Publishing, &store.AccountRef{ID: posts[0].AccountID}
		var attempts []store.Attempt
		if err := view.Write(t.Context(), func(tx *store.Tx) (err error) {
			attempts, err = tx.AddPosts(posts)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		outcomes := p.Publish(t.Context(), posts, attempts, nil)
		if outcomes[0].Status() != store.Queued || outcomes[0].Failure == nil {
			t.Fatalf("%+v", outcomes[0])
		}
		if err := view.Write(t.Context(), func(tx *store.Tx) error {
			return p.Finish(t.Context(), tx, outcomes)
		}); err != nil {
			t.Fatal(err)
		}
		if queued, _ := p.await(t, id, posts[0].ID, store.Queued); queued.Failure != nil {
			t.Errorf("a queued post has failed: %+v", queued.Failure)
		}
		p.run(t)
		_, attempts = p.await(t, id, posts[0].ID, store.Published)
		if len(attempts) != 2 || attempts[0].Failure == nil || attempts[0].Failure.Rule != "its.own" {
			t.Errorf("attempts %+v: the first tells what the platform said", attempts)
		}
	})
}

// TestGivingUp: what should have gone out a day ago does not go out any more by itself.
func TestGivingUp(t *testing.T) {
	to := newRemembering(map[string][]fate{"late": {later}, "unknown": {lostAsk, lostAsk, lostAsk}})
	p, id := start(t, sqlite(t), to, withAsker(to)), admitted(t)
	for _, text := range []string{"late", "unknown"} {
		post := p.queue(t, id, time.Now().Add(time.Hour), text)[0]
		ago := time.Now().Add(-25 * time.Hour).UnixMicro()
		p.exec(t, "UPDATE posts SET due_at = ?, scheduled_at = ?, first_sent_at = ? WHERE id = ?", ago, ago, ago, post.ID)
		p.exec(t, "UPDATE river_job SET scheduled_at = CURRENT_TIMESTAMP, state = 'available'")
	}
	p.run(t)
	for _, text := range []string{"late", "unknown"} {
		var postID string
		if err := p.direct.QueryRowContext(t.Context(), "SELECT id FROM posts WHERE text = ?", text).Scan(&postID); err != nil {
			t.Fatal(err)
		}
		if failed, attempts := p.await(t, id, postID, store.Failed); failed.Failure == nil || len(attempts) != 1 {
			t.Errorf("%s: %+v, attempts %+v", text, failed, attempts)
		}
	}
}

// locked are connections of which one account can't be used until somebody has connected it again.
type locked struct {
	mu      sync.Mutex
	closed  string
	refused atomic.Int32
}

func (l *locked) Open(_ context.Context, id string) (platform.Credentials, *platform.Failure, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id == l.closed {
		return nil, &platform.Failure{Code: platform.CodeAuthFailed, Rule: "account.reconnect_required"}, nil
	}
	return open{}, nil, nil
}

func (l *locked) Refused(context.Context, platform.Credentials, platform.Failure) { l.refused.Add(1) }

type open struct{ platform.Credentials }

// TestHeldUntilReconnected: what is queued for an account that has to be connected again waits for that, and goes out
// then. What somebody wants to send at once is refused.
func TestHeldUntilReconnected(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) { heldUntilReconnected(t, databaseURL, false) })
}

// TestHeldByAJobThatMakesUp: nor does it wait for longer where the job that found the account closed made up for a lost
// one, of which there is one at a time.
func TestHeldByAJobThatMakesUp(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) { heldUntilReconnected(t, databaseURL, true) })
}

func heldUntilReconnected(t *testing.T, databaseURL string, lost bool) {
	t.Helper()
	to, l := newRemembering(nil), &locked{}
	p, id := start(t, databaseURL, to, func(o *publish.Options) { o.Connections = l }), admitted(t)
	p.Hurry(0, time.Hour, time.Second)
	p.HurryUpkeep(20 * time.Millisecond)
	post := p.queue(t, id, time.Now().Add(50*time.Millisecond), "held")[0]
	l.closed = post.AccountID
	if lost {
		p.exec(t, "DELETE FROM river_job")
	}
	p.run(t)
	view := p.db.View(id)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		attempts, err := view.Attempts(t.Context(), post.ID)
		if err != nil {
			t.Fatal(err)
		}
		if len(attempts) == 1 && attempts[0].Failure != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("attempts %+v", attempts)
		}
	}
	if held, _ := p.await(t, id, post.ID, store.Queued); held.Failure != nil {
		t.Errorf("%+v", held)
	}
	atOnce, attempts := begun("at once")
	atOnce[0].Account = &store.AccountRef{ID: post.AccountID, Platform: bluesky.Name}
	outcomes := p.Publish(t.Context(), atOnce, attempts, nil)
	if o := outcomes[0]; o.Status() != store.Rejected {
		t.Errorf("to be sent at once: %+v", o)
	}
	// Else the end of Run would wait for it.
	if err := p.Record(t.Context(), outcomes, func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	l.mu.Lock()
	l.closed = ""
	l.mu.Unlock()
	connect(t, view)
	if _, attempts := p.await(t, id, post.ID, store.Published); len(attempts) != 2 {
		t.Errorf("attempts %+v", attempts)
	}
	if diff := cmp.Diff([]string{"held"}, to.order); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPauses: the longer a platform does not take a post, the less often it is tried.
func TestPauses(t *testing.T) {
	last := time.Duration(0)
	for number := 1; number < 70; number++ {
		pause := publish.PauseAfter(number)
		if pause < last || pause < 2*time.Second || pause > 10*time.Minute {
			t.Errorf("after attempt %d: %s, and before that %s", number, pause, last)
		}
		last = pause
	}
}

// TestLostAttemptIsAskedAbout: a post that was being sent by a process which has died is asked about as soon as that is
// known, and not when it is overdue: here, it never is. It is there once.
func TestLostAttemptIsAskedAbout(t *testing.T) {
	publish.HurryPauses(t, time.Millisecond)
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := newRemembering(nil)
		a, id := start(t, databaseURL, to, withAsker(to)), admitted(t)
		posts := draft(id, connect(t, a.db.View(id)), time.Time{}, "it got there", "it did not")
		for i := range posts {
			posts[i].Status = store.Publishing // by a request: it has no job
		}
		if err := a.db.View(id).Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.AddPosts(posts)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		to.posts["it got there"] = 1 // and the process dies
		a.leave()

		b := start(t, databaseURL, to, withAsker(to))
		b.Hurry(time.Hour, time.Hour, time.Second)
		b.run(t)
		for _, post := range posts {
			p, attempts := b.await(t, id, post.ID, store.Published)
			if len(attempts) != 2 || p.Receipt.URI != "at://"+post.Text {
				t.Errorf("%+v, attempts %+v", p, attempts)
			}
		}
		to.mu.Lock()
		defer to.mu.Unlock()
		if to.posts["it got there"] != 1 || to.posts["it did not"] != 1 || to.asked != 2 {
			t.Errorf("the platform has %v, asked %d times", to.posts, to.asked)
		}
	})
}
