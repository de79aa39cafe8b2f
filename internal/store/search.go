// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"unicode"

	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// How much a page of a search may look at. Beyond either the page ends where it is, and the next one goes on from
// there, so that what a search costs does not depend on what is stored, nor on what is asked for. A page looks at one
// text at least, however long.
const (
	searchedRows  = 4_000
	searchedBytes = 2 << 20
	// How many rows the first statement returns, and any: what a database has read beyond the bounds is in vain, so the
	// length of texts is found out with a few.
	searchedFirst, searchedAtOnce = 50, 1_000
)

// search is one page of a search.
type search struct {
	query       string // folded
	rows, bytes int    // that may still be looked at
	last        Position
	found       []any // ids, of one more than the page has if there are more
	ends        []Position
}

// errEnough ends the reading of rows.
var errEnough = errors.New("enough was looked at")

// search lists posts whose text has f.Query in it. The database tells which posts there are and in which order; what is
// in them is looked at here, since letters of all scripts have cases, and the engines know of different ones. An index
// for texts (FTS5 in SQLite; pg_trgm in PostgreSQL, where the operator lets us have it) would answer otherwise on each
// engine, know no query of less than three letters, and be one for all organizations: what a search costs would depend
// on what others have stored.
func (v *View) search(ctx context.Context, f PostFilter, p Page) (posts []Post, next Position, err error) {
	where, args, possible := f.condition()
	if !possible || v.empty() || p.Limit <= 0 || p.After != (Position{}) && !isID(p.After.ID) {
		return nil, next, nil
	}
	ctx, span := tracing.Child(ctx, "store search")
	defer func() { v.db.endSpan(span, err) }()
	posts, next, err = v.searchAlone(ctx, f, p, where, args)
	posts, err = v.shown(ctx, posts, err) // which takes a place of its own, so nobody may wait for it with one
	return posts, next, err
}

// searchAlone is search with a place of the organization's, for as long as it takes.
func (v *View) searchAlone(
	ctx context.Context, f PostFilter, p Page, where string, args []any,
) (posts []Post, next Position, err error) {
	leave, err := v.db.reads.take(ctx, v.organization)
	if err != nil {
		return nil, next, explain(ctx, err)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, v.db.readWithin)
	defer cancel()
	s := &search{query: fold(f.Query), rows: searchedRows, bytes: searchedBytes, last: p.After}
	next, err = s.run(ctx, v, where, args, p.Limit)
	if err != nil || len(s.found) == 0 {
		return nil, next, err
	}
	byIDs := newScoped(selectPosts + ` WHERE p.id IN (` + places(len(s.found)) + `) AND {scope p}` + newestFirst)
	some, full := bounded(scanPost, sizeOfPost)
	posts, err = readIn(ctx, v, session{pool: v.db.reader}, byIDs, some, append(s.found, len(s.found))...)
	if *full && len(posts) > 0 {
		last := posts[len(posts)-1]
		next = Position{At: last.CreatedAt, ID: last.ID}
	}
	return posts, next, err
}

// run looks at posts until the page is full, nothing is left, or enough was looked at. next is where the page has
// ended; zero: there is nothing after it.
func (s *search) run(ctx context.Context, v *View, where string, args []any, limit int) (next Position, err error) {
	first, after := texts(where)
	for {
		statement, with := first, args
		if s.last != (Position{}) {
			statement = after
			with = append(args[:len(args):len(args)], micros(s.last.At), s.last.ID)
		}
		chunk := s.chunk()
		found := 0
		_, err := readIn(ctx, v, session{pool: v.db.reader}, statement, func(rows *sql.Rows) (struct{}, error) {
			found++
			return struct{}{}, s.look(rows, limit)
		}, append(with, chunk)...)
		switch {
		case errors.Is(err, errEnough):
			if len(s.found) > limit { // the last one is the next page's
				s.found = s.found[:limit]
				return s.ends[limit-1], nil
			}
			return s.last, nil
		case err != nil:
			return Position{}, err
		case found < chunk:
			return Position{}, nil
		}
	}
}

// chunk is how many rows to read next: as many as are left to be looked at, if texts go on as long as they are.
func (s *search) chunk() int {
	rows, bytes := searchedRows-s.rows, searchedBytes-s.bytes
	if rows == 0 {
		return searchedFirst
	}
	// The average length so far tells how many texts the bytes that are left will do for.
	return min(searchedAtOnce, s.rows, 1+s.bytes*rows/max(1, bytes))
}

// look takes a row in. The error is errEnough once no more is to be looked at. last moves on with each row, found or
// not: a page that found nothing still says where the next one begins.
func (s *search) look(rows *sql.Rows, limit int) error {
	var id, text string
	var created int64
	if err := rows.Scan(&id, &created, &text); err != nil {
		return err
	}
	s.last = Position{At: fromMicros(created), ID: id}
	s.rows--
	s.bytes -= len(text)
	if strings.Contains(fold(text), s.query) {
		s.found, s.ends = append(s.found, id), append(s.ends, s.last)
	}
	if len(s.found) > limit || s.rows <= 0 || s.bytes <= 0 {
		return errEnough
	}
	return nil
}

// texts returns the statements that read the texts of posts under a condition, as filtered does posts.
func texts(where string) (first, after *scoped) {
	const columns = `SELECT p.id, p.created_at, p.text FROM posts AS p WHERE {scope p}`
	return newScoped(columns + where + newestFirst), newScoped(columns + where + postsAfter + newestFirst)
}

// fold makes one of texts that differ in the case of letters alone. Letter by letter, so that equal texts fold to equal
// ones whatever is around them. It is for comparing and never shown.
func fold(text string) string { return strings.Map(foldRune, text) }

// foldRune goes by way of the capital: some letters have two small ones, such as the sigmas.
func foldRune(r rune) rune {
	switch {
	case 'A' <= r && r <= 'Z':
		return r + 'a' - 'A'
	case r < 0x80:
		return r
	}
	return unicode.ToLower(unicode.ToUpper(r))
}
