// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// parameter is a query parameter of a route, for its description.
type parameter struct {
	name, description string
	values            []string // what it may be; nil: anything
	format            string   // of OpenAPI; may be ""
	list              bool     // may be repeated, or hold several values with commas between them
}

var errQuery = errInvalid("query", "The query string is malformed.", "Percent-encode the parameters' values.")

// query reads the query string.
func (r *request) query() (url.Values, error) {
	values, err := url.ParseQuery(r.http.URL.RawQuery)
	if err != nil {
		return nil, errQuery
	}
	return values, nil
}

// storePage reads limit and cursor, for a listing of the database.
func (r *request) storePage(query url.Values) (store.Page, error) {
	limit, err := limitOf(query, r.route.pageSize())
	if err != nil {
		return store.Page{}, err
	}
	p := store.Page{Limit: limit}
	if query.Has("cursor") {
		at, ok := parseCursor(query.Get("cursor"))
		if !ok {
			return store.Page{}, errCursor
		}
		p.After = store.Position{At: at.at, ID: at.id}
	}
	return p, nil
}

// pageOf shows one page of a listing of the database.
func pageOf[S, T any](items []S, more bool, where func(S) position, show func(S) T) page[T] {
	p := page[T]{Data: make([]T, 0, len(items))}
	for _, item := range items {
		p.Data = append(p.Data, show(item))
	}
	if more && len(items) > 0 {
		next := where(items[len(items)-1]).cursor()
		p.NextCursor = &next
	}
	return p
}

// listOf reads a parameter that may be repeated or hold commas. values is what each may be; nil is anything.
func listOf(query url.Values, name string, values []string) ([]string, error) {
	var list []string
	for _, text := range query[name] {
		for value := range strings.SplitSeq(text, ",") {
			if value == "" || len(value) > maxRule || values != nil && !slices.Contains(values, value) {
				return nil, errInvalid(name, name+" has a value that it can't have.", "GET /v1/openapi.json lists the values.")
			}
			if !slices.Contains(list, value) {
				list = append(list, value)
			}
		}
	}
	const most = 32
	if len(list) > most {
		return nil, errInvalid(name, name+" has more than 32 values.", "Leave it out for all of them.")
	}
	return list, nil
}

// timeOf reads a parameter that is a time; zero without it, and never with it.
func timeOf(query url.Values, name string) (time.Time, error) {
	if !query.Has(name) {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, query.Get(name))
	if err != nil {
		return time.Time{}, errInvalid(
			name,
			name+" is not a time.",
			"Write times as RFC 3339 has them, such as 2026-05-08T12:00:00Z.",
		)
	}
	if t.IsZero() {
		t = t.Add(1) // the store takes the zero time for none; nothing is as old as both
	}
	return t, nil
}

const maxQuery = 200 // characters

// textOf reads a parameter that is a text; "" without it.
func textOf(query url.Values, name string) (string, error) {
	text := query.Get(name)
	if utf8.RuneCountInString(text) > maxQuery || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", errInvalid(name, name+" is longer than 200 characters, or not a text.", "Search for less.")
	}
	return text, nil
}
