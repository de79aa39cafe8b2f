// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// usedBy is what a caller's organization has used a key for.
func usedBy(c *caller.Caller, id string, at time.Time, requests int64) store.Use {
	return store.Use{
		Organization: c.Organization.ID, Environment: c.Environment, Key: id, UsedAt: at.Truncate(time.Minute),
		Requests: requests, Refused: requests / 10,
	}
}

func addUse(t *testing.T, w *store.Work, replica string, uses ...store.Use) {
	t.Helper()
	if err := w.AddUse(t.Context(), replica, uses); err != nil {
		t.Fatal(err)
	}
}

// fold folds until nothing is left to do, a few rows at a time.
func fold(t *testing.T, w *store.Work, at time.Time) {
	t.Helper()
	for {
		switch n, err := w.FoldUse(t.Context(), at, 7); {
		case err != nil:
			t.Fatal(err)
		case n < 7:
			return
		}
	}
}

// periods is what is kept of a key, in words: "10m 11:50 replica: requests/refused".
func periods(t *testing.T, v *store.View, id string) (words []string) {
	t.Helper()
	list, err := v.PeriodsOfUse(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.UsedAt.Before(p.Begins) || !p.UsedAt.Before(p.Begins.Add(time.Duration(p.Period))) {
			t.Errorf("the period of %s, %s, was used at %s", p.Begins, time.Duration(p.Period), p.UsedAt)
		}
		words = append(words, strings.TrimSpace(fmt.Sprintf("%dm %s %s", time.Duration(p.Period)/time.Minute,
			p.Begins.Format("02T15:04"), p.Replica))+fmt.Sprintf(": %d/%d", p.Requests, p.Refused))
	}
	return words
}

func TestUse(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		w, c := db.Work(), admitted(t, key.Live, nil)
		v := db.View(c)
		addUse(t, w, "a", usedBy(c, "k1", now, 10), usedBy(c, "k2", now, 20))
		addUse(t, w, "a", usedBy(c, "k1", now.Add(time.Minute), 30))
		addUse(t, w, "b", usedBy(c, "k1", now.Add(-time.Minute), 40)) // it comes late, and takes nothing back
		addUse(t, w, "b")

		want := []string{"10m 01T11:50 b: 40/4", "10m 01T12:00 a: 40/4"}
		if diff := cmp.Diff(want, periods(t, v, "k1")); diff != "" {
			t.Errorf("k1 (-want +got):\n%s", diff)
		}
		last, err := v.LastUses(t.Context())
		minute := now.Truncate(time.Minute)
		if diff := cmp.Diff(map[string]time.Time{"k1": minute.Add(time.Minute), "k2": minute}, last); diff != "" || err != nil {
			t.Errorf("all: %v (-want +got):\n%s", err, diff)
		}
		last, err = v.LastUses(t.Context(), "k2", "never", `"]'\`)
		if diff := cmp.Diff(map[string]time.Time{"k2": minute}, last); diff != "" || err != nil {
			t.Errorf("some: %v (-want +got):\n%s", err, diff)
		}
		recent, err := v.RecentUse(t.Context(), now)
		slices.SortFunc(recent, func(a, b store.Use) int { return strings.Compare(a.Key, b.Key) })
		if diff := cmp.Diff([]store.Use{
			{Key: "k1", UsedAt: minute.Add(time.Minute), Requests: 40, Refused: 4},
			{Key: "k2", UsedAt: minute, Requests: 20, Refused: 2},
		}, recent); diff != "" || err != nil {
			t.Errorf("since 12:00: %v (-want +got):\n%s", err, diff)
		}
		for reason, v := range map[string]*store.View{
			"nobody":               db.View(&caller.Caller{}),
			"another environment":  db.View(admitted(t, key.Test, nil)),
			"another organization": db.View(admitted(t, key.Live, nil, authntest.In("globex", "610be000-0000-4000-8000-000000000000"))),
		} {
			all, err := v.LastUses(t.Context())
			some, err2 := v.LastUses(t.Context(), "k1")
			recent, err3 := v.RecentUse(t.Context(), now)
			if len(all)+len(some)+len(recent)+len(periods(t, v, "k1")) > 0 || err != nil || err2 != nil || err3 != nil {
				t.Errorf("%s sees %v, %v, %v: %v, %v, %v", reason, all, some, recent, err, err2, err3)
			}
		}
		for _, id := range badIDs {
			if got := periods(t, v, id); got != nil {
				t.Errorf("%.20q: %v", id, got)
			}
		}
	})
}

// TestUseIsFolded: what is older is of longer periods, is lost only after a month, and is never twice as much.
func TestUseIsFolded(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		w, c := db.Work(), admitted(t, key.Live, nil)
		v := db.View(c)
		for _, ago := range []time.Duration{0, 5, 15, 75, 100, 105, 130, 60 * 49, 60 * 50, 60 * 73, 60 * 24 * 40} {
			at := now.Add(-ago * time.Minute)
			addUse(t, w, "a", usedBy(c, "k", at, 10))
			addUse(t, w, "b", usedBy(c, "k", at, 100))
		}
		// Any number of processes fold at once.
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { fold(t, w, now) })
		}
		all.Wait()
		want := []string{
			"1440m 26T00:00: 110/11",
			"1440m 27T00:00: 220/22",
			"60m 01T09:00: 110/11",
			"60m 01T10:00: 330/33",
			"10m 01T11:40 a: 10/1", "10m 01T11:40 b: 100/10",
			"10m 01T11:50 a: 10/1", "10m 01T11:50 b: 100/10",
			"10m 01T12:00 a: 10/1", "10m 01T12:00 b: 100/10",
		}
		if diff := cmp.Diff(want, periods(t, v, "k")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// What was counted while the database was away comes late, and ends in the same rows.
		addUse(t, w, "a", usedBy(c, "k", now.Add(-100*time.Minute), 1000))
		fold(t, w, now)
		if got := periods(t, v, "k"); !slices.Contains(got, "60m 01T10:00: 1330/133") {
			t.Errorf("what came late: %v", got)
		}
		fold(t, w, now.AddDate(0, 0, 35))
		if got := periods(t, v, "k"); got != nil {
			t.Errorf("after a month: %v", got)
		}
		if last, err := v.LastUses(t.Context()); len(last) != 1 || err != nil {
			t.Errorf("after a month it was last used at %v, %v; want the same as before", last, err)
		}
	})
}

// TestRowsOfUse: a key that is always in use has some hundred rows at most.
func TestRowsOfUse(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		w, c := db.Work(), admitted(t, key.Live, nil)
		most, at := 0, now
		for i := range 40 * 24 { // an hour each
			uses := make([]store.Use, 0, 6)
			for range 6 {
				at = at.Add(10 * time.Minute)
				uses = append(uses, usedBy(c, "k", at, 10))
			}
			if i%24 > 0 && i < 37*24 { // most hours are used once, so that the test takes less long
				uses = uses[:1]
			}
			for _, u := range uses {
				addUse(t, w, "a", u)
			}
			if i%6 == 0 || i > 37*24 {
				fold(t, w, at)
			}
			most = max(most, len(periods(t, db.View(c), "k")))
		}
		if most < 80 || most > 110 {
			t.Errorf("at most %d rows, want some 90", most)
		}
	})
}

// TestForgetUse: what is known of a key goes as a whole, and only of that key.
func TestForgetUse(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		w, c := db.Work(), admitted(t, key.Live, nil)
		other := admitted(t, key.Live, nil, authntest.In("globex", "610be000-0000-4000-8000-000000000000"))
		test := admitted(t, key.Test, nil)
		for _, ago := range []time.Duration{0, 2 * time.Hour, 72 * time.Hour} {
			at := now.Add(-ago)
			for i := range 5 {
				addUse(t, w, "a", usedBy(c, fmt.Sprint("k", i), at.Add(-time.Hour*time.Duration(i)), 1))
			}
			addUse(t, w, "a", usedBy(other, "k3", at.Add(-5*time.Hour), 1), usedBy(test, "k3", at.Add(-5*time.Hour), 1))
			fold(t, w, now)
		}
		var ids []string
		for after := (store.Use{}); ; {
			page, err := w.LastUses(t.Context(), key.Live, now.Add(-90*time.Minute), after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range page {
				ids, after = append(ids, u.Organization[:3]+" "+u.Key), u
			}
			if len(page) < 2 {
				break
			}
		}
		if diff := cmp.Diff([]string{"0ac k2", "0ac k3", "0ac k4", "610 k3"}, ids); diff != "" {
			t.Errorf("not used for 90 minutes (-want +got):\n%s", diff)
		}
		if err := w.ForgetUse(t.Context(), []store.Use{usedBy(c, "k3", now, 0), usedBy(c, "k9", now, 0)}); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			whose         *caller.Caller
			keys, periods int
		}{{c, 4, 0}, {other, 1, 3}, {test, 1, 3}} {
			v := db.View(tc.whose)
			last, err := v.LastUses(t.Context())
			if n := len(periods(t, v, "k3")); len(last) != tc.keys || n != tc.periods || err != nil {
				t.Errorf("%s, %s: %d periods of k3, and %v, %v", tc.whose.Organization.Name, tc.whose.Environment, n, last, err)
			}
		}
	})
}
