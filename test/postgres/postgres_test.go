// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"database/sql"
	"testing"

	"github.com/letmepost/letmepost-operator/test/postgres"
)

func open(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestStartGivesEmptyDatabases(t *testing.T) {
	for range 2 {
		if _, err := open(t, postgres.Start(t)).ExecContext(t.Context(), "CREATE TABLE single (id TEXT)"); err != nil {
			t.Error(err)
		}
	}
}

func TestServerStopsAndComesBackWithItsData(t *testing.T) {
	s := postgres.StartServer(t)
	db := open(t, s.Address)
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE kept (id TEXT)"); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	if err := db.PingContext(t.Context()); err == nil {
		t.Fatal("it answers, though it was stopped")
	}
	s.Start(t)
	if _, err := db.ExecContext(t.Context(), "INSERT INTO kept VALUES ('a')"); err != nil {
		t.Fatal(err)
	}
}
