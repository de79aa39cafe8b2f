// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
)

// queueTenThousand queues as many posts for twenty accounts of an organization. The first of each account is queued as
// always. The others are copies of its rows, which take a second where transactions would take half a minute.
func (p *process) queueTenThousand(t *testing.T, databaseURL string, id *caller.Caller, text string) {
	t.Helper()
	const accounts, each = 20, 500
	for i := range accounts {
		account := connectAs(t, p.db.View(id), fmt.Sprint("did:test:", i))
		first := draft(id, account, time.Time{}, text)
		p.add(t, id, first)
		p.copyPost(t, databaseURL, first[0].ID, 100_000+i*each, each-1)
	}
	for _, of := range []string{"river_job WHERE state = 'available'", "posts WHERE status = 'queued'"} {
		if n := p.count(t, "SELECT COUNT(*) FROM "+of); n != accounts*each {
			t.Fatalf("%d of ten thousand in %s", n, of)
		}
	}
}

// copyPost copies a queued post and its job. The ids of the copies end in numbers of six digits, from one on.
func (p *process) copyPost(t *testing.T, databaseURL, id string, from, copies int) {
	t.Helper()
	numbers := fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) ",
		from, from+copies-1)
	copyID := fmt.Sprintf("'%s' || n.i", id[:len(id)-6])
	into, values := p.columns(t, "posts", map[string]string{"id": copyID})
	p.exec(t, numbers+"INSERT INTO posts ("+into+") SELECT "+values+" FROM posts AS x, n WHERE x.id = '"+id+"'")

	args := "json_set(x.args, '$.postId', " + copyID + ")"
	if strings.HasPrefix(databaseURL, "postgres") {
		args = "jsonb_set(x.args, '{postId}', to_jsonb(" + copyID + "))"
	}
	into, values = p.columns(t, "river_job", map[string]string{
		"id": "", "unique_key": "", "args": args,
		// As Enqueue gives them: of each organization, the first go before what others have much of.
		"priority": "CASE WHEN n.i <= 100250 THEN 2 WHEN n.i <= 102500 THEN 3 ELSE 4 END",
	})
	p.exec(t, numbers+"INSERT INTO river_job ("+into+") SELECT "+values+
		" FROM river_job AS x, n WHERE x.id = (SELECT MAX(id) FROM river_job)")
}

// columns lists the columns of a table, and what a copy of its row x has in them. Those that are changed to nothing are
// left out.
func (p *process) columns(t *testing.T, table string, changed map[string]string) (into, values string) {
	t.Helper()
	rows, err := p.direct.QueryContext(t.Context(), "SELECT * FROM "+table+" LIMIT 0")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil || rows.Err() != nil {
		t.Fatal(err, rows.Err())
	}
	var taken, of []string
	for _, name := range names {
		value, other := changed[name]
		switch {
		case !other:
			value = "x." + name
		case value == "":
			continue
		}
		taken, of = append(taken, name), append(of, value)
	}
	return strings.Join(taken, ", "), strings.Join(of, ", ")
}
