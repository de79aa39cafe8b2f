// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"errors"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// rows are what the person reaches of the database: all of the active organization in this environment. What of it they
// may see, and do, is asked by may before.
func (r *request) rows() *store.View { return r.dashboard.config.Store.View(r.Caller()) }

// offers tells whether to show what takes a right: a button, or how many there are of something.
func (r *request) offers(verb, resource string) (bool, error) {
	right := session.Right{Verb: verb, Resource: resource, Namespace: r.Organization().Name}
	return r.person.Cluster.Offers(r.Context(), r.now, right)
}

// can tells whether the person has a right, for what is shown to those alone who have it. It asks as may does, because
// offers, which costs a page less, must not decide who is shown what lies in the database.
func (r *request) can(verb, resource string) (bool, error) {
	err := r.may(verb, resource)
	if isForbidden(err) {
		return false, nil
	}
	return err == nil, err
}

// maxOnce is how long the id of a form may be. Ours are UUIDs.
const maxOnce = 64

// change runs a write once for each form that was shown: a browser that sends a form twice, by a double click or by
// going back, does not do it twice. The form has an id for that, which stands where a program has its Idempotency-Key.
// Whoever sends it again is answered like the first time: it was done.
func (r *request) change(do func(op *write.Operation) error) error {
	once := r.form.Get("once")
	if once == "" || len(once) > maxOnce {
		return errBadForm
	}
	// Who it is, the method and the path are part of a claim, so that an id is good for the form at its own address alone.
	// What was typed is not: BodyHash is left out, and a form that was done stays so, whatever it is sent with again.
	op := r.dashboard.config.Writes.Start(r.rows(), r.id)
	answered, err := op.Claim(r.Context(), store.Request{
		IdempotencyKey: once, Method: r.http.Method, Path: r.http.URL.EscapedPath(),
	})
	switch {
	case errors.Is(err, store.ErrInProgress): // it has been waited for, and takes longer
		return errRunning
	case err != nil:
		return err
	case answered != nil:
		return nil
	}
	err = do(&op)
	if op.Pending(err != nil) {
		// Given up, so that the form can be sent again: what was wrong may be right by then.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endWithin)
		defer cancel()
		op.End(ctx, nil)
	}
	return err
}

// endWithin bounds what is left to do for a form that was not taken.
const endWithin = 5 * time.Second

// done is the answer that is kept for a form: whoever sends it again is told nothing but that it was done.
func done[T any](T) (store.Stored, error) { return store.Stored{Status: 303}, nil }

// positionOf reads a cursor. One that is none is the beginning: it is an address that somebody has typed in.
func positionOf(cursor string) store.Position {
	p, ok := endpoint.ParseCursor(cursor)
	if !ok {
		return store.Position{}
	}
	return p
}
