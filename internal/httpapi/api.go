// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpapi is the HTTP contract of letmepost: routes, who may call them, shapes, and the error envelope.
//
// A route returns a value or an error and never writes to the connection itself, so whatever goes wrong on the way, a
// panic included, still becomes one well-formed response with a request id. So does the end of the caller's key: until
// the first byte is sent, a response can still become a 401. Streams are the exception, from their first byte on. The
// package knows nothing of Kubernetes clients: it asks an Authenticator who calls and a Directory what there is for
// that caller to see.
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// DefaultDocsBaseURL is where the documentation of the errors is, unless Config says otherwise.
const DefaultDocsBaseURL = "https://docs.letmepost.dev"

// Authenticator recognises callers. It is given all values of the Authorization header, and a zero Flight to make one
// of the caller's. The error of a caller that it does not recognise is an authn.Refusal, and authn.ErrUnavailable while
// it recognises nobody.
type Authenticator interface {
	Admit(ctx context.Context, authorization []string, flight *authn.Flight) error
	// Known returns the key that was presented, whether it is served or not; nil if there is none.
	Known(authorization []string) *authn.Key
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
	// Ready tells whether requests should be sent here. It makes /readyz 503 while it is false, and changes nothing else:
	// whether a request is accepted is for Authenticator to say.
	Ready func() bool
	// Draining tells whether the process is about to stop. It makes /readyz 503 and changes nothing else. Optional.
	Draining func() bool

	Store     *store.DB
	Library   *media.Library
	Publisher *publish.Publisher
	// Platforms are this server's: accounts can be connected of those with a Connector. The others are not enabled.
	Platforms platform.List

	Limits *limit.Keys
	// Failures limits, by address, how many requests without a valid key are answered one by one.
	Failures *limit.Addresses
	// TrustedProxies are believed when they say whom they forward for. Optional.
	TrustedProxies []netip.Prefix

	Environment key.Environment // whose keys Authenticator accepts
	KeyFormat   key.Format
	DocsBaseURL string // without it, DefaultDocsBaseURL
	// PublicURL is where callers reach this API, for the URLs in its answers. Optional: without it, it is the host that
	// they ask for, with https if the connection is one of TLS.
	PublicURL string

	NewRequestID func() string // unique, and valid as an X-Request-Id: 1 to 128 characters of A-Z a-z 0-9 . _ -
	NewID        func() string // a UUIDv7
	Random       io.Reader     // for the ids of media
	Clock        clock.PassiveClock
	Logger       *slog.Logger
	AccessLog    AccessLog // without it, AccessLogErrors
	// Audit is told of each refusal, whatever AccessLog says. Optional: without it, Logger is.
	Audit      *slog.Logger
	Registerer prometheus.Registerer
	// Tracer begins the span of each request. Optional: nil makes none, and costs nothing.
	Tracer trace.Tracer
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
func New(c Config) (*API, error) { return newAPI(c, routes) }

func newAPI(c Config, routes []route) (*API, error) {
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
		records:  newRecorder(c, keyPattern(c.KeyFormat)),
		document: document,
		problems: newProblems(c.DocsBaseURL, c.KeyFormat.Prefix(c.Environment), routes),
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
	if c.Audit == nil {
		c.Audit = c.Logger
	}
	if c.Draining == nil {
		c.Draining = func() bool { return false }
	}
	switch {
	case c.Authenticator == nil, c.Directory == nil, c.Ready == nil:
		return errors.New("httpapi: Authenticator, Directory and Ready are required")
	case c.Store == nil, c.Library == nil, c.Publisher == nil, c.Limits == nil, c.Failures == nil:
		return errors.New("httpapi: Store, Library, Publisher, Limits and Failures are required")
	case c.NewRequestID == nil, c.NewID == nil, c.Random == nil, c.Clock == nil, c.Logger == nil, c.Registerer == nil:
		return errors.New("httpapi: NewRequestID, NewID, Random, Clock, Logger and Registerer are required")
	case c.Environment != key.Live && c.Environment != key.Test:
		return fmt.Errorf("httpapi: environment %q: want %s or %s", c.Environment, key.Live, key.Test)
	}
	return nil
}

// keyPattern finds what looks like a key, in order to hide it.
func keyPattern(f key.Format) *regexp.Regexp {
	return regexp.MustCompile("(?:" + f.Prefix(key.Live) + "|" + f.Prefix(key.Test) + ")[0-9A-Za-z]+")
}

// ServeHTTP answers one request. It panics with http.ErrAbortHandler where a stream has to be reset.
func (a *API) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := &request{http: hr, id: a.requestID(hr.Header["X-Request-Id"]), start: a.config.Clock.Now(), body: newBody()}
	a.beginSpan(r)
	err := a.answer(w, r)
	switch {
	case r.streaming && err != nil:
		r.status, r.failure = a.problems.of(err).status, err
	case r.streaming:
	case err != nil:
		a.fail(w, r, err)
	default:
		a.succeed(w, r)
	}
	elapsed := a.config.Clock.Since(r.start)
	a.metrics.count(r, elapsed)
	a.records.record(r, elapsed)
	a.endSpan(r)
	r.body.free()
	if r.streaming && err != nil {
		panic(http.ErrAbortHandler)
	}
}

// answer lets the route answer, and puts the answer into r.body unless it is a stream. Then is the last moment at which
// the answer may still turn out to be one for nobody.
//
// The order is the same for every route: authentication, scope, rate limit, idempotency, handler.
func (a *API) answer(w http.ResponseWriter, r *request) (err error) {
	defer func() {
		v := recover()
		cut := r.flight.End() // first, and in any case: who is not taken off the registry stays there
		if v != nil {
			err = panicked(v)
		}
		if cut != nil {
			r.cut = true
			err = cutShort(cut, err)
		}
	}()
	if err := a.router.find(r); err != nil {
		return err
	}
	if r.route.access != anyone {
		if err := a.admit(r); err != nil {
			return err
		}
	}
	switch {
	case r.route.stream != nil:
		return a.stream(w, r)
	case r.route.changes():
		return a.write(w, r)
	}
	result, err := r.route.call(a, r)
	if err != nil {
		return err
	}
	return r.body.encode(result)
}

// now is the time as the database keeps it, so that an answer to a write says what a later read says.
func (a *API) now() time.Time { return a.config.Clock.Now().UTC().Truncate(time.Microsecond) }

// view is what the caller reaches of the database.
func (a *API) view(r *request) *store.View {
	if r.view == nil {
		r.view = a.config.Store.View(r.caller())
	}
	return r.view
}

// cutShort returns what a request ends with that was cut: whatever came of it otherwise is nobody's business any more,
// but a panic is the operator's.
func cutShort(cut, err error) error {
	if errors.As(err, new(*panicError)) {
		return errors.Join(cut, err)
	}
	return cut
}
