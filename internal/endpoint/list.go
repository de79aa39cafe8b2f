// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"encoding/base64"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Bounds of the limit parameter.
const (
	defaultLimit = 50
	maxLimit     = 200 // a page is encoded in memory before the first byte is sent
	// unpagedLimit is for listings that are all there is, unless a limit is sent. Clients of the reference expect all
	// accounts, all keys and all profiles in one answer, and know of no second page of them.
	unpagedLimit = 1000
)

// pageSize is the limit of a listing without one.
func (t *Route) pageSize() int {
	if t.Unpaged {
		return unpagedLimit
	}
	return defaultLimit
}

// Page is one page of a listing. It has no total: to count costs as much as to list, and is wrong a moment later.
type Page[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"nextCursor" doc:"Pass it as cursor for the next page; null: this is the last."`
}

// Listed says of things of one kind where each stands in its listing, and how it is shown.
//
// A listing is newest first, then by descending id, since ids are unique and times are not. A position means the same
// whatever has come or gone in between, so no item is listed twice or left out because another one changed; an offset
// would do both.
type Listed[S, T any] struct {
	Position func(S) store.Position
	Show     func(S) T
	// Size is about how long an item is as JSON. It is for Items alone: the database's listings have bounds of their own.
	Size func(S) int
	// Stopped is where the page has ended that was read last, if that may be after its last item. Optional.
	Stopped func() store.Position
}

// Rows answers with the page that r asks for of a listing of the database. filter takes in the route's other
// parameters, nil if it has none; read reads the page. Of several parameters that are wrong, limit and cursor are told
// first.
func (l Listed[S, T]) Rows(
	r *Request, filter func(url.Values) error, read func(store.Page) (items []S, more bool, err error),
) (Page[T], error) {
	query := r.Query()
	page, err := readPage(r.route, query)
	if err != nil {
		return Page[T]{}, err
	}
	if filter != nil {
		if err := filter(query); err != nil {
			return Page[T]{}, err
		}
	}
	items, more, err := read(page)
	if err != nil {
		return Page[T]{}, err
	}
	return l.page(items, more), nil
}

// Items answers with the page that r asks for of items, which are all there are, in the listing's order. It ends early
// when it has store.PageBytes: an answer is bounded in bytes, wherever it comes from. What it costs does not depend on
// how far down the page is. items are shared with other requests, and so are cut and never changed.
func (l Listed[S, T]) Items(r *Request, items []S) (Page[T], error) {
	return l.Rows(r, nil, func(page store.Page) ([]S, bool, error) {
		if page.After != (store.Position{}) {
			// By halving, which needs the listing's order: a Directory promises it.
			isNext := func(i int) bool { return isAfter(l.Position(items[i]), page.After) }
			items = items[sort.Search(len(items), isNext):]
		}
		end := l.fitting(items[:min(page.Limit, len(items))])
		return items[:end], len(items) > end, nil
	})
}

// fitting returns how many of items one page takes: all, or as many as reach store.PageBytes.
func (l Listed[S, T]) fitting(items []S) int {
	size := 0
	for i, item := range items {
		if size += l.Size(item); size >= store.PageBytes {
			return i + 1
		}
	}
	return len(items)
}

// page shows items. more tells whether others come after them: it is known, not guessed from a full page, so that the
// last page never leads to an empty one. Data is never null.
func (l Listed[S, T]) page(items []S, more bool) Page[T] {
	p := Page[T]{Data: make([]T, 0, len(items))}
	for _, item := range items {
		p.Data = append(p.Data, l.Show(item))
	}
	switch {
	// A search may stop after a row that it does not show, and must not look at it again.
	case more && l.Stopped != nil:
		next := CursorOf(l.Stopped())
		p.NextCursor = &next
	case more && len(items) > 0: // a page of none has no last item to go on from
		next := CursorOf(l.Position(items[len(items)-1]))
		p.NextCursor = &next
	}
	return p
}

var (
	errCursor = problem.NewInvalid("cursor", "cursor is not one that this API has given out.",
		"Pass nextCursor of the previous page unchanged, or no cursor for the first page.")
	// It names 200 for unpaged listings, too: what may be asked for is the same everywhere.
	errLimit = problem.NewInvalid("limit", "limit is not a whole number from 1 to 200.",
		"Send 200 at most, and go on with cursor: nextCursor of each page leads to the next.")
)

// readPage reads limit and cursor. What is wrong is refused and not corrected: a limit that was cut to 200 in silence
// would look like the end of the listing. An empty parameter is not one that was left out, and is refused: a script
// whose variable is not set would begin again with the first page.
func readPage(t *Route, query url.Values) (store.Page, error) {
	page := store.Page{Limit: t.pageSize()}
	if query.Has("limit") {
		limit, err := strconv.ParseUint(query.Get("limit"), 10, 16)
		if err != nil || limit < 1 || limit > maxLimit {
			return store.Page{}, errLimit
		}
		page.Limit = int(limit)
	}
	if query.Has("cursor") {
		after, ok := ParseCursor(query.Get("cursor"))
		if !ok {
			return store.Page{}, errCursor
		}
		page.After = after
	}
	return page, nil
}

// isAfter tells whether p comes later in a listing than q. It must agree with the order of the statements of package
// store, and of the Directory's listings. Newest first, then by descending id, so what is later in the list has the
// smaller of either.
func isAfter(p, q store.Position) bool {
	if c := p.At.Compare(q.At); c != 0 {
		return c < 0
	}
	return p.ID < q.ID
}

// maxCursor is the length in characters above which a cursor is not even decoded. CursorOf writes some 90. An id may
// have 128 characters, which is some 210 with the time and in base64.
const maxCursor = 256

var cursorEncoding = base64.RawURLEncoding.Strict()

// CursorOf is a position as text: base64url of the time (RFC 3339, UTC), a bar, and the id. Callers pass it back as it
// is. It is encoded so that nobody makes one up, and holds no secret: a caller who changes it sees their own things
// from another place on.
func CursorOf(p store.Position) string {
	return cursorEncoding.EncodeToString([]byte(p.At.UTC().Format(time.RFC3339Nano) + "|" + p.ID))
}

// ParseCursor reads what CursorOf writes, and nothing else: one spelling, so that a client may compare cursors.
func ParseCursor(s string) (store.Position, bool) {
	if len(s) > maxCursor {
		return store.Position{}, false
	}
	text, err := cursorEncoding.DecodeString(s)
	if err != nil {
		return store.Position{}, false
	}
	at, id, _ := strings.Cut(string(text), "|") // the first bar: no time has one
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil || id == "" {
		return store.Position{}, false
	}
	p := store.Position{At: t, ID: id}
	return p, CursorOf(p) == s
}

// maxValue is the length in bytes of the longest value of a list.
const maxValue = 100

// ListParam reads a parameter that may be repeated or hold commas: clients write lists in either way. values is what
// each may be; nil is anything. A value that is none is refused, because a filter with a typing error would find
// nothing. others are values that may be sent as well, and that nobody is told of.
func ListParam(query url.Values, name string, values []string, others ...string) ([]string, error) {
	var list []string
	for _, text := range query[name] {
		for value := range strings.SplitSeq(text, ",") {
			known := values == nil || slices.Contains(values, value) || slices.Contains(others, value)
			if value == "" || len(value) > maxValue || !known {
				return nil, problem.NewInvalid(name, name+" has a value that it can't have.", valuesOf(values))
			}
			if !slices.Contains(list, value) {
				list = append(list, value)
			}
		}
	}
	const most = 32 // each is a parameter of a statement
	if len(list) > most {
		return nil, problem.NewInvalid(name, name+" has more than 32 values.", "Leave it out for all of them.")
	}
	return list, nil
}

// TimeParam reads a parameter that is a time; zero without it, and never with it. A date alone is refused: in which
// zone its day begins, the caller has to say.
func TimeParam(query url.Values, name string) (time.Time, error) {
	if !query.Has(name) {
		return time.Time{}, nil
	}
	text := query.Get(name)
	t, ok := parseTime(text)
	if !ok {
		return time.Time{}, badTime(name, text)
	}
	if t.IsZero() {
		t = t.Add(1) // the store takes the zero time for none; nothing is as old as both
	}
	return t, nil
}

// MaxText is how many characters a text may have that is searched for: the database compares it with every row in
// question.
const MaxText = 200

// TextParam reads a parameter that is a text; "" without it. PostgreSQL would answer invalid UTF-8 or a NUL with an
// error, which would be taken for one of ours. Characters are counted as code points, since a limit in bytes would be
// another one for each script.
func TextParam(query url.Values, name string) (string, error) {
	text := query.Get(name)
	if utf8.RuneCountInString(text) > MaxText || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", problem.NewInvalid(
			name, name+" is longer than "+strconv.Itoa(MaxText)+" characters, or not a text.", "Search for less.")
	}
	return text, nil
}

// valuesOf is a sentence with what a parameter may be.
func valuesOf(values []string) string {
	if values == nil {
		return "Send one or more values, without spaces, separated by commas."
	}
	return "Its values are " + strings.Join(values, ", ") + "."
}
