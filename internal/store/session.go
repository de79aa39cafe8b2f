// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
)

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
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err()
}
