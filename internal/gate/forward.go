// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/letmepost/letmepost-operator/internal/caller"
)

// Forward answers the questions of proxies that ask over HTTP: nginx's auth_request, Caddy's forward_auth, Traefik's
// ForwardAuth, HAProxy, and the HTTP filter of the Gateway API. It takes any method, and reads no body.
type Forward struct {
	*Gate

	// questions are those that were read before. The map is never changed, but replaced, so that readers need no lock.
	// Mistakes are among them: they are asked as often as other questions.
	questions atomic.Pointer[map[string]question]
	// adding is held by whoever makes the next map.
	adding sync.Mutex
}

// maxQuestions is how many questions are remembered. There is one for each route of a proxy, and all further ones are
// read anew each time: whoever could make some up would otherwise fill the memory.
const maxQuestions = 1024

// maxQuestion is how long a query may be, in bytes. It bounds each entry of context_extensions and the query of an
// introspection as well.
const maxQuestion = 2048

// NewForward returns a Forward that answers as a Gate does.
func NewForward(g *Gate) *Forward {
	f := &Forward{Gate: g}
	f.questions.Store(&map[string]question{})
	return f
}

// questionOf reads a query, or remembers it.
func (f *Forward) questionOf(query string) question {
	if len(query) > maxQuestion {
		return question{err: errQuestion}
	}
	if known, ok := (*f.questions.Load())[query]; ok {
		return known
	}
	q := f.Gate.questionOf(ParseDemand(query))
	// A clone: query is a part of the request's line, all of which would be kept with it.
	f.remember(strings.Clone(query), q)
	return q
}

// remember adds a question. To copy all of them is cheap enough for what happens once for each route; readers, which
// are every question, take no lock for it.
func (f *Forward) remember(query string, q question) {
	f.adding.Lock()
	defer f.adding.Unlock()
	// What is there stays: the routes of a proxy come first and again and again, and nothing that comes later is to push
	// them out.
	known := *f.questions.Load()
	if len(known) >= maxQuestions {
		return
	}
	more := maps.Clone(known)
	more[query] = q
	f.questions.Store(&more)
}

// PathPrefix is where a question stands in the path, up to the next slash, for proxies that append the path and the
// query of the client's request to what they are told to ask: Envoy over HTTP, and the Gateway API's filter. What they
// append is not read, or a client could ask its own question.
const PathPrefix = "/demand/"

// queryOf is the question as its proxy was told to ask it. The path must not have been cleaned: a client's could have
// dots that take back what stands before it. Nor must its escapes have been taken out: ParseDemand does that, once,
// as it does for a query.
func queryOf(r *http.Request) string {
	if asked, ok := strings.CutPrefix(r.URL.EscapedPath(), PathPrefix); ok {
		query, _, _ := strings.Cut(asked, "/")
		return query
	}
	return r.URL.RawQuery
}

// ServeHTTP answers one question.
func (f *Forward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := f.questionOf(queryOf(r))
	if q.err != nil {
		// Never plain: what a question that makes no sense says of itself can't be relied on. nginx makes a 500 of it, and
		// nobody passes.
		f.refuse(w, replyToQuestion(q.err))
		return
	}
	who, refused := f.check(r, &q)
	if refused != nil {
		p := *refused
		if q.Plain {
			p = p.plain()
		}
		f.refuse(w, p)
		return
	}
	h := w.Header()
	setIdentity(h, who)
	h["Cache-Control"], h["Content-Length"] = noStore, zero
	f.answers.count(overHTTP, allowed)
	w.WriteHeader(http.StatusOK)
}

// check looks at the headers alone.
func (f *Forward) check(r *http.Request, q *question) (*caller.Caller, *reply) {
	for name := range r.Header {
		if isIdentity(name) {
			return nil, &bringing
		}
	}
	return f.ask(r.Context(), q, r.Header["Authorization"])
}

// What many headers have.
var (
	noStore = []string{"no-store"}
	zero    = []string{"0"}
	nothing = []string{""}
)

// setIdentity sets who it is; nil: nobody. It writes to the map itself: Set would make a list of one for each value.
func setIdentity(h http.Header, who *caller.Caller) {
	h[headerRefused] = nothing
	if who == nil {
		for _, name := range identityNames {
			h[name] = nothing
		}
		return
	}
	values := identity(who) // one piece of memory for all
	for i, name := range identityNames {
		// Each without room behind it, so that whoever adds a value to one header does not write over the next one's.
		h[name] = values[i : i+1 : i+1]
	}
}

// refuse answers with a reply. Nobody is named in it, also if somebody was recognised: proxies show it to the client,
// who may have found the key.
func (f *Forward) refuse(w http.ResponseWriter, p reply) {
	h := w.Header()
	setIdentity(h, nil) // a proxy may copy the headers of a refusal, too
	p.headers(func(name, value string) { h[name] = []string{value} })
	body := p.body()
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	f.answers.count(overHTTP, p.code)
	w.WriteHeader(p.status)
	// An error: the proxy has gone, and there is nobody left to tell.
	_, _ = w.Write([]byte(body)) //nolint:gosec // G705: it holds nothing of the request, and is JSON
}
