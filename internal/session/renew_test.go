// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"database/sql"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/test/oauth"
)

// heardClock counts how often it is read.
type heardClock struct {
	clock.PassiveClock
	reads atomic.Int64
}

func (c *heardClock) Now() time.Time {
	c.reads.Add(1)
	return c.PassiveClock.Now()
}

// TestChangedMeanwhile: a row that is changed while another request renews the session ends it, as at any other time.
func TestChangedMeanwhile(t *testing.T) {
	f := newFederation(t, "sqlite:"+t.TempDir()+"/live.db")
	m, by := f.replica(oauth.Dashboard)
	token := f.signInBy(m, by, "ann")
	db := f.database(key.Live)
	other := &heardClock{PassiveClock: f.clock}
	waits := f.world.replica(func(o *session.Options) { o.Provider, o.Clock, o.Store = by, other, db })
	first, err := db.Work().BeginSessionRenewal(t.Context(), session.IDOf(token), 1, time.Minute)
	if err != nil || !first {
		t.Fatalf("%t, %v", first, err)
	}
	f.advance(idTokens + time.Second) // so that nobody goes on with the old credential
	before := other.reads.Load()
	found := make(chan error)
	go func() {
		_, err := waits.Find(t.Context(), token)
		found <- err
	}()
	eventually(t, func() bool { return other.reads.Load() > before+3 }) // it has read the row, and waits
	raw, err := sql.Open("sqlite", strings.TrimPrefix(f.url, "sqlite:"))
	f.check(err)
	defer raw.Close()
	_, err = raw.ExecContext(t.Context(), "UPDATE sessions SET person = 'person:root' WHERE id = ?", session.IDOf(token))
	f.check(err)
	if err := <-found; !errors.Is(err, authn.Unknown) {
		t.Errorf("%v", err)
	}
	f.find(m, token, authn.Unknown)
}
