// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dashboard is a web page for people: it mints, lists and revokes keys, and shows what they are used for.
//
// It has no powers of its own. What it changes in the cluster is a request of the person's to the apiserver, and what
// it shows of the database is guarded by rights that RBAC gives them. It works without JavaScript: each screen is a
// page, and each action is a form. It never sees a key that is stored; the one that it mints to be shown once is in
// one response and nowhere else.
//
// ServeHTTP refuses what other sites have browsers send. The mux finds a screen (screens.go lists them all), and
// request.run (request.go) finds out who it is, reads the form, and calls it. A screen is a function of the request
// that returns a view or an error: problems.go makes a page of an error, and render.go sends it. Beside that, a
// screen only sets cookies and headers. Lists of keys and Profiles come from this replica's memory (Directory), a
// single one from the apiserver, and all else from the database (database.go). A page has a budget of requests to the
// apiserver (maxCalls), in which whoever adds one has to find room.
package dashboard

import (
	"context"
	"embed"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/use"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// Base is where the dashboard is.
const Base = "/dashboard"

// Config is what a Dashboard is made of. All fields are required except where they say otherwise.
type Config struct {
	Sessions  *session.Manager
	Admission *admission.Admission
	// Directory is what this replica knows of keys and Profiles.
	Directory Directory
	// Use is what keys are used for. Without it, pages show what this replica has seen. Optional.
	Use Use
	// What lies in the database, and how it is changed.
	Store   *store.DB
	Writes  *write.Protocol
	Posting *posting.Posting
	// Connecting connects accounts.
	Connecting *connecting.Connecting

	// Provider is what people sign in by, other than with a token, and ProviderName what they know it by. Optional;
	// without a name, that is its host.
	Provider     *oidc.Provider
	ProviderName string

	// Namespace is that of the release, where replicas have their Leases. Optional: without it, nobody is told of others.
	Namespace   string
	Environment key.Environment
	KeyFormat   key.Format
	// Random is a CSPRNG, which keys are made of.
	Random io.Reader
	// PublicURL is where callers reach this API, for what they are told to copy. Optional: without it, it is where the
	// person has reached this page.
	PublicURL string
	// OtherURL is the other environment's dashboard. Optional.
	OtherURL string

	// ClientAddress is where a request comes from.
	ClientAddress func(*http.Request) netip.Addr
	NewRequestID  func() string
	Clock         clock.PassiveClock
	Logger        *slog.Logger
	// Audit is told who has signed in or sent a form. Optional.
	Audit *slog.Logger
}

// Directory has what there is of an organization, newest first. It answers from memory; the slices are shared and not
// changed here. authn.Index is one.
type Directory interface {
	Keys(*caller.Caller) []*authn.Key
	Profiles(*caller.Caller) []*caller.Profile
}

// Use is what keys are used for, as all replicas of this environment have counted it.
type Use interface {
	// LastUsed returns when keys were used last, by their UIDs: of those given, or of all that the caller sees. A key that
	// is not in it was never used. With an error, it is what this replica has seen.
	LastUsed(ctx context.Context, c *caller.Caller, ids ...string) (map[string]time.Time, error)
	// Of returns what one key was used for, by its UID.
	Of(ctx context.Context, c *caller.Caller, id string) (use.Series, error)
	// Recent returns what keys were used for in the last hour, by their UIDs. Keys that were not used are not in it.
	Recent(ctx context.Context, c *caller.Caller) (map[string]use.Count, error)
}

// Dashboard is the handler of all that is below Base. It is safe for concurrent use, and holds nothing that has to be
// closed.
type Dashboard struct {
	config Config
	mux    *http.ServeMux
	pages  *pages
	origin *http.CrossOriginProtection

	patterns []string // of mux
}

//go:embed templates static texts.yaml
var files embed.FS

// New returns the dashboard. The error says what is missing.
func New(c Config) (*Dashboard, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	pages, err := newPages(c.Clock)
	if err != nil {
		return nil, err
	}
	d := &Dashboard{config: c, mux: http.NewServeMux(), pages: pages, origin: http.NewCrossOriginProtection()}
	// Two screens that a request could fit alike make the mux panic: when the process starts, and not when somebody asks.
	for _, s := range d.screens() {
		d.handle(s.Method+" "+Base+s.Path, d.serve(s))
	}
	if err := d.serveStatic(); err != nil {
		return nil, err
	}
	// Past handle, because it is no page that there is: it must not be among Patterns, by which requests are counted.
	d.mux.Handle(Base+"/", d.serve(screen{Method: "", Path: "/", Access: anyone, Show: notFound}))
	return d, nil
}

// complete says what is missing.
func (c *Config) complete() error {
	switch {
	case c.Sessions == nil, c.Admission == nil, c.Clock == nil, c.Logger == nil, c.NewRequestID == nil:
		return errors.New("dashboard: Sessions, Admission, Clock, Logger and NewRequestID are required")
	case c.ClientAddress == nil, c.KeyFormat == key.Format{}:
		return errors.New("dashboard: ClientAddress and KeyFormat are required")
	case c.Directory == nil, c.Random == nil, c.Store == nil, c.Writes == nil, c.Posting == nil, c.Connecting == nil:
		return errors.New("dashboard: Directory, Random, Store, Writes, Posting and Connecting are required")
	}
	return nil
}

// ServeHTTP answers one request.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setSafeHead(w.Header())
	// Before anything is looked up: what another site has a browser send is refused whoever is signed in there. It is a
	// screen for anyone, so that no session is asked for, and a page, so that somebody who sees it by mistake has an id to
	// tell.
	//
	// GET is let through, since other sites may link to a page. A screen that changes something by GET has to keep them
	// out by itself, as beginSignIn, finishSignIn and connectReturned do.
	if err := d.origin.Check(r); err != nil {
		d.serve(screen{Access: anyone, Show: func(*request) (view, error) { return view{}, errCrossOrigin }}).ServeHTTP(w, r)
		return
	}
	d.mux.ServeHTTP(w, r)
}

// Pattern is which path of the dashboard a request is an example of; "": none that there is.
func (d *Dashboard) Pattern(r *http.Request) string {
	_, pattern := d.mux.Handler(r)
	return pathOf(pattern)
}

// Patterns are all of them.
func (d *Dashboard) Patterns() (all []string) {
	for _, pattern := range d.patterns {
		all = append(all, pathOf(pattern))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// pathOf is the path of a pattern of http.ServeMux.
func pathOf(pattern string) string {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		return strings.TrimSuffix(path, "{$}")
	}
	return "" // what is for all methods is the page for what there is not
}

// handle has requests that are examples of a pattern of http.ServeMux answered.
func (d *Dashboard) handle(pattern string, h http.Handler) {
	d.mux.Handle(pattern, h)
	d.patterns = append(d.patterns, pattern)
}

// setSafeHead sets what holds for everything here: nothing runs or is shown but what this server sends, and nobody
// frames it or keeps it. It is set before a page is found, so that no answer can be without it: one of them has a key
// in it, and addresses name keys and a hand-over's code, which other sites must not learn by a Referer.
//
// Referrer-Policy is not no-referrer: by that, browsers send the Origin of a form as null. Old ones say nothing else of
// where a form comes from, and would be refused.
func setSafeHead(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "+
		"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}
