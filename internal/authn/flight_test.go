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

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// flying is an index with an authenticator whose clock and readiness the test holds.
type flying struct {
	*authn.Index
	*authn.Authenticator
	clock   *clocktesting.FakePassiveClock
	serving *atomic.Bool
}

func newFlying(t testing.TB, objects ...any) *flying {
	t.Helper()
	f := &flying{Index: authntest.Index(t, objects...), clock: clocktesting.NewFakePassiveClock(now), serving: new(atomic.Bool)}
	f.serving.Store(true)
	f.Authenticator = authntest.Authenticator(t, f.Index, key.Live, f.clock, authntest.Serving(f.serving))
	return f
}

// begin admits a request and asks for its context.
func (x *flying) begin(t testing.TB, plaintext string) (*authn.Flight, context.Context) {
	t.Helper()
	f := new(authn.Flight)
	if err := x.AdmitNow(t.Context(), bearer(plaintext), f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.End() })
	return f, f.Context()
}

// isCut checks a flight that has been cut: its context has ended, and it says why.
func isCut(t *testing.T, f *authn.Flight, ctx context.Context, want error) {
	t.Helper()
	if ctx.Err() == nil || !errors.Is(context.Cause(ctx), want) {
		t.Errorf("the context has the error %v, the cause %v; want it ended by %v", ctx.Err(), context.Cause(ctx), want)
	}
	if err := f.Err(); !errors.Is(err, want) {
		t.Errorf("Err = %v, want %v", err, want)
	}
	for range 2 {
		if err := f.End(); !errors.Is(err, want) {
			t.Errorf("End = %v, want %v", err, want)
		}
	}
}

// isNotCut checks a flight that has not been cut.
func isNotCut(t *testing.T, f *authn.Flight, ctx context.Context) {
	t.Helper()
	if ctx.Err() != nil || f.Err() != nil {
		t.Errorf("cut: %v, %v", context.Cause(ctx), f.Err())
	}
	for range 2 {
		if err := f.End(); err != nil {
			t.Errorf("End = %v, want nil", err)
		}
	}
	if ctx.Err() == nil {
		t.Error("the context goes on after the end")
	}
}

func TestAdmit(t *testing.T) {
	k, s := minted(t)
	x := newFlying(t, k)
	var f authn.Flight
	if err := x.AdmitNow(t.Context(), bearer(s), &f); err != nil {
		t.Fatal(err)
	}
	if c := f.Caller(); c.Actor.Kind != caller.Key || c.Actor.ID != string(k.UID) || x.Running() != 1 {
		t.Errorf("caller %+v, %d flights running", c, x.Running())
	}
	if err := errors.Join(f.Err(), f.End(), f.End()); err != nil || x.Running() != 0 {
		t.Errorf("ended with %v, %d flights running", err, x.Running())
	}
	if f.Caller().Actor.ID == "" {
		t.Error("who it was is forgotten: it is still to be logged")
	}

	for _, tc := range []struct {
		reason  string
		serving bool
		header  []string
		want    error
	}{
		{"nobody", true, nil, authn.Missing},
		{"not serving", false, bearer(s), authn.ErrUnavailable},
		{"not serving: nobody is told that a key is wrong", false, bearer("nonsense"), authn.ErrUnavailable},
		{"not serving: nor that there is none", false, nil, authn.ErrUnavailable},
	} {
		var f authn.Flight
		x.serving.Store(tc.serving)
		err := x.AdmitNow(t.Context(), tc.header, &f)
		if !errors.Is(err, tc.want) || *f.Caller() != (caller.Caller{}) || x.Running() != 0 || f.End() != nil || f.Err() != nil {
			t.Errorf("%s: %v, want %v; caller %+v, %d running", tc.reason, err, tc.want, f.Caller(), x.Running())
		}
	}
}

// TestServingIsAskedWithAFreshReading: a process that was stopped must not go by the time before.
func TestServingIsAskedWithAFreshReading(t *testing.T) {
	k, s := minted(t)
	clock := clocktesting.NewFakePassiveClock(now)
	deadline := now.Add(time.Second)
	a := authntest.Authenticator(t, authntest.Index(t, k), key.Live, clock, func(o *authn.Options) {
		o.Serving = func(now time.Time) bool { return now.Before(deadline) }
	})
	var ended, committing, late authn.Flight
	if err := errors.Join(a.AdmitNow(t.Context(), bearer(s), &ended), a.AdmitNow(t.Context(), bearer(s), &committing)); err != nil {
		t.Fatal(err)
	}
	ctx := committing.Context()
	clock.SetTime(deadline)
	if err := ended.End(); !errors.Is(err, authn.ErrUnavailable) {
		t.Errorf("End = %v", err)
	}
	err := authn.Commit(ctx, func(context.Context) error { t.Error("written"); return nil })
	if !errors.Is(err, authn.ErrUnavailable) || !errors.Is(context.Cause(ctx), authn.ErrUnavailable) {
		t.Errorf("Commit = %v, and the context's cause is %v", err, context.Cause(ctx))
	}
	if err := a.AdmitNow(t.Context(), bearer(s), &late); !errors.Is(err, authn.ErrUnavailable) {
		t.Errorf("Admit = %v", err)
	}
	clock.SetTime(now)
	if err := committing.End(); !errors.Is(err, authn.ErrUnavailable) {
		t.Errorf("serving again, the flight that was refused its commit ends with %v", err)
	}
}

func TestWhatEndsAKeyCutsItsFlights(t *testing.T) {
	profile, elsewhere := authntest.Profile(), authntest.Profile()
	key, keyText := minted(t)
	pinned, pinnedText := minted(t, authntest.PinnedTo(profile))
	other, otherText := minted(t, authntest.PinnedTo(elsewhere))
	objects := []any{profile, elsewhere, key, pinned, other}
	with := func(k *v1alpha1.ApiKey, mods ...func(*v1alpha1.ApiKey)) *v1alpha1.ApiKey {
		k = k.DeepCopy()
		for _, mod := range mods {
			mod(k)
		}
		return k
	}
	going := profile.DeepCopy()
	going.DeletionTimestamp = &going.CreationTimestamp
	rightful, _ := minted(t, sharing(key), authntest.CreatedAt(after(-time.Hour)))

	for _, tc := range []struct {
		reason      string
		do          func(x *authn.Index)
		key, pinned error // what cuts the flights of the two; nil: nothing
	}{
		{"the key is put again as it was", func(x *authn.Index) { x.PutKey(key); x.PutProfile(profile) }, nil, nil},
		{"the key is being deleted", func(x *authn.Index) { x.PutKey(with(key, authntest.Deleting)) }, authn.Revoked, nil},
		{"the key is gone", func(x *authn.Index) { x.RemoveKey(key) }, authn.Revoked, nil},
		{"the key is found a duplicate", func(x *authn.Index) { x.PutKey(with(key, authntest.Duplicate)) }, authn.Unserved, nil},
		{"the key makes room for the rightful one", func(x *authn.Index) { x.PutKey(rightful) }, authn.Revoked, nil},
		{"a list has the key no more", func(x *authn.Index) { x.RetainKeys(pinned.UID, other.UID) }, authn.Revoked, nil},
		{"a list has all", func(x *authn.Index) {
			x.RetainKeys(key.UID, pinned.UID, other.UID)
			x.RetainProfiles(profile.UID, elsewhere.UID)
		}, nil, nil},
		{"the Profile is being deleted", func(x *authn.Index) { x.PutProfile(going) }, nil, authn.Unserved},
		{"the Profile is gone", func(x *authn.Index) { x.RemoveProfile(profile) }, nil, authn.Unserved},
		{"a list has the Profile no more", func(x *authn.Index) { x.RetainProfiles(elsewhere.UID) }, nil, authn.Unserved},
		{"it comes back at once: too late", func(x *authn.Index) { x.RemoveProfile(profile); x.PutProfile(profile) }, nil, authn.Unserved},
		{"and so does the key", func(x *authn.Index) { x.RemoveKey(key); x.PutKey(key) }, authn.Revoked, nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			x := newFlying(t, objects...)
			f1, c1 := x.begin(t, keyText)
			f2, c2 := x.begin(t, pinnedText)
			f3, c3 := x.begin(t, otherText)
			tc.do(x.Index)
			for _, is := range []struct {
				flight *authn.Flight
				ctx    context.Context
				cut    error
			}{{f1, c1, tc.key}, {f2, c2, tc.pinned}, {f3, c3, nil}} {
				if is.cut != nil {
					isCut(t, is.flight, is.ctx, is.cut)
				} else {
					isNotCut(t, is.flight, is.ctx)
				}
			}
			if n := x.Running(); n != 0 {
				t.Errorf("%d flights are left", n)
			}
		})
	}
}

// TestDeletingIsForGood: a watch may be answered by an apiserver that is behind.
func TestDeletingIsForGood(t *testing.T) {
	k, s := minted(t)
	d, duplicateText := minted(t)
	x := authntest.Index(t, k, d)
	deleting, duplicate := k.DeepCopy(), d.DeepCopy()
	authntest.Deleting(deleting)
	authntest.Duplicate(duplicate)
	x.PutKey(deleting)
	x.PutKey(duplicate)
	x.PutKey(k)
	x.PutKey(d)
	refused(t, x, s, authn.Revoked)
	refused(t, x, duplicateText, authn.Unserved)
	for range 1000 { // the table is rebuilt
		other, _ := minted(t)
		x.PutKey(other)
	}
	x.PutKey(k)
	refused(t, x, s, authn.Revoked)

	profile := authntest.Profile()
	pinned, pinnedText := minted(t, authntest.PinnedTo(profile))
	going := profile.DeepCopy()
	going.DeletionTimestamp = &going.CreationTimestamp
	x = authntest.Index(t, profile, pinned)
	x.PutProfile(going)
	x.PutProfile(profile)
	refused(t, x, pinnedText, authn.Unserved)
}

func TestContext(t *testing.T) {
	k, s := minted(t)
	x := newFlying(t, k)
	type mine struct{}
	parent, leave := context.WithCancel(context.WithValue(t.Context(), mine{}, 7))
	var f authn.Flight
	if err := x.AdmitNow(parent, bearer(s), &f); err != nil {
		t.Fatal(err)
	}
	ctx := f.Context()
	if ctx != f.Context() || ctx.Value(mine{}) != 7 || ctx.Err() != nil {
		t.Errorf("another context each time, or not its parent's: %v", ctx)
	}
	leave()
	if !errors.Is(context.Cause(ctx), context.Canceled) || f.Err() != nil || f.End() != nil {
		t.Errorf("the caller has gone: cause %v, End %v", context.Cause(ctx), f.End())
	}

	f2, _ := x.begin(t, s)
	x.RemoveKey(k)
	isCut(t, f2, f2.Context(), authn.Revoked)

	x.PutKey(k)
	var asksLate, asksAfterEnd authn.Flight
	if err := errors.Join(x.AdmitNow(t.Context(), bearer(s), &asksLate), x.AdmitNow(t.Context(), bearer(s), &asksAfterEnd)); err != nil {
		t.Fatal(err)
	}
	_ = asksAfterEnd.End()
	if ctx := asksAfterEnd.Context(); ctx.Err() == nil {
		t.Error("a context made after the end goes on")
	}
	x.RemoveKey(k)
	isCut(t, &asksLate, asksLate.Context(), authn.Revoked)
}

// TestExpiryInFlight: the clock that is given decides, and a timer only says when to look at it.
func TestExpiryInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const left = 20 * time.Millisecond
		expiresAt := now.Add(time.Hour)
		k, s := minted(t, authntest.ExpiringAt(expiresAt))
		x := newFlying(t, k)
		asked, ctx := x.begin(t, s)
		silent, other := new(authn.Flight), new(authn.Flight)
		x.clock.SetTime(expiresAt.Add(-left))
		for _, f := range []*authn.Flight{silent, other} {
			if err := x.AdmitNow(t.Context(), bearer(s), f); err != nil {
				t.Fatal(err)
			}
		}
		timed := silent.Context()
		time.Sleep(3 * left)
		if ctx.Err() != nil || timed.Err() != nil {
			t.Fatalf("ended by %v and %v, and the clock says that there is time", context.Cause(ctx), context.Cause(timed))
		}
		if err := other.End(); err != nil {
			t.Errorf("an instant before the expiry: %v", err)
		}
		x.clock.SetTime(expiresAt)
		select {
		case <-timed.Done():
		case <-time.After(10 * time.Second):
			t.Error("nobody tells the context that the key has expired")
		}
		isCut(t, silent, timed, authn.Expired)
		// The other one's timer is an hour away, as it would be with a clock that was set: whoever looks sees it all the
		// same.
		if err := authn.Commit(ctx, func(context.Context) error { t.Error("written"); return nil }); !errors.Is(err, authn.Expired) {
			t.Errorf("Commit = %v", err)
		}
		isCut(t, asked, ctx, authn.Expired)

		k2, s2 := minted(t, authntest.ExpiringAt(expiresAt.Add(time.Second)))
		x.PutKey(k2)
		f := new(authn.Flight)
		if err := x.AdmitNow(t.Context(), bearer(s2), f); err != nil {
			t.Fatal(err)
		}
		x.clock.SetTime(expiresAt.Add(time.Second))
		if err := f.Err(); !errors.Is(err, authn.Expired) {
			t.Errorf("Err = %v without a context", err)
		}
		x.clock.SetTime(expiresAt) // set back: what has been cut stays it
		if err := f.End(); !errors.Is(err, authn.Expired) {
			t.Errorf("End = %v without a context", err)
		}
	})
}

func TestCutAll(t *testing.T) {
	k, s := minted(t)
	x := newFlying(t, k)
	f1, c1 := x.begin(t, s)
	f2, c2 := x.begin(t, s)
	x.serving.Store(false)
	x.CutAll(authn.ErrUnavailable)
	isCut(t, f1, c1, authn.ErrUnavailable)
	x.serving.Store(true)
	isCut(t, f2, c2, authn.ErrUnavailable) // it is cut for good
	f3, c3 := x.begin(t, s)
	isNotCut(t, f3, c3)
}
