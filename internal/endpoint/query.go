// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

var errQuery = problem.NewInvalid("query", "The query string is malformed.", "Percent-encode the parameters' values.")

// queries are the parameters that a route takes.
type queries struct {
	lists map[string]bool   // by name: whether it may be there several times
	alike map[string]string // the name that somebody means who writes it in another way
	names string            // for a sentence
}

// newQueries is made once for each route. So a request pays for lookups alone, and a sentence is made only where one is
// needed.
func newQueries(t *Route) *queries {
	q := &queries{lists: map[string]bool{}, alike: map[string]string{}}
	var names []string
	add := func(name string, list bool) {
		q.lists[name], q.alike[plainName(name)] = list, name
		names = append(names, name)
	}
	for _, p := range t.Query {
		add(p.Name, p.List)
	}
	if t.Paged {
		add("limit", false)
		add("cursor", false)
	}
	q.names = strings.Join(names, ", ")
	return q
}

// plainName is a name without its capitals and whatever stands between its words or behind them: "status[]" and
// "profile_id" are what libraries of other languages make of status and profileId.
func plainName(name string) string {
	name, _, _ = strings.Cut(name, "[")
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			return c
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		}
		return -1
	}, name)
}

// check refuses what the route does not take, and what it takes once and is there twice. A filter that is not applied
// in silence answers with what nobody has asked for: the posts of all states, those of another profile. Of several
// mistakes the first by name is told, so that the answer to one request is always the same.
func (q *queries) check(sent url.Values) error {
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		list, known := q.lists[name]
		switch {
		case !known:
			return q.unknown(name)
		case !list && len(sent[name]) > 1:
			return errSeveral(name)
		}
	}
	return nil
}

// unknown says what may have been meant. The parameter is named only if it is one of ours, or can be said again without
// harm.
func (q *queries) unknown(name string) error {
	if meant := q.alike[plainName(name)]; meant != "" {
		how := "Write it as " + meant + "=VALUE, with these capitals and without brackets."
		if q.lists[meant] {
			how = "Write it as " + meant + "=ONE,OTHER or " + meant + "=ONE&" + meant + "=OTHER, without brackets."
		}
		return problem.NewInvalid(meant, "The query has the parameter "+meant+" in another spelling.", how)
	}
	how := "This endpoint takes none: leave it out."
	if q.names != "" {
		how = "This endpoint takes " + q.names + "."
	}
	rule := "query"
	if sayable(name) {
		rule = name
	}
	return problem.NewInvalid(rule, "The query has a parameter that this endpoint does not know.", how)
}

// readQuery reads the query string, once, and checks its names. Unlike URL.Query it refuses what it can't read: half of
// a filter is another filter.
//
// A route that refuses everything is not asked: its one answer says more than that a parameter is unknown. It runs
// after admission, so that whoever has no key learns nothing of a route's parameters.
func (r *Request) readQuery() (err error) {
	if r.http.URL.RawQuery == "" || !r.route.Succeeds() {
		return nil
	}
	if r.query, err = url.ParseQuery(r.http.URL.RawQuery); err != nil {
		return errQuery
	}
	if r.route.page != nil {
		return nil
	}
	if r.admitted.Session() != nil {
		if err := takeOrganization(r.query); err != nil {
			return err
		}
	}
	return r.route.queries.check(r.query)
}

// organizationParam is what a person names the organization by that they mean. Keys have one, and no such parameter.
const organizationParam = "organization"

// takeOrganization takes the parameter out that admission has gone by.
func takeOrganization(query url.Values) error {
	switch values := query[organizationParam]; {
	case len(values) > 1:
		return errSeveral(organizationParam)
	case len(values) == 1 && values[0] == "":
		return problem.NewInvalid(organizationParam, "The query has organization without a value.",
			"Name an organization, by its name or its id, or leave it out for the active one.")
	}
	delete(query, organizationParam)
	return nil
}

func errSeveral(name string) error {
	return problem.NewInvalid(name, "The query has "+name+" several times.",
		"Send it once: which of its values is meant, nobody can know.")
}

// Query returns the parameters of the request: those that its route takes, and no others. It must not be changed.
func (r *Request) Query() url.Values { return r.query }

// maxSayable is the length in characters above which a name that a caller made up is not said again. It is more than
// that of any name here, and less than that of what is secret of a key, in whatever way it is written.
const maxSayable = 32

// sayable tells whether a name that a caller made up may stand in a rule, which is logged, sent back and stored. It
// may be anything: people put keys where a name belongs.
func sayable(name string) bool {
	if len(name) > maxSayable || !validRequestID(name) || strings.Contains(name, ".") {
		return false
	}
	name = strings.ToLower(name)
	return !strings.Contains(name, "_live") && !strings.Contains(name, "_test")
}
