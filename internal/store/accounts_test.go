// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/store"
)

func TestPutAccountRenews(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account("profile-1"))
		again := a
		again.ID, again.DisplayName, again.TokenExpiresAt, again.UpdatedAt = newID(), "New", time.Time{}, now.Add(time.Hour)
		elsewhere := again
		elsewhere.ID, elsewhere.ProfileID = newID(), "profile-2"
		for _, tc := range []struct {
			put     store.Account
			created bool
			id      string
		}{{again, false, a.ID}, {elsewhere, true, elsewhere.ID}} {
			write(t, v, func(tx *store.Tx) error {
				got, created, err := tx.PutAccount(tc.put)
				want := tc.put
				want.ID = tc.id
				if diff := cmp.Diff(want, got); diff != "" || created != tc.created {
					t.Errorf("created %t (-want +got):\n%s", created, diff)
				}
				return err
			})
		}
		if got, err := v.Account(t.Context(), a.ID); err != nil || got.DisplayName != "New" {
			t.Errorf("account %+v, %v", got, err)
		}
	})
}

func TestDeleteAccount(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		queued, failed, running := post(a), post(a, standing(store.Failed)), post(a, publishing)
		add(t, v, queued, failed)
		var onItsWay []store.Attempt
		write(t, v, func(tx *store.Tx) (err error) { onItsWay, err = tx.AddPosts([]store.Post{running}); return err })
		write(t, v, func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) })
		for _, tc := range []struct {
			id   string
			want store.Status
		}{{queued.ID, store.Canceled}, {failed.ID, store.Failed}} {
			if got := read(t, v, tc.id); got.Status != tc.want || got.AccountID != "" || got.Account != nil {
				t.Errorf("post %+v, want it %s, without an account", got, tc.want)
			}
		}
		for _, do := range []func(*store.Tx) error{
			func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) },
			func(tx *store.Tx) error { _, err := tx.AddPosts([]store.Post{post(a)}); return err },
		} {
			if err := v.Write(t.Context(), do); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the account is gone: %v", err)
			}
		}
		requeue := func(tx *store.Tx) error { _, err := tx.RequeuePost(failed.ID, "k", time.Time{}); return err }
		if err := v.Write(t.Context(), requeue); !errors.Is(err, store.ErrState) {
			t.Errorf("requeued without an account: %v", err)
		}
		// What was on its way comes back, and is begun once more, to be told that there is nothing to send it to.
		w := db.Work()
		outcome := store.Outcome{Attempt: onItsWay[0], Failure: &failure, Again: now, Unsettled: true}
		if err := w.Finish(t.Context(), []store.Outcome{outcome}); err != nil {
			t.Fatal(err)
		}
		p, try, err := w.Start(t.Context(), running.ID)
		if err != nil || p.ID != running.ID || p.Account != nil || !try.Ask {
			t.Fatalf("started %+v, %+v, %v", p, try, err)
		}
		if err := w.Finish(t.Context(), []store.Outcome{{Attempt: try.Attempt, Failure: &failure, Unsettled: true}}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, v, running.ID); got.Status != store.Failed {
			t.Errorf("it ends %s", got.Status)
		}
	})
}

func TestMedia(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		m1, m2 := addMedium(t, v, medium("")), addMedium(t, v, medium("profile-1"))
		if got, err := v.Media(t.Context(), m1.ID); err != nil || !cmp.Equal(got, m1) {
			t.Errorf("medium %+v, %v", got, err)
		}
		p := post(a, with(store.MediaRef{MediaID: m2.ID}, store.MediaRef{MediaID: m1.ID}))
		add(t, v, p)
		media, keys, err := db.Work().MediaOf(t.Context(), p.ID)
		want := []string{v.BlobKey(m2.ID), v.BlobKey(m1.ID)}
		if err != nil || !cmp.Equal(media, []store.Media{m2, m1}) || !cmp.Equal(keys, want) {
			t.Errorf("media %+v, keys %v, %v", media, keys, err)
		}
		gone := []string{v.BlobKey(newID()), "no/such/" + m1.ID, m2.ID, "\x00", ""}
		if got, err := db.Work().Unreferenced(t.Context(), append(keys, gone...)); err != nil || !cmp.Equal(got, gone) {
			t.Errorf("unreferenced %q, %v", got, err)
		}
		remove := func(tx *store.Tx) error { _, err := tx.DeleteMedia(m1.ID); return err }
		if err := v.Write(t.Context(), remove); !errors.Is(err, store.ErrState) {
			t.Errorf("deleted though a post needs it: %v", err)
		}
		write(t, v, func(tx *store.Tx) error {
			_, err := tx.EditPost(p.ID, store.Edit{Media: &[]store.MediaRef{}})
			return err
		})
		if got := read(t, v, p.ID); got.Media != nil {
			t.Errorf("edited post %+v", got)
		}
		write(t, v, remove)
		if _, err := v.Media(t.Context(), m1.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted and there: %v", err)
		}
	})
}
