// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestOverdue: all posts count that are late and that nothing keeps, and the first of each account is reminded of.
func TestOverdue(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v, w, then := viewOf(t, db), db.Work(), now.Add(-time.Minute)
		const profile = "b0000000-0000-4000-8000-000000000001"
		one, two, going := put(t, v, account(profile)), put(t, v, account("")), put(t, v, account(""))
		late := func(ago time.Duration) func(*store.Post) {
			return func(p *store.Post) { p.ScheduledAt = now.Add(-ago) }
		}
		behind, first := post(one, late(time.Hour)), post(one, late(2*time.Hour))
		second := post(two, late(3*time.Hour))
		add(t, v, behind, first, post(one), second, post(two, late(time.Second)), post(one, standing(store.Canceled)))
		foreign := db.View(admitted(t, key.Live, nil, authntest.In("globex", "610be000-0000-4000-8000-000000000000")))
		is := func(reason string, all, own, ofProfile int, want ...string) {
			t.Helper()
			late, err := w.Overdue(t.Context(), then, 10)
			if diff := cmp.Diff(want, idsOf(late)); diff != "" || err != nil {
				t.Errorf("%s: reminded of, %v (-want +got):\n%s", reason, err, diff)
			}
			if n, err := w.CountOverdue(t.Context(), then, 100); n != all || err != nil {
				t.Errorf("%s: of all are %d overdue, want %d, %v", reason, n, all, err)
			}
			for _, of := range []struct {
				view *store.View
				want int
			}{{v, own}, {v.Within(profile), ofProfile}, {foreign, 0}} {
				if n, err := of.view.CountOverdue(t.Context(), then); n != (store.Count{N: of.want}) || err != nil {
					t.Errorf("%s: %+v are overdue, want %d, %v", reason, n, of.want, err)
				}
			}
		}
		is("nobody at work", 3, 3, 2, second.ID, first.ID)
		if n, err := w.CountOverdue(t.Context(), then, 2); n != 2 || err != nil {
			t.Errorf("counted up to 2: %d, %v", n, err)
		}
		if late, err := w.Overdue(t.Context(), then, 1); !slices.Equal(idsOf(late), []string{second.ID}) || err != nil {
			t.Errorf("one reminder: %v, %v", late, err)
		}

		_, try, err := w.Start(t.Context(), behind.ID)
		if err != nil || try.PostID != first.ID {
			t.Fatalf("%+v %v", try, err)
		}
		is("one on its way", 2, 2, 1, second.ID)
		until := func(at time.Time) {
			t.Helper()
			held := store.Outcome{Attempt: try.Attempt, Failure: &failure, Again: at}
			if err := w.Finish(t.Context(), []store.Outcome{held}); err != nil {
				t.Fatal(err)
			}
		}
		until(now.Add(time.Hour))
		is("one that is held, and one behind it", 1, 1, 0, second.ID)

		// One that comes back from its way when its account is gone is nobody's but its own.
		back := post(going, publishing)
		attempt := add(t, v, back)[0]
		write(t, v, func(tx *store.Tx) error { return tx.DeleteAccount(going.ID) })
		try.Attempt = attempt
		until(now.Add(-2 * time.Minute))
		then = now.Add(time.Minute) // it was due when it was added
		is("one without an account", 3, 2, 0, second.ID, back.ID)
	})
}

func idsOf(posts []store.Unattended) (ids []string) {
	for _, u := range posts {
		ids = append(ids, u.PostID)
	}
	return ids
}

// TestOverdueTakeTurns: however many accounts of an organization are late, and for however long, those of another one
// are found after one of them each.
func TestOverdueTakeTurns(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		many := viewOf(t, db)
		few := db.View(admitted(t, key.Live, nil, authntest.In("globex", "610be000-0000-4000-8000-000000000000")))
		late := func(v *store.View, minutes int) string {
			p := post(put(t, v, account("")), func(p *store.Post) { p.ScheduledAt = now.Add(-time.Duration(minutes) * time.Minute) })
			add(t, v, p)
			return p.ID
		}
		var theirs []string
		for i := range 10 {
			theirs = append(theirs, late(many, 60-i))
		}
		first, second := late(few, 12), late(few, 11)
		found, err := db.Work().Overdue(t.Context(), now.Add(-10*time.Minute), 5)
		want := []string{theirs[0], first, theirs[1], second, theirs[2]}
		if err != nil || !slices.Equal(idsOf(found), want) {
			t.Fatalf("found are %v, %v, want %v", found, err, want)
		}
		if o := found[1].Organization; o != "610be000-0000-4000-8000-000000000000" {
			t.Errorf("it takes the turn of %q", o)
		}
	})
}

// TestOneAccountsBacklogCostsLittle: many late posts that wait behind a held one are not looked at one by one, and many
// that nothing keeps are not counted to the end.
func TestOneAccountsBacklogCostsLittle(t *testing.T) {
	const posts, most = 20_000, 3_000 // rows
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v, w := viewOf(t, db), db.Work()
		held, free := put(t, v, account("")), put(t, v, account(""))
		for range 20 {
			add(t, v, post(put(t, v, account(""))))
		}
		late := func(p *store.Post) { p.ScheduledAt = now.Add(-time.Hour) }
		first, other := post(held, late), post(free, late)
		add(t, v, first, other)
		for _, of := range []store.Post{first, other} {
			copies(t, db, of.ID, posts)
		}
		_, try, err := w.Start(t.Context(), first.ID)
		if err == nil {
			err = w.Finish(t.Context(), []store.Outcome{{Attempt: try.Attempt, Failure: &failure, Again: now.Add(time.Hour)}})
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Handle(db).ExecContext(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
		then := now.Add(-time.Minute)
		if late, err := w.Overdue(t.Context(), then, 100); !slices.Equal(idsOf(late), []string{other.ID}) || err != nil {
			t.Errorf("overdue are %v, %v", late, err)
		}
		if n, err := w.CountOverdue(t.Context(), then, 100); n != 100 || err != nil {
			t.Errorf("%d are overdue, %v", n, err)
		}
		if n, err := v.CountOverdue(t.Context(), then); n != (store.Count{N: store.MostCounted, More: true}) || err != nil {
			t.Errorf("%+v are overdue, %v", n, err)
		}
		plans, err := v.OverduePlans(t.Context(), then, 100)
		if err != nil {
			t.Fatal(err)
		}
		for name, plan := range plans {
			for line := range strings.Lines(plan) {
				if n := looksAt(t, line); n > most {
					t.Errorf("%s: at least %d rows are looked at by %sof\n%s", name, n, line, plan)
				}
			}
		}
	})
}

// passes are the numbers of a step of PostgreSQL's plan that it has run.
var passes = regexp.MustCompile(`rows=([\d.]+) loops=(\d+)|Rows Removed by .*: (\d+)`)

// looksAt is how many rows a step of a plan has looked at. SQLite only says by what it goes: a step of posts that is
// neither of one nor of an account is of all of them.
func looksAt(t *testing.T, line string) int {
	t.Helper()
	if m := passes.FindStringSubmatch(line); m != nil {
		n, err := strconv.ParseFloat(m[1]+m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		if loops, err := strconv.Atoi(m[2]); err == nil {
			n *= float64(loops)
		}
		return int(n)
	}
	step, is := regexp.MustCompile(`^(SCAN|SEARCH) [np]\b(.*)`), false
	m := step.FindStringSubmatch(line)
	for _, by := range []string{"posts_pending_by_account (account_id", "(id=?)"} {
		is = is || m != nil && strings.Contains(m[2], by)
	}
	if m != nil && !is {
		return 1 << 30
	}
	return 0
}

// copies adds as many copies of a queued post.
func copies(t *testing.T, db *store.DB, id string, n int) {
	t.Helper()
	rows, err := store.Handle(db).QueryContext(t.Context(), "SELECT * FROM posts LIMIT 0")
	if err != nil {
		t.Fatal(err)
	}
	columns, err := rows.Columns()
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	values := slices.Clone(columns)
	for i, c := range columns {
		values[i] = "p." + c
		if c == "id" {
			values[i] = "p.id || '-' || n.i"
		}
	}
	_, err = store.Handle(db).ExecContext(t.Context(), fmt.Sprintf(`INSERT INTO posts (%s)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
SELECT %s FROM posts AS p, n WHERE p.id = '%s'`, strings.Join(columns, ", "), n, strings.Join(values, ", "), id))
	if err != nil {
		t.Fatal(err)
	}
}
