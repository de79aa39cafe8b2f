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

// What callers branch on. Errors of the database itself wrap ErrUnavailable if it can't be reached or can't write now
// (its disk is full, it is read-only, locked for too long): nothing of the call was done, and it may be tried again.
// Only where the connection breaks, or time is up, during a commit it is not known whether that was done: View.Write
// and View.Claim say more. Which of them a caller is shown, and with what status, is said where the contract is:
// package endpoint for most, package httpapi and package posting.
var (
	ErrUnavailable = errors.New("the database is not available")
	// ErrBusy is an ErrUnavailable that is the caller's own doing: its organization has taken all its places.
	ErrBusy = fmt.Errorf("%w: too many calls of the organization are under way", ErrUnavailable)
	// ErrNotFound says no more than that: whether another organization has such a thing is nobody's business.
	ErrNotFound = errors.New("there is no such thing that the caller reaches")
	// ErrState says that the thing is there and not in a state in which this can be done to it.
	ErrState = errors.New("the state does not allow it")
	// ErrMediaGone is an ErrState: a file that the thing needs has been deleted.
	ErrMediaGone = fmt.Errorf("%w: a media file of it is gone", ErrState)
	// ErrClaimLost says that another process has taken a claim over, because this one seemed dead.
	ErrClaimLost = errors.New("the claim was taken over")
	// ErrMismatch says that an idempotency key was used before with another body.
	ErrMismatch = errors.New("the idempotency key was used with another body")
	// ErrInProgress says that a request with this idempotency key is running.
	ErrInProgress = errors.New("a request with the idempotency key is running")
)

// explain makes of an error of the database what callers branch on: it wraps ErrUnavailable if the database can't be
// reached or can't do it now, and what ended ctx if that is why. That a caller has hung up is no outage, and stays
// context.Canceled. That time is up is one, whoever set it.
func explain(ctx context.Context, err error) error {
	switch {
	case err == nil || errors.Is(err, ErrUnavailable):
		return err
	case ctx.Err() != nil && interrupted(err):
		// Drivers do not say why they were interrupted, and callers tell a request that has gone from a database that has.
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded), unavailable(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// interrupted tells whether an error may be what a statement says whose context has ended. It is asked only when the
// context has ended, so what it takes for an interruption by mistake is still explained by that. 57014 is
// query_canceled, which pgx's cancel request and statement_timeout both lead to.
func interrupted(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		// The driver of SQLite calls sqlite3_interrupt when the context of a statement ends.
		return primary(lite) == sqlite3.SQLITE_INTERRUPT
	}
	var pg *pgconn.PgError
	return errors.Is(err, sql.ErrTxDone) || errors.Is(err, driver.ErrBadConn) || errors.As(err, &pg) && pg.Code == "57014"
}

// unavailable tells whether an error says that the database can't be reached, or can't do it now. It lists what does
// so, and not what does not: an error that nobody has thought of is a mistake of ours and must show as one.
func unavailable(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return slices.Contains([]int{
			sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
			sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM,
		}, primary(lite))
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pgUnavailable(pg.Code)
	}
	// No answer of a server at all: it was not reached, or the connection broke. The two strings are errors that
	// database/sql and pgx do not export.
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		strings.Contains(err.Error(), "sql: database is closed") || strings.Contains(err.Error(), "conn closed")
}

// pgUnavailable tells it of a code of PostgreSQL (its manual, appendix A).
func pgUnavailable(code string) bool {
	switch code[:min(2, len(code))] {
	case "08", // connection exceptions
		"28", "3D", // the login is refused, or the database is not there: an administrator's matter, like an outage
		"40", // serialization failures and deadlocks, after all retries
		"53", // no disk space, memory or connections left
		"57", // shutting down, starting up, statements timed out
		"58": // errors of the system
		return true
	}
	switch code {
	case "55P03", // lock not available
		"25006", // read-only
		"25P03": // idle too long in a transaction
		return true
	}
	return false
}

// InDoubt tells whether what was to be committed may be there in spite of an error of View.Write.
func InDoubt(err error) bool { return errors.Is(err, ErrUnavailable) && !notDone(err) }

// notDone tells whether an error of a statement, or of a transaction, says that nothing of it was done and never will
// be: that the database was not asked, or has answered so. If it does not, nobody knows. It is narrower than
// unavailable: an I/O error, a broken connection or a time that is up may come after the commit has reached the disk.
func notDone(err error) bool {
	if errors.Is(err, ErrBusy) || errors.Is(err, errNotYet) { // the database was not asked
		return true
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return slices.Contains([]int{
			sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
		}, primary(lite))
	}
	if errors.As(err, new(*pgconn.ConnectError)) {
		return true
	}
	// A connection that was found closed has been sent nothing, and pgx says so. But in pgx v5.12 this is also the error
	// of one that broke while the answer to a commit was awaited: it looks ahead (MultiResultReader.NextResult), drops
	// what that said, and then finds the connection closed.
	if errors.Is(err, pgconn.ErrConnClosed) {
		return false
	}
	if pgconn.SafeToRetry(err) {
		return true
	}
	// An ERROR has undone the transaction. What says FATAL or PANIC is the end of the connection, or of the server, and
	// may come after a commit.
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR"
}

// conflicted tells whether a transaction was not done because of another one, and may be by another try. 40001 is
// serialization_failure and 40P01 deadlock_detected, of which PostgreSQL's manual says that the application is to run
// the whole transaction again. A commit that turned out to be a rollback did nothing either.
func conflicted(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return primary(lite) == sqlite3.SQLITE_BUSY
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01") || errors.Is(err, pgx.ErrTxCommitRollback)
}

// primary is the kind of an error of SQLite, without the details in the higher bits.
func primary(err *sqlite.Error) int { return err.Code() & 0xff }
