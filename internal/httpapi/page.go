// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/base64"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Bounds of the limit parameter.
const (
	defaultLimit = 50
	maxLimit     = 200
	wholeLimit   = 1000 // of a listing that is whole without it
)

// page is one page of a listing.
type page[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"nextCursor" doc:"Pass it as cursor for the next page; null: this is the last."`
}

// position is where an item stands in a listing: newest first, then by descending id. It means the same whatever has
// come or gone in between, so no item is listed twice or left out because another one changed.
type position struct {
	at time.Time
	id string
}

// after tells whether p comes later in the listing than q.
func (p position) after(q position) bool {
	if c := p.at.Compare(q.at); c != 0 {
		return c < 0
	}
	return p.id < q.id
}

var errCursor = errInvalid("cursor", "cursor is not one that this API has given out.",
	"Pass nextCursor of the previous page unchanged, or no cursor for the first page.")

// paginate cuts the page that r asks for out of items, which are in listing order. What it costs does not depend on how
// far down the page is. The error is a problem.
func paginate[S, T any](r *request, items []S, where func(S) position, show func(S) T) (page[T], error) {
	query, err := r.query()
	if err != nil {
		return page[T]{}, err
	}
	limit, err := limitOf(query, r.route.pageSize())
	if err != nil {
		return page[T]{}, err
	}
	if query.Has("cursor") {
		cursor, ok := parseCursor(query.Get("cursor"))
		if !ok {
			return page[T]{}, errCursor
		}
		items = items[sort.Search(len(items), func(i int) bool { return where(items[i]).after(cursor) }):]
	}
	p := page[T]{Data: make([]T, 0, min(limit, len(items)))}
	for _, item := range items[:min(limit, len(items))] {
		p.Data = append(p.Data, show(item))
	}
	if len(items) > limit {
		next := where(items[limit-1]).cursor()
		p.NextCursor = &next
	}
	return p, nil
}

func limitOf(query url.Values, otherwise int) (int, error) {
	if !query.Has("limit") {
		return otherwise, nil
	}
	limit, err := strconv.ParseUint(query.Get("limit"), 10, 16)
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, errInvalid("limit", "limit is not a whole number from 1 to 200.", "Leave it out for as many as are usual.")
	}
	return int(limit), nil
}

const maxCursor = 256 // characters

var cursorEncoding = base64.RawURLEncoding.Strict()

// cursor is the position as text: base64url of the time (RFC 3339, UTC), a bar, and the id. Callers pass it back as it
// is.
func (p position) cursor() string {
	return cursorEncoding.EncodeToString([]byte(p.at.UTC().Format(time.RFC3339Nano) + "|" + p.id))
}

// parseCursor reads what cursor writes, and nothing else.
func parseCursor(s string) (position, bool) {
	if len(s) > maxCursor {
		return position{}, false
	}
	text, err := cursorEncoding.DecodeString(s)
	if err != nil {
		return position{}, false
	}
	at, id, _ := strings.Cut(string(text), "|")
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil || id == "" {
		return position{}, false
	}
	p := position{t, id}
	return p, p.cursor() == s
}
