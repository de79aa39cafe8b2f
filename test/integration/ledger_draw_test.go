// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// kind is what a write is about.
type kind string

const (
	immediate  kind = "published at once"
	refused    kind = "refused by the platform"
	soon       kind = "published in some seconds"
	later      kind = "far in the future"
	guest      kind = "far in the future, with an account that goes"
	edit       kind = "changes one of the future"
	cancel     kind = "cancels one of the future"
	requeue    kind = "queues a canceled one again, far in the future"
	retry      kind = "tries a refused one again"
	upload     kind = "a media file"
	discard    kind = "deletes a media file"
	connect    kind = "connects an account"
	disconnect kind = "disconnects an account"
)

// changes tells whether a write changes a post that another has made.
func (k kind) changes() bool {
	return slices.Contains([]kind{edit, cancel, requeue, retry, disconnect}, k)
}

// future is when posts are scheduled for that are not to be published.
var future = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)

// pool is what writes have made and another write may take: each once, so that its end is known.
type pool struct {
	waiting  []string    // posts of the far future that nothing was done to yet
	canceled []string    // posts
	refused  []string    // posts
	files    []string    // that no post has
	spare    []string    // accounts without posts
	guests   [][2]string // accounts, each with its post
}

// take takes one of a list out.
func take[T any](dice *rand.Rand, list *[]T) (one T, ok bool) {
	if len(*list) == 0 {
		return one, false
	}
	at := dice.IntN(len(*list))
	one = (*list)[at]
	*list = slices.Delete(*list, at, at+1)
	return one, true
}

// add puts what a write has made into the pool.
func (p *pool) add(e *entry) error {
	var b batch
	var made struct{ ID string }
	switch e.kind {
	case later, guest, refused:
		if err := e.answer.into(&b); err != nil {
			return err
		}
	case upload, connect:
		if err := e.answer.into(&made); err != nil {
			return err
		}
	}
	switch e.kind {
	case upload:
		p.files = append(p.files, made.ID)
	case connect:
		p.spare = append(p.spare, made.ID)
	case cancel:
		p.canceled = append(p.canceled, e.post)
	}
	for _, r := range b.Results {
		switch e.kind {
		case later:
			p.waiting = append(p.waiting, r.PostID)
		case refused:
			p.refused = append(p.refused, r.PostID)
		case guest:
			p.guests = append(p.guests, [2]string{r.AccountID, r.PostID})
		}
	}
	return nil
}

// draw makes the next write and enters it.
func (l *ledger) draw() *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	number := len(l.entries)
	e := &entry{text: fmt.Sprintf("entry %d", number)}
	l.entries = append(l.entries, e)
	switch n := l.dice.IntN(130); {
	case n < 15 && l.drawChange(e, n), n >= 100 && l.drawAfter(e, n):
	case n >= 100 && n < 105:
		e.kind, e.call = connect, connecting("bluesky", fmt.Sprintf("extra-%d.test", number))
	case n < 30:
		e.kind = upload
		e.call, e.sum = uploadOf(append(slices.Clone(pixel), fmt.Sprintf("%d %x", number, l.dice.Uint64())...))
	default:
		l.drawPosts(e, n)
	}
	e.call = e.once(fmt.Sprintf("key-%d-%x", number, l.dice.Uint64()))
	return e
}

// drawChange makes e a change of a post of the far future, if there is one.
func (l *ledger) drawChange(e *entry, n int) (ok bool) {
	if e.post, ok = take(l.dice, &l.pool.waiting); !ok {
		return false
	}
	e.kind, e.call = edit, jsonCall(http.MethodPatch, "/v1/posts/"+e.post, map[string]string{"text": e.text})
	if n%2 == 0 {
		e.kind, e.call = cancel, jsonCall(http.MethodDelete, "/v1/posts/"+e.post, nil)
	}
	return true
}

// drawAfter makes e a write that needs an earlier one, of whatever kind n (100 to 129) is, if there is such.
func (l *ledger) drawAfter(e *entry, n int) (ok bool) {
	switch {
	case n < 105:
		return false
	case n < 109:
		if e.post, ok = take(l.dice, &l.pool.canceled); ok {
			e.kind, e.call = requeue, jsonCall(http.MethodPost, "/v1/posts/"+e.post+"/retry", map[string]time.Time{"scheduledAt": future})
		}
	case n < 114:
		if e.post, ok = take(l.dice, &l.pool.refused); ok {
			e.kind, e.call = retry, jsonCall(http.MethodPost, "/v1/posts/"+e.post+"/retry", map[string]string{})
		}
	case n < 118:
		if e.medium, ok = take(l.dice, &l.pool.files); ok {
			e.kind, e.call = discard, jsonCall(http.MethodDelete, "/v1/media/"+e.medium, nil)
		}
	case n < 121:
		var account string
		if account, ok = take(l.dice, &l.pool.spare); ok {
			e.kind, e.accounts = guest, []string{account}
			e.call = l.writing(e.text, future, account)
		}
	case n < 125:
		var of [2]string
		if of, ok = take(l.dice, &l.pool.guests); ok {
			e.account, e.post = of[0], of[1]
		} else {
			e.account, ok = take(l.dice, &l.pool.spare)
		}
		if ok {
			e.kind, e.call = disconnect, jsonCall(http.MethodDelete, "/v1/accounts/"+e.account, nil)
		}
	}
	return ok
}

// drawPosts makes e a request to publish, of whatever kind n is.
func (l *ledger) drawPosts(e *entry, n int) {
	for _, i := range l.dice.Perm(len(l.accounts))[:1+l.dice.IntN(3)] {
		e.accounts = append(e.accounts, l.accounts[i])
	}
	var at time.Time
	var media []string
	switch {
	case n < 45:
		e.kind, at = soon, time.Now().Add(time.Duration(2000+l.dice.IntN(4000))*time.Millisecond)
	case n < 60:
		e.kind, at = later, future
		if n < 50 {
			if file, ok := take(l.dice, &l.pool.files); ok {
				media = []string{file}
			}
		}
	case n < 68: // whoever is killed now is killed on the way to the platform
		e.kind, e.text = immediate, e.text+" sandbox:slow"
	case n < 100:
		e.kind = immediate
	default:
		e.kind, e.text, e.accounts = refused, e.text+" sandbox:rejected", e.accounts[:1]
	}
	e.due = at
	e.call = l.illustrated(e.text, at, media, e.accounts...)
}
