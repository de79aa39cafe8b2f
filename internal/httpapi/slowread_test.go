// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"database/sql"
	"net/http"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/letmepost/letmepost-operator/test/postgres"
)

// Whoever reads what the database does not come to is told so in time, and when to try again. What needs something else
// of it is answered meanwhile.
func TestASlowReadIsAnswered(t *testing.T) {
	url := postgres.Start(t)
	f := newFixture(t, nil, func(c *parts) { publishing(t, c, url) })
	key := f.newKey(t)
	f.schedule(t, key, f.connect(t, key), "")
	db, err := sql.Open("pgx", url)
	check(t, err)
	defer db.Close()
	hold, err := db.Begin()
	check(t, err)
	_, err = hold.ExecContext(t.Context(), "LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
	check(t, err)
	answered := make(chan response, 1)
	go func() { answered <- seen(t, f.do(http.MethodGet, "/v1/posts", key)) }()
	meanwhile := 0
	for running := true; running; {
		select {
		case a := <-answered:
			running = false
			if a.Status != http.StatusServiceUnavailable || a.Headers.Get("Retry-After") == "" {
				t.Errorf("it was slow: %+v", a)
			}
		default:
			f.get(t, "/v1/accounts", f.newKey(t, globex))
			meanwhile++
		}
	}
	if meanwhile < 10 {
		t.Errorf("%d reads of others went on meanwhile", meanwhile)
	}
	check(t, hold.Rollback())
	f.get(t, "/v1/posts", key)
}
