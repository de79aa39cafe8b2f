// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpapi is the HTTP contract of letmepost: which routes there are, who may call them, and what they take and
// say. A file holds a resource: its shapes, and handlers that ask the rooms below and show what they answer.
//
// What an endpoint is (routing, payloads, idempotency, envelopes, the OpenAPI document) is package endpoint's, who may
// call is package admission's, and what becomes of a post is package posting's.
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
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// DefaultDocsBaseURL is where the documentation of the errors is, unless Config says otherwise.
const DefaultDocsBaseURL = "https://docs.letmepost.dev"

// Directory holds what there is to see, newest first (creation time, then id), for one caller: nothing that the caller
// may not see is in what it returns, so a handler can't forget to filter. The slices are shared and not changed by this
// package. It answers from memory, and never fails.
type Directory interface {
	caller.Directory
	Keys(*caller.Caller) []*authn.Key
}

// Leaks takes reports of keys that have leaked; *leak.Reporter is one. The error says nothing about the keys.
type Leaks interface {
	Report(ctx context.Context, keys ...string) error
}

// Uses knows when keys were used; *use.Keeper is one. With an error, it says what this replica knows alone.
type Uses interface {
	LastUsed(ctx context.Context, c *caller.Caller, ids ...string) (map[string]time.Time, error)
}

// Config is what an API is made of. All fields are required except where they say otherwise. The API closes none of it:
// whoever made it does, after the last request was answered.
type Config struct {
	// Admission lets callers in. It is not made here: whatever else serves callers in this process shares it, and with it
	// what they have left of their rates.
	Admission *admission.Admission
	Directory Directory
	// Uses says when keys were used last, by any replica. Optional: without it, it is what this one knows.
	Uses Uses
	// Leaks takes reports of keys that have leaked. Optional: without it, none are taken.
	Leaks Leaks
	// LeakReports limits them by address. Optional: without it, leak.PerAddress.
	LeakReports *limit.Addresses
	// Ready tells whether requests should be sent here. It makes /readyz 503 while it is false, and changes nothing else:
	// whether a request is let in is for Admission to say, at the moment at which it comes.
	Ready func() bool
	// Draining tells whether the process is about to stop. It makes /readyz 503 and changes nothing else. Optional.
	Draining func() bool

	Store   *store.DB
	Library *media.Library // of the same environment as Store, as is all else
	// What the API changes things by. Whatever else serves callers in this process shares them, and with them what they
	// bound: who waits for an answer is counted once for the process.
	Writes     *write.Protocol
	Posting    *posting.Posting
	Connecting *connecting.Connecting

	// SessionToken takes the token of a session out of a request; "": there is none. Optional: without it, nobody is
	// signed in.
	SessionToken func(*http.Request) string
	// TrustedProxies are believed when they say whom they forward for. Optional.
	TrustedProxies []netip.Prefix

	// SearchFor is how long a search that has found nothing looks on, before its page ends with a cursor alone. Optional:
	// without it, DefaultSearchFor; less than 0: not at all.
	SearchFor time.Duration

	Environment key.Environment // whose keys Admission lets in
	KeyFormat   key.Format
	DocsBaseURL string // without it, DefaultDocsBaseURL
	// PublicURL is where callers reach this API, for the URLs in its answers. Optional: without it, it is the host that
	// they ask for, with https if the connection is one of TLS.
	PublicURL string

	BytesInFlight int64 // see endpoint.Config; 0: endpoint.DefaultBytesInFlight

	NewRequestID func() string // unique, and valid as an X-Request-Id: 1 to 128 characters of A-Z a-z 0-9 . _ -
	Random       io.Reader     // for the ids of media
	Clock        clock.PassiveClock
	Logger       *slog.Logger
	AccessLog    endpoint.AccessLog // without it, endpoint.AccessLogErrors
	// Audit is told of each refusal, whatever AccessLog says. Optional: without it, Logger is.
	Audit      *slog.Logger
	Registerer prometheus.Registerer
	// Tracer begins the span of each request. Optional: nil makes none, and costs nothing.
	Tracer trace.Tracer
}

// API is the handler of all routes. Make it with New. It is an http.Handler by its Engine, and safe for any number of
// requests at once.
type API struct {
	*endpoint.Engine
	config     Config
	posting    *posting.Posting
	connecting *connecting.Connecting
	writes     *write.Protocol
	uploads    uploads
	document   json.RawMessage // the OpenAPI document
}

// New returns the API. The error says what is missing in c, or that c.Registerer has its metrics already. Nothing runs
// before the first request, so what New returns need not be closed.
func New(c Config) (*API, error) { return newAPI(c, (*API).routes) }

// Document returns the OpenAPI document, without an API: hack/apidocs writes the reference by it. The routes are made
// with an API that has nothing, because making them only takes the methods' values.
func Document() (json.RawMessage, error) { return describe(new(API).routes()) }

// describe adds to the routes what the document says beside them. Lists of values are those that the rooms below have:
// what one of them adds is in the document without anybody thinking of it.
func describe(routes []endpoint.Route) (json.RawMessage, error) {
	return endpoint.Describe(endpoint.Description{Routes: routes, Examples: examples, Enums: map[reflect.Type][]string{
		reflect.TypeFor[platform.Name]():       catalog.All.Names(),
		reflect.TypeFor[store.Status]():        postStatuses,
		reflect.TypeFor[posting.BatchStatus](): batchStatuses,
		reflect.TypeFor[connection.State]():    connectionStates,
	}})
}

// newAPI is New with another table of routes, for tests of what no route of this contract does, such as to panic. The
// engine registers its metrics with c.Registerer, so a second API needs another.
func newAPI(c Config, routes func(*API) []endpoint.Route) (*API, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if c.LeakReports == nil {
		c.LeakReports = limit.NewAddresses(leak.PerAddress)
	}
	a := &API{config: c, posting: c.Posting, connecting: c.Connecting, writes: c.Writes}
	var err error
	// The routes are made twice, for the engine and the document, and both times of one table: see endpoint.Route.
	if a.Engine, err = endpoint.New(endpoint.Config{
		Admission:      c.Admission,
		Store:          c.Store,
		Writes:         c.Writes,
		Explain:        explain,
		Environment:    c.Environment,
		KeyFormat:      c.KeyFormat,
		DocsBaseURL:    c.DocsBaseURL,
		SessionToken:   c.SessionToken,
		TrustedProxies: c.TrustedProxies,
		BytesInFlight:  c.BytesInFlight,
		NewRequestID:   c.NewRequestID,
		Clock:          c.Clock,
		Logger:         c.Logger,
		AccessLog:      c.AccessLog,
		Audit:          c.Audit,
		Registerer:     c.Registerer,
		Tracer:         c.Tracer,
	}, routes(a)); err != nil {
		return nil, err
	}
	if a.document, err = describe(routes(a)); err != nil {
		return nil, err
	}
	a.document = append(a.document, '\n') // as every answer ends
	return a, nil
}

// complete fills in the defaults and says what is missing. A field that is forgotten is found when the process starts,
// and not by the first request that needs it. It changes the copy that New was given, and nothing of the caller's.
func (c *Config) complete() error {
	if c.DocsBaseURL == "" {
		c.DocsBaseURL = DefaultDocsBaseURL
	}
	if c.SearchFor == 0 {
		c.SearchFor = DefaultSearchFor
	}
	if c.AccessLog == "" {
		c.AccessLog = endpoint.AccessLogErrors
	}
	if c.Audit == nil {
		c.Audit = c.Logger
	}
	if c.Draining == nil {
		c.Draining = func() bool { return false }
	}
	switch {
	case c.Admission == nil, c.Directory == nil, c.Ready == nil:
		return errors.New("httpapi: Admission, Directory and Ready are required")
	case c.Store == nil, c.Library == nil:
		return errors.New("httpapi: Store and Library are required")
	case c.Writes == nil, c.Posting == nil, c.Connecting == nil:
		return errors.New("httpapi: Writes, Posting and Connecting are required")
	case c.NewRequestID == nil, c.Random == nil, c.Clock == nil, c.Logger == nil, c.Registerer == nil:
		return errors.New("httpapi: NewRequestID, Random, Clock, Logger and Registerer are required")
	case c.Environment != key.Live && c.Environment != key.Test:
		return fmt.Errorf("httpapi: environment %q: want %s or %s", c.Environment, key.Live, key.Test)
	}
	return nil
}

// now is the time of a write.
func (a *API) now() time.Time { return write.Now(a.config.Clock) }

// timeOrNull prepares t for a response: in UTC, and null if it is zero. "0001-01-01T00:00:00Z" would be taken for a
// time.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	utc := t.UTC() // a pointer to t itself would cost an allocation where it is null, too
	return &utc
}

// stringOrNull prepares s for a response: null if it is "". The store has "" for none, and no text here means something
// else when it is empty.
func stringOrNull(s string) *string {
	if s == "" {
		return nil
	}
	given := s // a pointer to s itself would cost an allocation where it is null, too
	return &given
}

var (
	_ Directory    = (*authn.Index)(nil)
	_ http.Handler = (*API)(nil)
)
