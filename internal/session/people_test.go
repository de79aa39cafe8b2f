// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/session"
)

// TestManyPeople: however many are seen, what is in use stays: a request that runs is told when its session ends, and
// no rate begins anew. What is kept is bounded.
func TestManyPeople(t *testing.T) {
	p := session.NewPeople()
	running := p.Find("running", "ann")
	meter := running.Caller().Meter
	for n := range 3 * session.MaxHere {
		p.Find(fmt.Sprint("session ", n), fmt.Sprint("person ", n%5))
	}
	if again := p.Find("running", "ann"); again.Caller().Meter != meter {
		t.Error("the rate of a session has begun anew")
	}
	if other := p.Find("another", "ann"); other.Caller().Meter != meter {
		t.Error("the rate of another session of theirs has begun anew")
	}
	for n := range 3 * session.MaxHere {
		p.Find(fmt.Sprint("later ", n), "bob")
	}
	p.Drop("running")
	if err := running.Refusal(time.Now()); !errors.Is(err, authn.Expired) {
		t.Errorf("a request that runs is told %v", err)
	}
	if err := p.Find("running", "ann").Refusal(time.Now()); err != nil {
		t.Errorf("what is found afterwards is told %v", err)
	}
	// People come and go, and each session ends.
	for n := range 2 * session.MaxMeters {
		id := fmt.Sprint("guest ", n)
		p.Find(id, id)
		p.Drop(id)
	}
	var clusters, lives, meters int
	eventually(t, func() bool {
		runtime.GC()
		clusters, lives, meters = p.Size()
		return lives <= clusters+1 // one of them runs
	})
	if clusters > session.MaxHere || meters > session.MaxMeters {
		t.Errorf("%d clusters and %d meters are kept", clusters, meters)
	}
	runtime.KeepAlive(running)
}
