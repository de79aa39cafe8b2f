// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

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

// list runs one of two statements: for the first page, or for one after a position. Both take a limit last.
func list[T any](
	ctx context.Context, v *View, p Page, first, after *scoped, scan func(*sql.Rows) (T, error), args ...any,
) (rows []T, more bool, err error) {
	if p.Limit <= 0 {
		return nil, false, nil
	}
	s := first
	if p.After != (Position{}) {
		if !isID(p.After.ID) {
			return nil, false, nil // after what can't be in a list, there is nothing
		}
		s, args = after, append(args, micros(p.After.At), p.After.ID)
	}
	// One more than asked for tells whether there are more.
	rows, err = read(ctx, v, s, scan, append(args, p.Limit+1)...)
	if err != nil || len(rows) <= p.Limit {
		return rows, false, err
	}
	return rows[:p.Limit], true, nil
}
