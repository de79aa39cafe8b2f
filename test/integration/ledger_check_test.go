// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// outcome counts how posts ended.
type outcome struct {
	published, unknown, refused, queued, requeued, canceled int // posts
	files, discarded, connected, disconnected               int
}

// check holds what the API shows against the answers of all entries: it must be that, all of it, and nothing else. It
// waits until nothing is under way any more.
func (l *ledger) check(ctx context.Context, url string) (outcome, error) {
	posts, err := l.settled(ctx, url)
	if err != nil {
		return outcome{}, err
	}
	var wrong []error
	changes := map[string]*entry{} // by the post
	for _, e := range l.entries {
		if e.changes() && e.post != "" {
			changes[e.post] = e // the last one: one that was queued again had been canceled
		}
	}
	var o outcome
	for _, e := range l.entries {
		if len(e.accounts) > 0 && e.answer.ok() {
			wrong = append(wrong, l.checkBatch(e, posts, changes, &o)...)
		}
	}
	for _, p := range posts {
		if p.Text != "" { // checkBatch takes those that it knows out
			wrong = append(wrong, fmt.Errorf("nobody was told of this post: %+v", p))
		}
	}
	return o, errors.Join(theFirst(wrong), l.checkFiles(ctx, url, &o), l.checkAccounts(ctx, url, &o))
}

// theFirst joins as many errors as somebody can read.
func theFirst(wrong []error) error {
	const most = 10
	if len(wrong) > most {
		return fmt.Errorf("%d things are wrong, first of all: %w", len(wrong), errors.Join(wrong[:most]...))
	}
	return errors.Join(wrong...)
}

// settled returns all posts with their attempts, once none is on its way or overdue.
func (l *ledger) settled(ctx context.Context, url string) (map[string]postView, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*patience, errors.New("some posts are on their way for ever"))
	defer cancel()
	var open []postView
	for {
		listed, err := fetchAll[postView](ctx, url, l.key, "/v1/posts")
		if err != nil {
			return nil, fmt.Errorf("%w; before, %d were: %+v", err, len(open), open[:min(3, len(open))])
		}
		open = nil
		for _, p := range listed {
			if p.Status == publishing || p.Status == queued && (p.ScheduledAt == nil || !p.ScheduledAt.Equal(future)) {
				open = append(open, p)
			}
		}
		if len(open) == 0 {
			return l.details(ctx, url, listed)
		}
		if err := pass(ctx, time.Second); err != nil {
			return nil, fmt.Errorf("%w: %d, such as %+v", err, len(open), open[:min(3, len(open))])
		}
	}
}

func (l *ledger) details(ctx context.Context, url string, listed []postView) (map[string]postView, error) {
	all := map[string]postView{}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(8)
	for _, p := range listed {
		group.Go(func() error {
			p, err := fetch[postView](ctx, url, l.key, "/v1/posts/"+p.ID)
			mu.Lock()
			defer mu.Unlock()
			all[p.ID] = p
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(all) != len(listed) {
		return nil, fmt.Errorf("%d posts are listed, but %d are there", len(listed), len(all))
	}
	return all, nil
}

// checkBatch compares what a request to publish was answered with the posts that are there, and marks those.
func (l *ledger) checkBatch(
	e *entry, posts map[string]postView, changes map[string]*entry, o *outcome,
) (wrong []error) {
	say := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s, answered %s: %s", e, e.answer, fmt.Sprintf(format, args...)))
	}
	var b batch
	if err := e.answer.into(&b); err != nil {
		say("%v", err)
	}
	want := map[kind]int{
		immediate: http.StatusOK, refused: http.StatusOK,
		soon: http.StatusAccepted, later: http.StatusAccepted, guest: http.StatusAccepted,
	}
	if e.answer.status != want[e.kind] || len(b.Results) != len(e.accounts) {
		say("want %d with %d results", want[e.kind], len(e.accounts))
		return wrong
	}
	for i, r := range b.Results {
		p, there := posts[r.PostID]
		if !there || p.Text == "" {
			say("the post %s is not there, or belongs to another request", r.PostID)
			continue
		}
		posts[r.PostID] = postView{ID: p.ID}
		account := e.accounts[i]
		if change := changes[p.ID]; change != nil && change.kind == disconnect {
			account = ""
		}
		if p.AccountID != account || r.AccountID != e.accounts[i] {
			say("the post %s went to %q, not %q", p.ID, p.AccountID, account)
		}
		if e.kind == immediate && (r.Status != p.Status || r.URI != p.PlatformURI) {
			say("the post became another than what was answered: %+v", p)
		}
		if err := o.end(e, p, changes[p.ID]); err != nil {
			say("%v: %+v", err, p)
		}
	}
	return wrong
}

// end judges how a post ended that e has made and change, which may be nil, has changed.
func (o *outcome) end(e *entry, p postView, change *entry) error {
	var by kind
	text := e.text
	if change != nil {
		by = change.kind
	}
	if by == edit {
		text = change.text
	}
	switch {
	case p.Text != text:
		return fmt.Errorf("its text should be %q", text)
	case e.kind == later || e.kind == guest:
		return o.endOfFuture(p, by)
	case e.kind == refused:
		return o.endOfRefused(p, by)
	case len(p.Attempts) != 1 || p.Attempts[0].FinishedAt == nil:
		return errors.New("it should have one attempt, which has ended")
	case p.Status == published && p.Attempts[0].Succeeded && p.PlatformURI != "":
		o.published++
	case p.Status == failed && !p.Attempts[0].Succeeded && p.Error.unknown():
		o.unknown++
	default:
		return errors.New("it should be published, or have failed with an unknown outcome")
	}
	return nil
}

// endOfFuture judges a post of the far future.
func (o *outcome) endOfFuture(p postView, by kind) error {
	status, count := queued, &o.queued
	switch by {
	case cancel, disconnect:
		status, count = canceled, &o.canceled
	case requeue:
		count = &o.requeued
	}
	if p.Status != status || len(p.Attempts) > 0 {
		return fmt.Errorf("it should be %s, without an attempt", status)
	}
	*count++
	return nil
}

// endOfRefused judges a post that its platform refuses, however often it is tried.
func (o *outcome) endOfRefused(p postView, by kind) error {
	want := 1
	if by == retry {
		want = 2
	}
	ended := !slices.ContainsFunc(p.Attempts, func(a attemptView) bool { return a.FinishedAt == nil || a.Succeeded })
	switch {
	case len(p.Attempts) != want || !ended:
		return fmt.Errorf("it should have %d attempts, which have failed", want)
	case p.Status == failed && p.Error.unknown():
		o.unknown++
	case p.Status == rejected && p.Error != nil && p.Error.Code == "platform_rejected":
		o.refused++
	default:
		return errors.New("it should be rejected, or have failed with an unknown outcome")
	}
	return nil
}

// checkAccounts compares the accounts that are there with those that were connected and not disconnected.
func (l *ledger) checkAccounts(ctx context.Context, url string, o *outcome) error {
	listed, err := fetchAll[struct{ ID string }](ctx, url, l.key, "/v1/accounts")
	if err != nil {
		return err
	}
	want := map[string]bool{} // whether it is to be there, by id
	for _, id := range l.accounts {
		want[id] = true
	}
	for _, e := range l.entries {
		if e.kind != connect || !e.answer.ok() {
			continue
		}
		var account struct{ ID string }
		if err := e.answer.into(&account); err != nil {
			return err
		}
		want[account.ID] = true
		o.connected++
	}
	for _, e := range l.entries {
		if e.kind == disconnect && e.answer.ok() {
			want[e.account] = false
			o.disconnected++
		}
	}
	var wrong []error
	for _, a := range listed {
		if !want[a.ID] {
			wrong = append(wrong, fmt.Errorf("the account %s is there, and nobody was told of it, or that it is gone", a.ID))
		}
		delete(want, a.ID)
	}
	for id, there := range want {
		if there {
			wrong = append(wrong, fmt.Errorf("the account %s is gone", id))
		}
	}
	return theFirst(wrong)
}

// checkFiles compares the media files that are there with those that were accepted.
func (l *ledger) checkFiles(ctx context.Context, url string, o *outcome) error {
	listed, err := fetchAll[medium](ctx, url, l.key, "/v1/media")
	if err != nil {
		return err
	}
	there := map[string]string{} // sum by id
	for _, m := range listed {
		there[m.ID] = m.SHA256
	}
	gone := map[string]bool{} // by id
	for _, e := range l.entries {
		if e.kind == discard && e.answer.ok() {
			gone[e.medium] = true
			o.discarded++
		}
	}
	var wrong []error
	for _, e := range l.entries {
		if e.kind != upload || !e.answer.ok() {
			continue
		}
		var m medium
		if err := e.answer.into(&m); err != nil {
			return err
		}
		if gone[m.ID] {
			continue // if it is listed, nobody was told of it
		}
		if there[m.ID] != e.sum {
			wrong = append(wrong, fmt.Errorf("%s: the file is not there", e))
			continue
		}
		delete(there, m.ID)
		a, err := jsonCall(http.MethodGet, "/v1/media/"+m.ID+"/content", nil).send(ctx, url, l.key)
		if err != nil {
			return err
		}
		if _, sum := uploadOf(a.body); sum != e.sum {
			wrong = append(wrong, fmt.Errorf("%s: the file has other bytes", e))
		}
		o.files++
	}
	for id := range there {
		wrong = append(wrong, fmt.Errorf("nobody was told of the file %s", id))
	}
	return theFirst(wrong)
}
