// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package store keeps posts, media, accounts and idempotency records in SQL: SQLite in a file, or PostgreSQL.
//
// There are two ways in. A View is what one caller reaches, made of a caller.Caller: every statement of it filters by
// organization, environment and, for a caller who is confined to one, profile, so that a query without them does not
// exist. Work is the side of jobs, which belong to no caller; it never takes an id from one.
//
// Every statement has one text for both engines (statement.go), and both pass the same tests. How long rows are kept is
// in retention.go, who counts as dead in processes.go. run.go brings a database to where it can be used, tx.go runs
// statements and transactions, and errors.go says what came of them.
//
// In PostgreSQL, a transaction that locks several of the following does so in this order, so that nobody waits in a
// circle: the turn of those who connect accounts (disconnected.go), accounts, posts that are there already, media, each
// kind by its ids; and then the organization's row of usage, which is locked by whatever is counted (counted.go). In
// SQLite one transaction writes at a time.
package store

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
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
	// Quotas is what one organization may have of each resource; nil: as much as it likes.
	Quotas Amounts
	// Registerer takes the metrics of quotas. Optional.
	Registerer prometheus.Registerer
	// DeadAfter is how long a process may be silent until what it had begun counts as abandoned. Optional: 10 s.
	DeadAfter time.Duration
	// VaultKeys are the keys of the vault that this process knows, the one that seals first; other processes are told with
	// each heartbeat. Optional: none.
	VaultKeys func() []uint32
	// SyncFile returns when a file, or a folder, of SQLite's is on disk as it is. Optional: fsync. It is for tests, whose
	// disks fail.
	SyncFile func(path string) error
}

// DB is the database. Its methods can be used by any number of goroutines. Beside its connections it keeps nothing:
// what two processes have to agree on is in the database.
type DB struct {
	pools
	clock        clock.PassiveClock
	newID        func() string
	logger       *slog.Logger
	deadAfter    time.Duration
	lockPatience time.Duration // of a migration
	readWithin   time.Duration // of what a caller reads
	environment  key.Environment
	vaultKeys    func() []uint32
	quotas       Amounts
	quotaWatch   *quotaWatch
	processID    string // another one each time that the process starts: what an earlier one had begun is nobody's
	migrated     chan struct{}
	ready        atomic.Bool // migrated is closed
	readOnly     atomic.Bool // what the last heartbeat was told
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
		o.DeadAfter = defaultDeadAfter
	}
	if o.VaultKeys == nil {
		o.VaultKeys = func() []uint32 { return nil }
	}
	watch, err := newQuotaWatch(o)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	pools, err := openPools(o.URL)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if o.SyncFile != nil && pools.sync != nil {
		pools.sync.file = o.SyncFile
	}
	return &DB{
		pools: pools,
		clock: o.Clock, newID: o.NewID, logger: o.Logger, deadAfter: o.DeadAfter, lockPatience: lockPatience,
		environment: o.Environment, vaultKeys: o.VaultKeys, quotas: o.Quotas, quotaWatch: watch,
		readWithin: readTimeout,
		processID:  o.NewID(), migrated: make(chan struct{}),
	}, nil
}

// Migrated is closed once Run has migrated the database.
func (db *DB) Migrated() <-chan struct{} { return db.migrated }

// Writable tells whether the database takes writes, as far as the last heartbeat knows: false before it is migrated,
// and on a server that has become read-only, until new connections lead to one that is not. While the database is away,
// for every process alike, it stays what it was.
func (db *DB) Writable() bool { return db.ready.Load() && !db.readOnly.Load() }

// Close closes all connections. It comes after all that may still record something: what is begun on a closed database
// is ErrUnavailable.
func (db *DB) Close() error {
	return errors.Join(db.reader.Close(), db.writer.Close(), db.pulse.Close())
}

// Engine is a kind of database.
type Engine string

// The engines.
const (
	SQLite     Engine = "sqlite"
	PostgreSQL Engine = "postgresql"
)

// Work is the side of the database that jobs use. Its statements hold no scope: whose the rows are is not asked, so it
// is for what the server does by itself, and for nothing that a caller asks for.
type Work struct{ db *DB }

// Work returns it.
func (db *DB) Work() *Work { return &Work{db: db} }

// QueueDriver is what River works with in this database. With SQLite that is the one connection that writes: whoever
// holds it keeps every other writer of this process waiting.
func (db *DB) QueueDriver() riverdriver.Driver[*sql.Tx] { return queueDriver(db.engine, db.writer.DB) }

func queueDriver(e Engine, on *sql.DB) riverdriver.Driver[*sql.Tx] {
	if e == PostgreSQL {
		return riverdatabasesql.New(on)
	}
	return riversqlite.New(on)
}

// View is what one caller reaches of the database. It can be used by any number of goroutines.
type View struct {
	db *DB
	scope
}

// scope is which rows a caller reaches. Every row carries a real organization, so the zero value reaches none: to
// forget to admit somebody is to show them nothing.
type scope struct {
	organization, environment string
	profile                   string // "": all of them
	pinned                    bool   // the caller's own profile is all that they reach, and not what they have asked for
	actor                     string // caller.Actor.Ref, which is what the columns named key_id hold
}

// View returns what a caller reaches. The zero Caller reaches nothing.
func (db *DB) View(c *caller.Caller) *View {
	if c.Nobody() {
		return &View{db: db}
	}
	return &View{db: db, scope: scope{
		organization: c.Organization.ID,
		environment:  string(c.Environment),
		profile:      c.ProfileID(), pinned: c.ProfileID() != "",
		actor: c.Actor.Ref(),
	}}
}

// Actor is who the caller is, to tell them from others; "" for the zero Caller.
func (v *View) Actor() string { return v.actor }

// Within narrows a view to one profile. A view that is narrowed to two reaches nothing. To name the profile that a view
// is confined to already changes nothing.
func (v *View) Within(profileID string) *View {
	// An empty view rather than an error: what a caller may not reach looks like what is not there, and callers need no
	// case for it.
	if !isID(profileID) || !v.includes(profileID) {
		return &View{db: v.db}
	}
	narrow := *v
	narrow.profile = profileID
	return &narrow
}

// empty tells whether no row can be reached.
func (s scope) empty() bool { return s.organization == "" }

// includes tells whether a row of a profile would be reached. Statements that write a profile have no condition for it
// and are asked this first.
func (s scope) includes(profileID string) bool {
	return !s.empty() && (s.profile == "" || s.profile == profileID)
}
