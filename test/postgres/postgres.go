// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package postgres runs a real PostgreSQL for tests: the one whose address is in LMP_TEST_POSTGRES_URL, or else one of
// its own, from the programs on PATH or of Debian's packages. It never skips: without one, the test fails and says what
// to do.
package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// AddressEnv names a server that is running, by a postgres:// URL of a user who may create databases.
const AddressEnv = "LMP_TEST_POSTGRES_URL"

// bound is generous: on a loaded machine with two cores a start takes some seconds.
const bound = time.Minute

// shared is the server of a test binary.
var shared struct {
	sync.Mutex
	address string
	err     error
}

// databases counts those that were made, so that each has a name of its own.
var databases atomic.Int64

// Start returns the URL of a new, empty database, on a server that all tests of the binary share. The database goes
// away with the test, the server with the process.
func Start(t testing.TB) string {
	t.Helper()
	return StartWith(t, "")
}

// StartWith is Start for a database that is made in another way: options are those of CREATE DATABASE.
func StartWith(t testing.TB, options string) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.address == "" && shared.err == nil {
		if shared.address = os.Getenv(AddressEnv); shared.address == "" {
			var server *Server
			if server, shared.err = newServer(loopback, ""); shared.err == nil {
				shared.address = server.Address
			}
		}
	}
	if shared.err != nil {
		t.Fatalf("start PostgreSQL: %v", shared.err)
	}
	return database(t, shared.address, options)
}

// database makes a database on a server, and removes it when the test ends.
func database(t testing.TB, address, options string) string {
	t.Helper()
	name := fmt.Sprintf("letmepost_test_%d_%d", os.Getpid(), databases.Add(1))
	admin, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal("the URL of PostgreSQL is not well-formed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name+" "+options); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		defer admin.Close()
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if _, err := admin.ExecContext(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the database: %v", err)
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal("the URL of PostgreSQL is not well-formed")
	}
	u.Path = "/" + name
	return u.String()
}
