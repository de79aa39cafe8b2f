// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestPeople: what a person makes is theirs by name, however long that is, and an organization's like anybody's.
func TestPeople(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		person := func(username string) *caller.Caller {
			return &caller.Caller{
				Organization: caller.Organization{ID: authntest.OrganizationID, Name: authntest.Namespace},
				Environment:  key.Live,
				Scopes:       caller.AllScopes,
				Actor:        caller.PersonActor(username, now.Add(time.Hour)),
			}
		}
		a := put(t, viewOf(t, db), account(""))
		claims := map[string]*store.Claim{}
		for _, username := range []string{
			"ada@example.com", "Ada Lovelace é\x00", strings.Repeat("a", 120), strings.Repeat("é", 500), strings.Repeat("é", 501),
		} {
			who := person(username)
			v := db.View(who)
			claims[username] = claim(t, v, request) // nobody else has it, although all of them choose one idempotency key
			p := post(a, madeWith(who.Actor.Ref()))
			add(t, v, p)
			if got := read(t, v, p.ID); got.MadeBy != who.Actor.Ref() || got.MadeBy == "" {
				t.Errorf("%.20q: made by %q, want %q", username, got.MadeBy, who.Actor.Ref())
			}
			write(t, v, func(tx *store.Tx) error { _, err := tx.CancelPost(p.ID); return err })
			write(t, v, func(tx *store.Tx) error { _, err := tx.RequeuePost(p.ID, who.Actor.Ref(), time.Time{}); return err })
			if n, err := db.Work().CancelQueuedBy(t.Context(), who.Actor.Ref()); n != 1 || err != nil {
				t.Errorf("%.20q: canceled %d of the one post that is theirs, %v", username, n, err)
			}
		}
		for username, c := range claims {
			v := db.View(person(username))
			refused(t, v, request, store.ErrInProgress)
			settle(t, v, c, store.Stored{Status: 200})
		}
	})
}
