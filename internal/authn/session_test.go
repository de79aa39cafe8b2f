// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

var errSignedOut = errors.New("signed out")

// session is a person's, who is signed in until they sign out, or until it expires.
type session struct {
	person    caller.Caller
	signedOut atomic.Bool
}

func (s *session) Caller() caller.Caller { return s.person }

func (s *session) Refusal(now time.Time) error {
	switch expiresAt := s.person.Actor.ExpiresAt; {
	case s.signedOut.Load():
		return errSignedOut
	case !expiresAt.IsZero() && !now.Before(expiresAt):
		return authn.Expired
	}
	return nil
}

// signedIn returns a session that ends at a time; zero: it does not.
func signedIn(expiresAt time.Time) *session {
	return &session{person: caller.Caller{
		Organization: caller.Organization{ID: authntest.OrganizationID, Name: authntest.Namespace},
		Environment:  key.Live,
		Scopes:       caller.AllScopes,
		Actor:        caller.PersonActor("ada@example.com", expiresAt),
	}}
}

func found(s authn.Session) func(context.Context) (authn.Session, error) {
	return func(context.Context) (authn.Session, error) { return s, nil }
}

// beginAs admits a person and asks for the context.
func (x *flying) beginAs(t testing.TB, s authn.Session) (*authn.Flight, context.Context) {
	t.Helper()
	f := new(authn.Flight)
	if err := x.AdmitSession(t.Context(), found(s), f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.End() })
	return f, f.Context()
}

func TestAdmitSession(t *testing.T) {
	x := newFlying(t)
	s := signedIn(now.Add(time.Hour))
	f, ctx := x.beginAs(t, s)
	if c := f.Caller(); *c != s.person || c.Actor.Kind != caller.Person || x.Running() != 1 {
		t.Errorf("caller %+v, %d flights running", c, x.Running())
	}
	isNotCut(t, f, ctx)
	if x.Running() != 0 || *f.Caller() != s.person {
		t.Errorf("%d flights are left; or who it was is forgotten: %+v", x.Running(), f.Caller())
	}
}

// TestWhoIsNotAdmittedAsAPerson: nothing of the flight is left, and nobody looks for a session in vain.
func TestWhoIsNotAdmittedAsAPerson(t *testing.T) {
	x := newFlying(t)
	errNoCookie := errors.New("no cookie")
	out, expired := signedIn(time.Time{}), signedIn(now)
	out.signedOut.Store(true)
	for _, tc := range []struct {
		reason  string
		serving bool
		session authn.Session
		findErr error
		found   int // how often find is called
		want    error
	}{
		{"there is no session", true, nil, errNoCookie, 1, errNoCookie},
		{"they have signed out", true, out, nil, 1, errSignedOut},
		{"it expires at this instant", true, expired, nil, 1, authn.Expired},
		{"the process must not serve: nobody is told whether they are signed in", false, out, nil, 0, authn.ErrUnavailable},
		{"nor that there is no session", false, nil, errNoCookie, 0, authn.ErrUnavailable},
	} {
		x.serving.Store(tc.serving)
		calls := 0
		var f authn.Flight
		err := x.AdmitSession(t.Context(), func(ctx context.Context) (authn.Session, error) {
			calls++
			if ctx != t.Context() {
				t.Errorf("%s: find gets another context than the request's", tc.reason)
			}
			return tc.session, tc.findErr
		}, &f)
		if !errors.Is(err, tc.want) || calls != tc.found {
			t.Errorf("%s: %v after %d calls of find, want %v after %d", tc.reason, err, calls, tc.want, tc.found)
		}
		if *f.Caller() != (caller.Caller{}) || x.Running() != 0 || f.Err() != nil || f.End() != nil {
			t.Errorf("%s: caller %+v, %d flights running, Err %v", tc.reason, f.Caller(), x.Running(), f.Err())
		}
	}
}

// TestTheFenceIsLookedAtAfterASessionIsFound: to find one may take long, and the fence may shut meanwhile.
func TestTheFenceIsLookedAtAfterASessionIsFound(t *testing.T) {
	x := newFlying(t)
	var f authn.Flight
	err := x.AdmitSession(t.Context(), func(context.Context) (authn.Session, error) {
		fence(x)
		return signedIn(time.Time{}), nil
	}, &f)
	if !errors.Is(err, authn.ErrUnavailable) || x.Running() != 0 {
		t.Errorf("%v, %d flights running", err, x.Running())
	}
}

func TestWhatEndsASessionCutsItsFlights(t *testing.T) {
	expiresAt := now.Add(time.Hour)
	k, plaintext := minted(t)
	for _, tc := range []struct {
		reason string
		do     func(x *flying, s *session)
		told   bool // at once, without anybody asking the flight
		want   error
	}{
		{"the fence shuts", func(x *flying, _ *session) { fence(x) }, true, authn.ErrUnavailable},
		{"the fence has shut, and nobody has told yet", func(x *flying, _ *session) { x.serving.Store(false) }, false, authn.ErrUnavailable},
		{"they sign out", func(_ *flying, s *session) { s.signedOut.Store(true) }, false, errSignedOut},
		{"it expires", func(x *flying, _ *session) { x.clock.SetTime(expiresAt) }, false, authn.Expired},
		{"a key is deleted", func(x *flying, _ *session) { x.RemoveKey(k) }, true, nil},
		{"every key is gone", func(x *flying, _ *session) { x.RetainKeys() }, true, nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			x := newFlying(t, k)
			s := signedIn(expiresAt)
			f, ctx := x.beginAs(t, s)
			ofKey, _ := x.begin(t, plaintext)
			tc.do(x, s)
			if cut := ctx.Err() != nil; cut != (tc.told && tc.want != nil) {
				t.Errorf("the context is ended before the flight is asked: %t", cut)
			}
			if tc.want == nil {
				if err := ofKey.Err(); !errors.Is(err, authn.Revoked) {
					t.Fatalf("the key's own flight goes on with %v: that shows nothing", err)
				}
				isNotCut(t, f, ctx)
				return
			}
			if err := f.Err(); !errors.Is(err, tc.want) {
				t.Errorf("Err = %v, want %v", err, tc.want)
			}
			isCut(t, f, ctx, tc.want)
			// For good: neither heals within one request.
			x.serving.Store(true)
			s.signedOut.Store(false)
			x.clock.SetTime(now)
			isCut(t, f, ctx, tc.want)
			if n := x.Running(); n != 1 {
				t.Errorf("%d flights are left, want the key's", n)
			}
		})
	}
}

// TestASessionsContextEndsWithIt: nobody has to look at the flight for its context to end when the session expires.
func TestASessionsContextEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const left = 20 * time.Millisecond
		x := newFlying(t)
		s := signedIn(now.Add(left))
		f, ctx := x.beginAs(t, s)
		time.Sleep(3 * left)
		if ctx.Err() != nil {
			t.Fatalf("ended by %v, and the clock says that there is time", context.Cause(ctx))
		}
		x.clock.SetTime(s.person.Actor.ExpiresAt)
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Error("nobody tells the context that the session has expired")
		}
		isCut(t, f, ctx, authn.Expired)
	})
}

// TestCommitOfASession: what becomes of a person's write and of its request, wherever the session's end falls.
func TestCommitOfASession(t *testing.T) {
	signOut := func(_ *flying, s *session) { s.signedOut.Store(true) }
	shut := func(x *flying, _ *session) { fence(x) }
	for _, tc := range []struct {
		reason         string
		before, during func(*flying, *session)
		writeErr       error

		written           bool
		commitErr, endErr error
	}{
		{reason: "nothing happens", written: true},
		{reason: "the write fails", writeErr: errDisk, written: true, commitErr: errDisk},
		{reason: "signed out before", before: signOut, commitErr: errSignedOut, endErr: errSignedOut},
		{reason: "signed out meanwhile", during: signOut, written: true},
		{reason: "signed out meanwhile, and the write fails", during: signOut, writeErr: errDisk, written: true, commitErr: errDisk, endErr: errSignedOut},
		{reason: "cut off before", before: shut, commitErr: authn.ErrUnavailable, endErr: authn.ErrUnavailable},
		{reason: "cut off meanwhile", during: shut, written: true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			x := newFlying(t)
			x.OnCommitsOver(func() { t.Error("somebody is told that a key's write is over") })
			s := signedIn(now.Add(time.Hour))
			f, ctx := x.beginAs(t, s)
			if tc.before != nil {
				tc.before(x, s)
			}
			written := false
			err := authn.Commit(ctx, func(ctx context.Context) error {
				written = true
				if commits, _ := x.Writes(); commits != 0 {
					t.Errorf("%d keys count as having a write of a person's", commits)
				}
				if tc.during != nil {
					tc.during(x, s)
				}
				if _, bounded := ctx.Deadline(); ctx.Err() != nil || !bounded {
					t.Errorf("the write's context: %v, bounded: %t", context.Cause(ctx), bounded)
				}
				return tc.writeErr
			})
			if written != tc.written || !errors.Is(err, tc.commitErr) {
				t.Errorf("written: %t, Commit = %v; want %t, %v", written, err, tc.written, tc.commitErr)
			}
			again := authn.Commit(ctx, func(context.Context) error { return nil })
			if over := tc.before != nil || tc.during != nil; (again != nil) != over {
				t.Errorf("a second Commit = %v", again)
			}
			for range 2 {
				if err := f.End(); !errors.Is(err, tc.endErr) {
					t.Errorf("End = %v, want %v", err, tc.endErr)
				}
			}
		})
	}
}
