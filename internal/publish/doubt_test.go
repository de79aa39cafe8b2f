// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// doubtful is a database that does what is committed, and tells whoever commits that it has failed, as long as that is
// true: a server's connections break before the answer, and the disk of a file fails.
func doubtful(t *testing.T, databaseURL string) (store.Options, *atomic.Bool) {
	t.Helper()
	if !strings.HasPrefix(databaseURL, "sqlite:") {
		through, loses := postgres.Lossy(t, databaseURL)
		return store.Options{URL: through}, loses
	}
	fails := new(atomic.Bool)
	return store.Options{URL: databaseURL, SyncFile: func(string) error {
		if fails.Load() {
			return syscall.EIO
		}
		return nil
	}}, fails
}

// TestBegunInDoubt: an attempt that has begun, of which its process was told otherwise, keeps neither its post nor what
// its account has after that. Nothing was sent, so the post goes out at once, and the one time.
func TestBegunInDoubt(t *testing.T) {
	publish.HurryPauses(t, 30*time.Millisecond)
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		on, fails := doubtful(t, databaseURL)
		to := newCounter()
		p, id := startOn(t, on, to), admitted(t)
		posts := p.queue(t, id, time.Now().Add(50*time.Millisecond), "doubt", "next")
		fails.Store(true)
		p.run(t)
		await(t, "an attempt has begun", func() bool { return p.count(t, "SELECT COUNT(*) FROM attempts") > 0 })
		fails.Store(false)
		for _, post := range posts {
			p.await(t, id, post.ID, store.Published)
			if n := len(to.times(post.Text)); n != 1 {
				t.Errorf("%s was sent %d times", post.Text, n)
			}
		}
		// Whichever of the two came first.
		if n := p.count(t, "SELECT COUNT(*) FROM attempts WHERE failure LIKE '%"+publish.RuleNotSent+"%'"); n == 0 {
			t.Error("no attempt says that it has sent nothing: none was in doubt")
		}
	})
}

// TestLookBegunInDoubt: so does an attempt that was only to look. What is not known of its post stays unknown.
func TestLookBegunInDoubt(t *testing.T) {
	publish.HurryPauses(t, 30*time.Millisecond)
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		on, fails := doubtful(t, databaseURL)
		p, id := startOn(t, on, newRemembering(nil)), admitted(t)
		post := p.queue(t, id, time.Now().Add(time.Hour), "doubt")[0]
		p.exec(t, "UPDATE posts SET unsettled = 1, first_sent_at = 1")
		fails.Store(true)
		if err := p.Settle(t.Context(), post.ID); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("the look ends with %v", err)
		}
		fails.Store(false)
		if n := p.count(t, "SELECT COUNT(*) FROM posts WHERE status = 'publishing'"); n != 1 {
			t.Fatalf("%d are on their way: nothing is in doubt", n)
		}
		p.run(t)
		_, attempts := p.await(t, id, post.ID, store.Queued)
		if len(attempts) != 1 || attempts[0].Failure == nil || attempts[0].Failure.Rule != publish.RuleOutcomeUnknown {
			t.Errorf("attempts: %+v", attempts)
		}
		if maybe, err := p.db.View(id).Unsettled(t.Context(), post.ID); !maybe || err != nil {
			t.Errorf("it is taken for one that is not there: %v, %v", maybe, err)
		}
	})
}
