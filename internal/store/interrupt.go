// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql/driver"
	"reflect"
	"sync"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// The driver of SQLite interrupts a query whose context ends until its first row is there, and not after it. Whoever
// lists what is seldom found could then keep a connection, and a processor, for as long as there are rows to look at.
// So the connections that read have their rows watched here.
//
// It takes the connection's handle, which the driver keeps for itself. Should a later version of it name that
// otherwise, rows are ended as the driver does, and TestSlowReadsAreEnded fails.

// interruptible opens connections whose rows end with their context.
type interruptible struct{ driver.Connector }

func (i interruptible) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := i.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	known, ok := c.(liteConn)
	handle := reflect.Indirect(reflect.ValueOf(c)).FieldByName("db")
	if !ok || !handle.IsValid() || handle.Kind() != reflect.Uintptr {
		return c, nil
	}
	return &watchedConn{known, uintptr(handle.Uint())}, nil
}

// liteConn and liteStmt are what the driver's connections and statements do, as far as package sql asks for it. It
// asks by type assertion: what is missing here would be as if the driver could not do it, and nobody would be told.
type (
	liteConn interface {
		driver.Conn
		driver.ConnBeginTx
		driver.ConnPrepareContext
		driver.ExecerContext
		driver.QueryerContext
		driver.Pinger
		driver.SessionResetter
		driver.Validator
	}
	liteStmt interface {
		driver.Stmt
		driver.StmtExecContext
		driver.StmtQueryContext
	}
)

type watchedConn struct {
	liteConn
	handle uintptr // of sqlite3
}

func (c *watchedConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.liteConn.QueryContext(ctx, text, args)
	return watch(ctx, rows, err, c.handle)
}

func (c *watchedConn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	stmt, err := c.liteConn.PrepareContext(ctx, text)
	if known, ok := stmt.(liteStmt); ok {
		return &watchedStmt{known, c.handle}, err
	}
	return stmt, err
}

type watchedStmt struct {
	liteStmt
	handle uintptr
}

func (s *watchedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.liteStmt.QueryContext(ctx, args)
	return watch(ctx, rows, err, s.handle)
}

// watchedRows are interrupted when their context ends, unless they are closed by then: what the connection does next is
// none of theirs.
type watchedRows struct {
	driver.Rows
	stop func() bool

	mu     sync.Mutex
	closed bool
}

// watch has rows interrupted when ctx ends. An interruption ends whatever runs on the connection, so the call must
// not come late: it is made with mu held, and only while the rows are open. It comes from a goroutine of its own,
// so Close takes the same lock.
func watch(ctx context.Context, rows driver.Rows, err error, handle uintptr) (driver.Rows, error) {
	if err != nil {
		return rows, err
	}
	w := &watchedRows{Rows: rows}
	w.stop = context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.closed {
			tls := libc.NewTLS() // the connection's is for the goroutine that reads
			defer tls.Close()
			sqlite3.Xsqlite3_interrupt(tls, handle)
		}
	})
	return w, nil
}

// Close ends the watch first: package sql closes rows before it gives their connection to anybody else.
func (w *watchedRows) Close() error {
	w.stop()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	return w.Rows.Close()
}
