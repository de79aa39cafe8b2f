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
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

const (
	busyTimeout    = 5 * time.Second // for another process to be done with the file
	connectTimeout = 5 * time.Second
	pgConnections  = 16
	poolSize       = "pool_max_conns" // in the URL of PostgreSQL, as pgx's own pool has it; instead of pgConnections
	minConnections = 4                // a migration has two, beside the queue's
)

// pool is connections, and the statements that are prepared on them: those whose text is fixed. Texts that depend on
// the arguments can be any number, of the callers' choice.
type pool struct {
	*sql.DB
	prepares bool // pgx does so by itself, for each connection

	mu         sync.Mutex
	statements map[string]*sql.Stmt
	missing    []string // were run in a transaction, where they could not be prepared for the pool
}

// newPool keeps as many connections idle as there may be: each has statements prepared on it, which are lost with it.
func newPool(db *sql.DB, connections int, prepares bool) *pool {
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return &pool{DB: db, prepares: prepares, statements: map[string]*sql.Stmt{}}
}

// openPools prepares the pools that write and that read, and tells the engine. They may be the same. The error never
// holds the URL, which has a password in it.
func openPools(address string) (writer, reader *pool, e Engine, err error) {
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		writer, reader, err = openSQLite(path)
		return writer, reader, SQLite, err
	}
	if strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://") {
		writer, err = openPostgres(address)
		return writer, writer, PostgreSQL, err
	}
	return nil, nil, "", errors.New("the URL of the database is neither sqlite:PATH nor postgres://…")
}

// openSQLite makes one connection that writes, as SQLite has but one writer at a time, and some that only read, which
// in WAL mode wait for nobody.
func openSQLite(path string) (writer, reader *pool, err error) {
	if path == "" || strings.Contains(path, ":memory:") || strings.Contains(path, "\x00") {
		return nil, nil, errors.New("sqlite: needs the path of a file")
	}
	// What people publish is not for everybody on the machine to read. SQLite gives the files beside it the same
	// permissions. If the file can't be made yet, SQLite makes it when it can.
	if f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_RDWR, 0o600); err == nil {
		_ = f.Close()
	}
	// A post that was accepted must survive a power cut: FULL, where WAL alone would do with NORMAL.
	pragmas := []string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)",
		"foreign_keys(1)", "journal_size_limit(67108864)",
	}
	name := "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.Clean(path))
	open := func(parameters url.Values) (*sql.DB, error) { return sql.Open("sqlite", name+"?"+parameters.Encode()) }
	// immediate: a transaction that begins by reading and writes later could find that somebody has written in between,
	// and no busy_timeout helps it then.
	w, err := open(url.Values{"_pragma": pragmas, "_txlock": {"immediate"}})
	if err != nil {
		return nil, nil, fmt.Errorf("open the SQLite file: %w", err)
	}
	r, err := open(url.Values{"_pragma": append(pragmas[:1:1], "query_only(1)")})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the SQLite file: %w", err), w.Close())
	}
	return newPool(w, 1, true), newPool(r, max(4, runtime.GOMAXPROCS(0)), true), nil
}

// openPostgres makes the connections to a server. None is opened before it is needed.
func openPostgres(address string) (*pool, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		// The parser's words may hold part of a password.
		return nil, errors.New("the URL of PostgreSQL is not well-formed")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "letmepost"
	}
	// pgx gives what it does not know to the server, which would refuse it.
	connections := pgConnections
	if text, ok := config.RuntimeParams[poolSize]; ok {
		delete(config.RuntimeParams, poolSize) // it is not the server's
		if connections, err = strconv.Atoi(text); err != nil || connections < minConnections {
			return nil, fmt.Errorf("the URL of PostgreSQL: %s is not a number from %d on", poolSize, minConnections)
		}
	}
	p := newPool(stdlib.OpenDB(*config), connections, false)
	p.SetConnMaxIdleTime(5 * time.Minute) // servers have few, and a quiet process need not keep them
	return p, nil
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
