// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
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
		p.Withdraw(leaked.Actor.ID, func() { close(done) })
		p.Withdraw(other.Actor.ID, func() { close(others) })
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
	return platform.Rejected{Failure: platform.Failure{Code: platform.CodeAuthFailed, Message: "who is that?"}}, nil
}

// TestRefusedLook: who does not let us in has not said that the post is not there. It is asked again, and never sent.
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
