// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/letmepost/letmepost-operator/internal/tracing"
)

const (
	// callTimeout bounds every call, so that a server that is gone without a word holds nobody for long.
	callTimeout = 15 * time.Second
	// readTimeout bounds what a caller's read takes in the database. Each is found by an index and bounded in what it
	// looks at, so what takes longer keeps a connection from others for nothing.
	readTimeout = 5 * time.Second
	// tries is how often a transaction is run that conflicts with others. After so many, the database is too busy, which
	// the caller is told as an outage.
	tries = 5
)

var errNotYet = fmt.Errorf("%w: it has not been reached yet", ErrUnavailable)

// Tx is a transaction of a View. It is for the goroutine that runs it, and for as long as that.
type Tx struct {
	view *View
	ctx  context.Context
	session
}

// Organization is whose view it is: what is sealed in the transaction is sealed as theirs.
func (tx *Tx) Organization() string { return tx.view.organization }

// SQL is the transaction itself, for the job queue: a post and its job are made together or not at all.
func (tx *Tx) SQL() *sql.Tx { return tx.tx }

// Write runs one transaction: all of what do does, or, if it returns an error, nothing. do may run more than once. It
// must not write by another way than its Tx: with SQLite, that would wait for itself.
//
// If a server goes away while it commits, the error is ErrUnavailable too, and whether it has committed is not known.
func (v *View) Write(ctx context.Context, do func(*Tx) error) error {
	return v.write(ctx, durable, do)
}

// WriteSoon is Write for what can be found out again: whether it lasts is not waited for. That takes a moment, so a
// power failure in this moment undoes it, and nothing else does. With PostgreSQL it is Write.
func (v *View) WriteSoon(ctx context.Context, do func(*Tx) error) error {
	return v.write(ctx, soonDurable, do)
}

func (v *View) write(ctx context.Context, d durability, do func(*Tx) error) error {
	if !v.db.ready.Load() {
		return errNotYet
	}
	leave, err := v.place(ctx)
	if err != nil {
		return explain(ctx, err)
	}
	defer leave()
	return v.db.transactAs(ctx, d, func(ctx context.Context, s session) error {
		return do(&Tx{view: v, ctx: ctx, session: s})
	})
}

// durability is what a transaction waits for when it is committed.
type durability bool

const (
	durable     durability = true  // until it lasts
	soonDurable durability = false // nothing; that it lasts is seen to at once
)

// transact runs a transaction, again if it conflicts with another, and returns when it lasts.
func (db *DB) transact(ctx context.Context, do func(context.Context, session) error) error {
	return db.transactAs(ctx, durable, do)
}

func (db *DB) transactAs(ctx context.Context, d durability, do func(context.Context, session) error) (err error) {
	if !db.ready.Load() {
		return errNotYet
	}
	// One limit for all tries together: whoever waits for this waits that long, and not that long for each of them.
	ctx, span := tracing.Child(ctx, "store transaction")
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer func() { db.endSpan(span, err) }()
	for range tries { // without a pause: of two that conflict, one has got through
		generation := db.renewal.generation.Load()
		// The generation is read before the try, so that a failure over connections that somebody has renewed meanwhile is
		// tried again and does not renew them once more.
		err = db.tryTransact(ctx, do)
		again := conflicted(err) || db.renewal.renewed(err, generation)
		if err == nil || !again || ctx.Err() != nil {
			break
		}
	}
	switch {
	case err != nil || db.sync == nil:
	case d == durable:
		err = db.sync.now()
	default:
		db.sync.soon()
	}
	return explain(ctx, err)
}

// tryTransact runs a transaction once.
func (db *DB) tryTransact(ctx context.Context, do func(context.Context, session) error) error {
	// Before a connection is taken: with SQLite's only one held, to prepare on the pool would wait for itself until its
	// time is up.
	if err := db.writer.prepareMissing(ctx); err != nil {
		return err
	}
	// The isolation is each engine's own. PostgreSQL's READ COMMITTED is enough, since what a transaction decides by is
	// either locked first or compared in the condition of the statement that changes it.
	tx, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing once it is committed
	if err := do(ctx, session{db.writer, tx}); err != nil {
		return err
	}
	return tx.Commit()
}

// read runs one statement of a View that only reads, and hands its rows to scan. It needs no transaction, and in SQLite
// waits for no writer.
func read[T any](ctx context.Context, v *View, s *scoped, scan func(*sql.Rows) (T, error), args ...any) ([]T, error) {
	if !v.db.ready.Load() {
		return nil, errNotYet
	}
	// An empty scope binds empty strings, which no row carries. That is not relied on: the database is not even asked.
	if v.empty() {
		return nil, nil
	}
	ctx, span := tracing.Child(ctx, "store read")
	list, err := readAlone(ctx, v, s, scan, args...)
	v.db.endSpan(span, err)
	return list, err
}

// readAlone is read with a place of the organization's, for as long as the statement runs.
func readAlone[T any](
	ctx context.Context, v *View, s *scoped, scan func(*sql.Rows) (T, error), args ...any,
) ([]T, error) {
	leave, err := v.db.reads.take(ctx, v.organization)
	if err != nil {
		return nil, explain(ctx, err)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, v.db.readWithin)
	defer cancel()
	return readIn(ctx, v, session{pool: v.db.reader}, s, scan, args...)
}

// endSpan ends the span of a call. That something is not there, or may not be done to it, is an answer and no failure.
// Traces would otherwise show as broken whatever callers ask for that does not exist.
func (db *DB) endSpan(span trace.Span, err error) {
	if span.IsRecording() {
		span.SetAttributes(semconv.DBSystemNameKey.String(string(db.engine)))
	}
	if err != nil && !errors.Is(err, ErrUnavailable) {
		err = nil
	}
	tracing.End(span, err)
}

// readIn is read in a session, which may be a transaction. ctx has a deadline already: another one for each statement
// would be a twentieth of what a request for one post takes.
func readIn[T any](
	ctx context.Context, v *View, in session, s *scoped, scan func(*sql.Rows) (T, error), args ...any,
) ([]T, error) {
	// The only place, beside Tx.exec and Claim, where a view's statement meets a database: what runs here is bound to the
	// scope.
	text, args := s.bind(v.db.engine, v.scope, args)
	rows, err := in.query(ctx, text, args)
	list, err := all(rows, err, scan)
	return list, explain(ctx, err)
}

// readAll is read for Work.
func readAll[T any](
	ctx context.Context, db *DB, in session, g *global, scan func(*sql.Rows) (T, error), args ...any,
) ([]T, error) {
	if !db.ready.Load() {
		return nil, errNotYet
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, err := in.query(ctx, g.text(db.engine), args)
	list, err := all(rows, err, scan)
	return list, explain(ctx, err)
}

// one takes the only row of a list. Without it, the error is ErrNotFound. It takes the error of the call that made the
// list, so that the two can be written in one line.
func one[T any](list []T, err error) (T, error) {
	if err != nil || len(list) == 0 {
		var none T
		if err == nil {
			err = ErrNotFound
		}
		return none, err
	}
	return list[0], nil
}

// exec runs a statement of a View in its transaction, and returns how many rows it touched. That none was touched is no
// error here: whether it means a lost claim, a lost race or nothing at all is for the caller to say.
func (tx *Tx) exec(s *scoped, args ...any) (int, error) {
	if tx.view.empty() {
		return 0, nil
	}
	text, args := s.bind(tx.view.db.engine, tx.view.scope, args)
	n, err := tx.session.exec(tx.ctx, text, args)
	return n, explain(tx.ctx, err)
}

// inTx is read in a transaction.
func inTx[T any](tx *Tx, s *scoped, scan func(*sql.Rows) (T, error), args ...any) ([]T, error) {
	if tx.view.empty() {
		return nil, nil
	}
	return readIn(tx.ctx, tx.view, tx.session, s, scan, args...)
}

// scanID reads a row of one text.
func scanID(rows *sql.Rows) (id string, err error) {
	err = rows.Scan(&id)
	return id, err
}

// atOnce runs one statement that writes and returns a text for each row it touched, without waiting until it lasts: the
// next transaction that does wait makes it durable too. It returns how many rows it touched, if any also with an error.
// It takes a place of the organization's: without it, one organization's claims could keep the only connection that
// writes from everybody else's.
func (v *View) atOnce(ctx context.Context, text string, args []any) (int, error) {
	leave, err := v.place(ctx)
	if err != nil {
		return 0, explain(ctx, err)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := v.db.renewing(ctx, v.db.writer, text, args)
	return len(list), explain(ctx, err)
}

// renewing runs one statement that writes, again if the connection was one of PostgreSQL's that only reads: then
// nothing was done.
func (db *DB) renewing(ctx context.Context, p *pool, text string, args []any) ([]string, error) {
	for {
		generation := db.renewal.generation.Load()
		rows, err := session{pool: p}.query(ctx, text, args)
		list, err := all(rows, err, scanID)
		if !db.renewal.renewed(err, generation) {
			return list, err
		}
	}
}

// session runs statements, in a transaction if there is one. A statement that is prepared on the pool is used in both:
// to have SQLite parse a text costs more than to run most of them.
type session struct {
	*pool
	tx *sql.Tx
}

// query runs a statement that returns rows.
func (s session) query(ctx context.Context, text string, args []any) (*sql.Rows, error) {
	if s.tx != nil {
		if stmt := s.preparedInTx(text); stmt != nil {
			return s.tx.StmtContext(ctx, stmt).QueryContext(ctx, args...)
		}
		return s.tx.QueryContext(ctx, text, args...)
	}
	stmt, err := s.prepared(ctx, text)
	switch {
	case err != nil:
		return nil, err
	case stmt == nil: // the driver prepares it itself, or it is too seldom the same
		return s.QueryContext(ctx, text, args...)
	}
	return stmt.QueryContext(ctx, args...)
}

// exec runs a statement that returns none, and returns how many rows it touched.
func (s session) exec(ctx context.Context, text string, args []any) (int, error) {
	result, err := s.run(ctx, text, args)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// run prefers the prepared statement, as query does.
func (s session) run(ctx context.Context, text string, args []any) (sql.Result, error) {
	if s.tx != nil {
		if stmt := s.preparedInTx(text); stmt != nil {
			return s.tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
		}
		return s.tx.ExecContext(ctx, text, args...)
	}
	stmt, err := s.prepared(ctx, text)
	switch {
	case err != nil:
		return nil, err
	case stmt == nil:
		return s.ExecContext(ctx, text, args...)
	}
	return stmt.ExecContext(ctx, args...)
}

// all reads rows with scan, one at a time. It closes them: a connection is busy until its rows are. It takes the error
// of the query too, so that the two can be called in one line.
func all[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) (list []T, _ error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // what it could say, Err has said
	for rows.Next() {
		item, err := scan(rows)
		if errors.Is(err, errPageFull) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err()
}

// errPageFull is for a scan that wants no more rows.
var errPageFull = errors.New("the page is full")
