// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// Position is where a row stands in a listing: newest first, then by descending id. The zero Position is before the
// first. Two rows may have one time, so it takes the id to go on between them. A position need not be that of a row
// that is still there: deleting a row moves no page.
type Position struct {
	At time.Time // to the microsecond
	ID string
}

// Page asks for part of a listing.
type Page struct {
	After Position
	Limit int
}

// PageBytes is how large a page may be, as JSON and about, before it ends early. Rows beyond it are not even read: two
// hundred of the largest posts would be 100 MB, and are asked for with one line. It bounds what an answer holds in
// memory; a Limit alone would not, as texts differ in length by four orders of magnitude.
const PageBytes = 1 << 20

// rowBytes is about how long anything in a listing is, without the texts that somebody wrote. An estimate is enough: a
// page may be somewhat longer than PageBytes, as it is checked before a row is read and not after.
const rowBytes = 600

// encodedLen is about how long s is as JSON. What grows is counted: up to six characters for a control character, two
// for a quote or a backslash. To encode the text for its length alone would cost as much as the answer.
func encodedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ':
			n += 5
		case c == '"' || c == '\\':
			n++
		}
	}
	return n
}

// list runs one of two statements: for the first page, or for one after a position. Both take a limit last. A page ends
// early when it has PageBytes, by the size of its rows. It has one row at least, so that there is always a next page.
func list[T any](
	ctx context.Context, v *View, p Page, first, after *scoped, scan func(*sql.Rows) (T, error), size func(T) int,
	args ...any,
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
	some, full := bounded(scan, size)
	rows, err = read(ctx, v, s, some, append(args, p.Limit+1)...)
	if err != nil || len(rows) <= p.Limit {
		return rows, *full, err
	}
	return rows[:p.Limit], true, nil
}

// bounded is scan until the rows have PageBytes together. full is set if it has refused one.
func bounded[T any](
	scan func(*sql.Rows) (T, error), size func(T) int,
) (some func(*sql.Rows) (T, error), full *bool) {
	// The scan that refuses a row has not read it: the row is on the next page, which is asked for after the last that was
	// taken.
	total, full := 0, new(bool)
	return func(r *sql.Rows) (row T, err error) {
		if *full = total >= PageBytes; *full {
			return row, errPageFull
		}
		if row, err = scan(r); err == nil {
			total += size(row)
		}
		return row, err
	}, full
}
