// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// explain makes of an error of the database what callers branch on: it wraps ErrUnavailable if the database can't be
// reached or can't do it now, and what ended ctx if that is why.
func explain(ctx context.Context, err error) error {
	switch {
	case err == nil || errors.Is(err, ErrUnavailable):
		return err
	case ctx.Err() != nil && interrupted(err):
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded), away(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// interrupted tells whether an error may be what a statement says whose context has ended.
func interrupted(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return primary(lite) == sqlite3.SQLITE_INTERRUPT
	}
	var pg *pgconn.PgError
	return errors.Is(err, sql.ErrTxDone) || errors.Is(err, driver.ErrBadConn) || errors.As(err, &pg) && pg.Code == "57014"
}

// away tells whether an error says that the database can't be reached, or can't do it now.
func away(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return slices.Contains([]int{
			sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
			sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM,
		}, primary(lite))
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pgAway(pg.Code)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		strings.Contains(err.Error(), "sql: database is closed") || strings.Contains(err.Error(), "conn closed")
}

// pgAway tells it of a code of PostgreSQL (its manual, appendix A).
func pgAway(code string) bool {
	switch code[:min(2, len(code))] {
	case "08", // connection exceptions
		"28", "3D", // the login is refused, or the database is not there: an administrator's matter, like an outage
		"40", // serialization failures and deadlocks, after all retries
		"53", // no disk space, memory or connections left
		"57", // shutting down, starting up, statements timed out
		"58": // errors of the system
		return true
	}
	return code == "55P03" /* lock not available */ || code == "25006" /* read-only */ ||
		code == "25P03" /* idle too long */
}

// undone tells whether an error of a statement, or of a transaction, says that nothing of it was done and never will
// be: that the database was not asked, or has answered so. If it does not, nobody knows.
func undone(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return slices.Contains([]int{
			sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
		}, primary(lite))
	}
	if errors.As(err, new(*pgconn.ConnectError)) || pgconn.SafeToRetry(err) {
		return true
	}
	// An ERROR has undone the transaction. What says FATAL or PANIC is the end of the connection, or of the server, and
	// may come after a commit.
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR"
}

// again tells whether a transaction that ended like this was not done, and may be by another try.
func again(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return primary(lite) == sqlite3.SQLITE_BUSY
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01") || errors.Is(err, pgx.ErrTxCommitRollback)
}

// primary is the kind of an error of SQLite, without the details in the higher bits.
func primary(err *sqlite.Error) int { return err.Code() & 0xff }
