// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
)

// Shorter than callTimeout, so that there is time for another try.
const busyTimeout = 5 * time.Second // for another process to be done with the file

const readOnlyPragma = "query_only(1)" // of connections that only read

// pool is connections, and the statements that are prepared on them: those whose text is fixed. Texts that depend on
// the arguments can be any number, of the callers' choice.
type pool struct {
	*sql.DB
	prepares bool // pgx does so by itself, for each connection

	mu         sync.Mutex // of what follows; not held while the database prepares
	statements map[string]*sql.Stmt
	missing    []string // were run in a transaction, where they could not be prepared for the pool
}

// newPool keeps as many connections idle as there may be: each has statements prepared on it, which are lost with it.
func newPool(db *sql.DB, connections int, prepares bool) *pool {
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return &pool{DB: db, prepares: prepares, statements: map[string]*sql.Stmt{}}
}

// pools is the connections of a DB.
type pools struct {
	engine         Engine
	writer, reader *pool // the same for PostgreSQL
	// pulse is one connection for the heartbeat alone: others must not take this process for dead because its own callers
	// keep all connections busy.
	pulse *pool
	// What one organization may have of the reader and of the writer at a time. They are counted apart, so that a
	// transaction may read: nobody who holds a place waits for one of the same kind.
	reads, writes *shares
	renewal       *renewal // of PostgreSQL's connections; never of SQLite's
	// migrator opens connections for a migration, which may take as long as it likes. Nil: the writer does it.
	migrator func() *sql.DB
	sync     *sqliteSync // nil: a commit itself waits until it lasts
	// suitable says why this can't be the database. Nil: it always can.
	suitable func(context.Context) error
}

// openPools prepares the connections. The error never holds the URL, which has a password in it.
func openPools(address string) (pools, error) {
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return openSQLite(path)
	}
	if strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://") {
		return openPostgres(address)
	}
	return pools{}, errors.New("the URL of the database is neither sqlite:PATH nor postgres://…")
}

// openSQLite makes one connection that writes, as SQLite has but one writer at a time, some that only read, which in
// WAL mode wait for nobody, and one for the heartbeat, which waits for a transaction at most and not for a line of
// them.
func openSQLite(path string) (pools, error) {
	if path == "" || strings.Contains(path, ":memory:") || strings.Contains(path, "\x00") {
		return pools{}, errors.New("sqlite: needs the path of a file")
	}
	// What people publish is not for everybody on the machine to read. SQLite gives the files beside it the same
	// permissions. If the file can't be made yet, SQLite makes it when it can.
	if f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_RDWR, 0o600); err == nil {
		_ = f.Close()
	}
	name := "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.Clean(path))
	var wrong error
	open := func(connections int, prepares bool, parameters url.Values, pragmas ...string) *pool {
		parameters["_pragma"] = append(pragmas, fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()))
		connector, err := sqlite.NewConnector(name + "?" + parameters.Encode())
		wrong = errors.Join(wrong, err)
		if slices.Contains(pragmas, readOnlyPragma) { // what writes is bounded by what it is given to write
			connector = interruptible{connector}
		}
		return newPool(sql.OpenDB(connector), connections, prepares)
	}
	// One connection's asking for WAL is enough, as the file itself keeps that. Foreign keys are checked for none that has
	// not asked. After a burst of writes, the log is cut back to 64 MiB.
	readers := max(4, runtime.GOMAXPROCS(0))
	p := pools{
		engine: SQLite,
		// A post that was accepted must survive a power cut, which NORMAL does not wait for: sync does.
		// immediate: a transaction that begins by reading and writes later could find that somebody has written in between,
		// and no busy_timeout helps it then.
		writer: open(1, true, url.Values{"_txlock": {"immediate"}},
			"journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)", "journal_size_limit(67108864)"),
		reader: open(readers, true, url.Values{}, readOnlyPragma),
		pulse:  open(1, false, url.Values{}, "synchronous(NORMAL)"),
		reads:  newShares(readers / 2),
		// One that writes and one that is next: others wait for two of an organization's, however many it sends.
		writes:  newShares(2),
		renewal: &renewal{},
		sync:    newSQLiteSync(filepath.Clean(path)),
	}
	return p, wrong
}

// prepared returns a statement that is prepared on the pool; nil if it is to be run as text.
func (p *pool) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	if !p.prepares || !fixed()[text] {
		return nil, nil
	}
	p.mu.Lock()
	stmt := p.statements[text]
	p.mu.Unlock()
	if stmt != nil {
		return stmt, nil
	}
	stmt, err := p.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	// Somebody else may have prepared it meanwhile: the lock was not held for as long as the database took.
	p.mu.Lock()
	// Both have prepared the same text, so it does not matter whose is kept; the other is closed, as the engine would hold
	// it for ever.
	other := p.statements[text]
	if other == nil {
		p.statements[text] = stmt
	}
	p.mu.Unlock()
	if other != nil {
		return other, stmt.Close()
	}
	return stmt, nil
}

// preparedInTx is prepared for a transaction: that holds a connection, perhaps the only one, so it can't wait for
// another. What is missing is noted for prepareMissing.
func (p *pool) preparedInTx(text string) *sql.Stmt {
	if !p.prepares || !fixed()[text] {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	stmt := p.statements[text]
	if stmt == nil && !slices.Contains(p.missing, text) {
		p.missing = append(p.missing, text)
	}
	return stmt
}

// prepareMissing prepares what transactions had to do without.
func (p *pool) prepareMissing(ctx context.Context) error {
	if !p.prepares {
		return nil
	}
	p.mu.Lock()
	missing := p.missing
	p.missing = nil
	p.mu.Unlock()
	for _, text := range missing {
		if _, err := p.prepared(ctx, text); err != nil {
			return err
		}
	}
	return nil
}
