// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// badIDs are no ids of anything.
var badIDs = []string{"", "x", "\x00", "a\x00b", "\xff", "é", strings.Repeat("a", 1<<20), "' OR 1=1 --", "%", "../.."}

// things are one of each, of a profile that is pinned.
type things struct {
	account store.Account
	medium  store.Media
	queued  store.Post
	failed  store.Post
	running store.Attempt
}

func makeThings(t *testing.T, v *store.View, profileID string) things {
	t.Helper()
	a, m := put(t, v, account(profileID)), addMedium(t, v, medium(profileID))
	th := things{account: a, medium: m, queued: post(a), failed: post(a, standing(store.Failed))}
	running := post(a, publishing)
	th.running = add(t, v, th.queued, th.failed, running)[0]
	return th
}

// attempts to get at what is not theirs, each by its name. All must end with ErrNotFound.
func reaches(
	t *testing.T, v *store.View, own store.Account, accountID, mediaID, queuedID, failedID string,
) map[string]error {
	t.Helper()
	tx := func(do func(*store.Tx) error) error { return v.Write(t.Context(), do) }
	text := "mine now"
	got := map[string]error{}
	_, got["Account"] = v.Account(t.Context(), accountID)
	_, got["Media"] = v.Media(t.Context(), mediaID)
	_, got["Post"] = v.Post(t.Context(), queuedID)
	got["DeleteAccount"] = tx(func(tx *store.Tx) error { return tx.DeleteAccount(accountID) })
	got["DeleteMedia"] = tx(func(tx *store.Tx) error { _, err := tx.DeleteMedia(mediaID); return err })
	got["EditPost"] = tx(func(tx *store.Tx) error { _, err := tx.EditPost(queuedID, store.Edit{Text: &text}); return err })
	got["CancelPost"] = tx(func(tx *store.Tx) error { _, err := tx.CancelPost(queuedID); return err })
	got["RequeuePost"] = tx(func(tx *store.Tx) error { _, err := tx.RequeuePost(failedID, "k", time.Time{}); return err })
	foreign := own
	foreign.ID = accountID
	got["AddPosts to an account"] = tx(func(tx *store.Tx) error { _, err := tx.AddPosts([]store.Post{post(foreign)}); return err })
	got["AddPosts with a medium"] = tx(func(tx *store.Tx) error {
		_, err := tx.AddPosts([]store.Post{post(own, with(store.MediaRef{MediaID: mediaID}))})
		return err
	})
	return got
}

func TestIsolation(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		p1, p2 := authntest.Profile(), authntest.Profile()
		owner := db.View(admitted(t, key.Live, p1))
		org := viewOf(t, db)
		th := makeThings(t, owner, string(p1.UID))
		for _, tc := range []struct {
			reason  string
			view    *store.View
			profile string
		}{
			{"another organization", db.View(admitted(t, key.Live, nil, authntest.In("other", "0ac3e000-0000-4000-8000-00000000000f"))), ""},
			{"another environment", db.View(admitted(t, key.Test, nil)), ""},
			{"another profile", db.View(admitted(t, key.Live, p2)), string(p2.UID)},
			{"narrowed to another profile", org.Within("profile-3"), "profile-3"},
		} {
			t.Run(tc.reason, func(t *testing.T) {
				own := put(t, tc.view, account(tc.profile))
				check := func(ids ...string) {
					for name, err := range reaches(t, tc.view, own, ids[0], ids[1], ids[2], ids[3]) {
						if !errors.Is(err, store.ErrNotFound) {
							t.Errorf("%s of %.20q: %v, want ErrNotFound", name, ids[0], err)
						}
					}
				}
				check(th.account.ID, th.medium.ID, th.queued.ID, th.failed.ID)
				for _, id := range append(badIDs, newID()) {
					check(id, id, id, id)
				}
				lists(t, tc.view, th, own)
				write(t, tc.view, func(tx *store.Tx) error { return tx.Finish([]store.Outcome{{Attempt: th.running}}) })
			})
		}
		if got := read(t, owner, th.running.PostID); got.Status != store.Publishing {
			t.Errorf("a stranger has settled it: %+v", got)
		}
		if got := read(t, org, th.queued.ID); got.Status != store.Queued || got.Text != "hello" {
			t.Errorf("a stranger has changed it: %+v", got)
		}
		if got := read(t, org.Within(string(p1.UID)), th.queued.ID); got.ID != th.queued.ID {
			t.Error("narrowed to its profile, the post is gone")
		}
	})
}

// lists makes sure that no list shows what is not the view's.
func lists(t *testing.T, v *store.View, th things, own store.Account) {
	t.Helper()
	page := store.Page{Limit: 10}
	posts, _, err := v.Posts(t.Context(), store.PostFilter{}, page)
	batch, err2 := v.Batch(t.Context(), th.queued.BatchID)
	attempts, err3 := v.Attempts(t.Context(), th.running.PostID)
	media, _, err4 := v.Medias(t.Context(), page)
	accounts, _, err5 := v.Accounts(t.Context(), page)
	byPlatform, err6 := v.AccountsOf(t.Context(), own.Platform, 10)
	byStanding, _, err7 := v.AccountsBy(t.Context(), store.AccountFilter{Usable: true, Ending: true, Ended: true}, page)
	if err := errors.Join(err, err2, err3, err4, err5, err6, err7); err != nil {
		t.Error(err)
	}
	if n := len(posts) + len(batch) + len(attempts) + len(media); n > 0 {
		t.Errorf("lists show %d strange things", n)
	}
	if diff := cmp.Diff([][]store.Account{{own}, {own}, {own}}, [][]store.Account{accounts, byPlatform, byStanding}); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
}

func TestForeignProfilesAreNotWritten(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		p1 := authntest.Profile()
		pinned := db.View(admitted(t, key.Live, p1))
		a := put(t, viewOf(t, db), account("profile-2"))
		wrong := a
		wrong.ProfileID = string(p1.UID)
		for reason, do := range map[string]func(*store.Tx) error{
			"an account of another profile":  func(tx *store.Tx) error { _, _, err := tx.PutAccount(account("profile-2")); return err },
			"an account of the organization": func(tx *store.Tx) error { _, _, err := tx.PutAccount(account("")); return err },
			"a medium of another profile":    func(tx *store.Tx) error { return tx.AddMedia(medium("profile-2")) },
			"a post of another profile":      func(tx *store.Tx) error { _, err := tx.AddPosts([]store.Post{post(a)}); return err },
		} {
			if err := pinned.Write(t.Context(), do); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v", reason, err)
			}
		}
		mislabelled := func(tx *store.Tx) error { _, err := tx.AddPosts([]store.Post{post(wrong)}); return err }
		if err := viewOf(t, db).Write(t.Context(), mislabelled); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a post of another profile than its account: %v", err)
		}
	})
}

func TestNobodyReachesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		p1 := authntest.Profile()
		th := makeThings(t, db.View(admitted(t, key.Live, p1)), string(p1.UID))
		for reason, v := range map[string]*store.View{
			"no key":               db.View(&caller.Caller{}),
			"narrowed to two":      viewOf(t, db).Within("a").Within("b"),
			"pinned and narrowed":  db.View(admitted(t, key.Live, p1)).Within("b"),
			"narrowed to no id":    viewOf(t, db).Within(""),
			"narrowed to bad text": viewOf(t, db).Within("\x00"),
		} {
			for name, err := range reaches(t, v, th.account, th.account.ID, th.medium.ID, th.queued.ID, th.failed.ID) {
				if !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s: %s: %v", reason, name, err)
				}
			}
			refused(t, v, request, store.ErrNotFound)
			if posts, _, err := v.Posts(t.Context(), store.PostFilter{}, store.Page{Limit: 1}); len(posts) > 0 || err != nil {
				t.Errorf("%s: %d posts, %v", reason, len(posts), err)
			}
		}
	})
}
