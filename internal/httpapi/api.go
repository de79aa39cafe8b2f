// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpapi is the HTTP contract of letmepost: routes, who may call them, shapes, and the error envelope.
//
// A route returns a value or an error and never writes to the connection itself, so whatever goes wrong on the way, a
// panic included, still becomes one well-formed response with a request id. The package knows nothing of Kubernetes
// clients: it asks an Authenticator who calls and a Directory what there is for that caller to see.
package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// DefaultDocsBaseURL is where the documentation of the errors is, unless Config says otherwise.
const DefaultDocsBaseURL = "https://docs.letmepost.dev"

// Authenticator recognises callers. It is given all values of the Authorization header; the error of a caller that it
// does not recognise is an authn.Refusal.
type Authenticator interface {
	Authenticate(authorization []string) (authn.Identity, error)
}

// Directory holds what there is to see, newest first (creation time, then id), for one caller: nothing that the caller
// may not see is in what it returns. The slices are shared and not changed by this package.
type Directory interface {
	Keys(caller authn.Identity) []*authn.Key
	Profiles(caller authn.Identity) []*authn.Profile
}

// Config is what an API is made of. All fields are required except where it says otherwise.
type Config struct {
	Authenticator Authenticator
	Directory     Directory
	// Ready tells whether Authenticator and Directory are complete. While it is false, routes that need a key answer
	// 503: an API that does not know all keys knows none.
	Ready func() bool
	// Draining tells whether the process is about to stop. It makes /readyz 503 and changes nothing else. Optional.
	Draining func() bool

	Environment key.Environment // whose keys Authenticator accepts
	KeyFormat   key.Format
	DocsBaseURL string // without it, DefaultDocsBaseURL

	NewRequestID func() string // unique, and valid as an X-Request-Id: 1 to 128 characters of A-Z a-z 0-9 . _ -
	Clock        clock.PassiveClock
	Logger       *slog.Logger
	AccessLog    AccessLog // without it, AccessLogErrors
	Registerer   prometheus.Registerer
}

// API is the handler of all routes. Make it with New.
type API struct {
	config   Config
	router   router
	metrics  *metrics
	records  *recorder
	document json.RawMessage // the OpenAPI document
	problems problems
}

// New returns the API. The error says what is missing in c, or that c.Registerer has these metrics already.
func New(c Config) (*API, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, err
	}
	document, err := describe(routes)
	if err != nil {
		return nil, err
	}
	return &API{
		config:   c,
		router:   newRouter(routes, m),
		metrics:  m,
		records:  newRecorder(c.Logger, c.AccessLog, keyPattern(c.KeyFormat)),
		document: document,
		problems: newProblems(c.DocsBaseURL, c.KeyFormat.Prefix(c.Environment)),
	}, nil
}

// complete fills in the defaults and says what is missing.
func (c *Config) complete() error {
	if c.DocsBaseURL == "" {
		c.DocsBaseURL = DefaultDocsBaseURL
	}
	if c.AccessLog == "" {
		c.AccessLog = AccessLogErrors
	}
	if c.Draining == nil {
		c.Draining = func() bool { return false }
	}
	switch {
	case c.Authenticator == nil, c.Directory == nil, c.Ready == nil:
		return errors.New("httpapi: Authenticator, Directory and Ready are required")
	case c.NewRequestID == nil, c.Clock == nil, c.Logger == nil, c.Registerer == nil:
		return errors.New("httpapi: NewRequestID, Clock, Logger and Registerer are required")
	case c.Environment != key.Live && c.Environment != key.Test:
		return fmt.Errorf("httpapi: environment %q: want %s or %s", c.Environment, key.Live, key.Test)
	}
	return nil
}

// keyPattern finds what looks like a key, in order to hide it.
func keyPattern(f key.Format) *regexp.Regexp {
	return regexp.MustCompile("(?:" + f.Prefix(key.Live) + "|" + f.Prefix(key.Test) + ")[0-9A-Za-z]+")
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := &request{http: hr, id: a.requestID(hr.Header["X-Request-Id"]), start: a.config.Clock.Now()}
	b := newBody()
	if err := a.answer(r, b); err != nil {
		a.fail(w, r, b, err)
	} else {
		a.succeed(w, r, b)
	}
	elapsed := a.config.Clock.Since(r.start)
	a.metrics.count(r, elapsed)
	a.records.record(r, elapsed)
	b.free()
}

// answer lets the route answer and puts the answer into b.
func (a *API) answer(r *request, b *body) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
	}()
	if err := a.router.find(r); err != nil {
		return err
	}
	if err := a.admit(r); err != nil {
		return err
	}
	result, err := r.route.call(a, r)
	if err != nil {
		return err
	}
	return b.encode(result)
}

// admit is the door: it lets a request through to its route, with the caller's identity, or returns why not.
func (a *API) admit(r *request) error {
	if r.route.access == anyone {
		return nil
	}
	if !a.config.Ready() {
		return errNotReady
	}
	var err error
	r.caller, err = a.config.Authenticator.Authenticate(r.http.Header["Authorization"])
	return err
}
