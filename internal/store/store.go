// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package store keeps posts, media, accounts and idempotency records in SQL: SQLite in a file, or PostgreSQL.
//
// There are two ways in. A View is what one caller reaches, made of the caller's Identity: every statement of it
// filters by organization, environment and, for a pinned key, profile, so that a query without them does not exist.
// Work is the side of jobs, which belong to no caller; it never takes an id from one.
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// What callers branch on. Errors of the database itself wrap ErrUnavailable if it can't be reached or can't write now
// (its disk is full, it is read-only, locked for too long): nothing of the call was done, and it may be tried again.
// Only where the connection breaks, or time is up, during a commit it is not known whether that was done: View.Write
// and View.Claim say more.
var (
	ErrUnavailable = errors.New("the database is not available")
	ErrNotFound    = errors.New("there is no such thing that the caller reaches")
	// ErrState says that the thing is there and not in a state in which this can be done to it.
	ErrState = errors.New("the state does not allow it")
	// ErrClaimLost says that another process has taken a claim over, because this one seemed dead.
	ErrClaimLost = errors.New("the claim was taken over")
	// ErrMismatch says that an idempotency key was used before with another body.
	ErrMismatch = errors.New("the idempotency key was used with another body")
	// ErrInProgress says that a request with this idempotency key is running.
	ErrInProgress = errors.New("a request with the idempotency key is running")
)

// Options say what to open. All are required except where they say otherwise.
type Options struct {
	// URL is "sqlite:PATH", a file that is made if it is missing, or "postgres://…" as libpq has it, and with
	// pool_max_conns, the most connections of this process: 4 or more, 16 without it.
	URL    string
	Clock  clock.PassiveClock
	NewID  func() string // a UUIDv7
	Logger *slog.Logger
	// Environment that the database belongs to, from the first time on that it is given: with a database for both, the
	// processes of one would publish what the other has scheduled. Another one is never let in. Optional: it is not looked
	// at.
	Environment key.Environment
	// DeadAfter is how long a process may be silent until what it had begun counts as abandoned. Optional: 10 s.
	DeadAfter time.Duration
}

// DB is the database. Its methods can be used by any number of goroutines.
type DB struct {
	engine         Engine
	writer, reader *pool // the same for PostgreSQL
	clock          clock.PassiveClock
	newID          func() string
	logger         *slog.Logger
	deadAfter      time.Duration
	environment    key.Environment
	processID      string
	migrated       chan struct{}
	ready          atomic.Bool // migrated is closed
}

// Open prepares a database, and talks to none yet: until Run has reached it and migrated it, every call fails with
// ErrUnavailable. The error says what is wrong with the options.
func Open(o Options) (*DB, error) {
	switch {
	case o.Clock == nil || o.NewID == nil || o.Logger == nil:
		return nil, errors.New("open the database: Clock, NewID and Logger are required")
	case o.DeadAfter < 0:
		return nil, errors.New("open the database: DeadAfter is negative")
	case o.DeadAfter == 0:
		o.DeadAfter = 10 * time.Second
	}
	writer, reader, engine, err := openPools(o.URL)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return &DB{
		engine: engine, writer: writer, reader: reader,
		clock: o.Clock, newID: o.NewID, logger: o.Logger, deadAfter: o.DeadAfter,
		environment: o.Environment,
		processID:   o.NewID(), migrated: make(chan struct{}),
	}, nil
}

// Migrated is closed once Run has migrated the database.
func (db *DB) Migrated() <-chan struct{} { return db.migrated }

// Close closes all connections.
func (db *DB) Close() error { return errors.Join(db.reader.Close(), db.writer.Close()) }

// Engine is a kind of database.
type Engine string

// The engines.
const (
	SQLite     Engine = "sqlite"
	PostgreSQL Engine = "postgresql"
)

// View is what one caller reaches of the database.
type View struct {
	db *DB
	reach
}

// View returns what a caller reaches. The zero Caller reaches nothing.
func (db *DB) View(c *caller.Caller) *View {
	if c.Nobody() {
		return &View{db: db}
	}
	return &View{db: db, reach: reach{
		organization: c.Organization.ID,
		environment:  string(c.Environment),
		profile:      c.ProfileID(),
		actor:        c.Actor.Ref(),
	}}
}

// Within narrows a view to one profile. A view that is narrowed to two reaches nothing.
func (v *View) Within(profileID string) *View {
	if !isID(profileID) || !v.reaches(profileID) {
		return &View{db: v.db}
	}
	narrow := *v
	narrow.profile = profileID
	return &narrow
}

// Position is where a row stands in a listing: newest first, then by descending id. The zero Position is before the
// first.
type Position struct {
	At time.Time // to the microsecond
	ID string
}

// Page asks for part of a listing.
type Page struct {
	After Position
	Limit int
}

// Work is the side of the database that jobs use.
type Work struct{ db *DB }

// Work returns it.
func (db *DB) Work() *Work { return &Work{db: db} }
