// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/httpapi"
	"github.com/letmepost/letmepost-operator/internal/keyring"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// dashboardFlags are those of the web page for people.
type dashboardFlags struct {
	enabled  bool
	otherURL string
}

func (f *dashboardFlags) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&f.enabled, "dashboard", true,
		"Serve the dashboard for people below /dashboard, and let them read by their session. "+
			"With false, there is neither, and no cookie is looked at.")
	flags.StringVar(&f.otherURL, "dashboard-other-url", "",
		"URL of the other environment's dashboard, for a link in this one's. Default: none.")
}

// check takes the flags in. The error is a usageError.
func (f *dashboardFlags) check() error {
	if f.otherURL == "" {
		return nil
	}
	// Every page links to it, and commands beside a minted key take the other API's address from it: what is no URL would
	// be found out by whoever follows them.
	u, err := url.Parse(f.otherURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return usageError{fmt.Sprintf("--dashboard-other-url: want a URL, such as https://test.example.com/dashboard, not %q",
			f.otherURL)}
	}
	return nil
}

// newSessions makes what knows who is signed in; nil: the dashboard is switched off. It takes from the process's
// kubeconfig where the apiserver is, and not its credential.
func newSessions(
	o options, kubeconfigEnv string, keys *keyring.Keyring, p *publishing, by *oidc.Provider, logger *slog.Logger,
) (*session.Manager, error) {
	if !o.dashboard.enabled {
		return nil, nil
	}
	config, err := keyring.ClusterConfig(o.keys.Kubeconfig, kubeconfigEnv)
	if err != nil {
		return nil, err
	}
	apiserver, err := session.NewApiserver(config)
	if err != nil {
		return nil, err
	}
	// The test environment usually has no keyset. There, a session is sealed by its own token alone.
	var sealing *vault.Vault
	if o.vault.keyset != "" {
		sealing = p.vault
	}
	return session.New(session.Options{
		Apiserver: apiserver, Environment: o.environment, Store: p.store, Vault: sealing, Listed: keys.Organizations,
		Provider: by, NewToken: rand.Text, Clock: clock.RealClock{}, Logger: logger,
	})
}

// dashboardConfig is what flags say of the dashboard, and where it has time and randomness from. The parts that it
// stands on are still to be added.
func (o options) dashboardConfig() dashboard.Config {
	return dashboard.Config{
		Namespace: o.keys.Namespace, Environment: o.environment, KeyFormat: o.keys.Format, OtherURL: o.dashboard.otherURL,
		ClientAddress: func(r *http.Request) netip.Addr { return endpoint.ClientAddress(r, o.trustedProxies) },
		NewRequestID:  newRequestID, Clock: clock.RealClock{}, Random: rand.Reader, PublicURL: o.publicURL,
	}
}

// newHandler makes the API, and puts the dashboard beside it; without sessions, there is none of its routes.
func newHandler(o options, c httpapi.Config, who callers) (*httpapi.API, http.Handler, error) {
	api, err := httpapi.New(c)
	if err != nil || who.sessions == nil {
		return api, api, err
	}
	of := o.dashboardConfig()
	of.Sessions, of.Admission, of.Directory, of.Use = who.sessions, who.admission, c.Directory, who.uses
	of.Provider, of.ProviderName = who.provider, o.oidc.name
	of.Logger, of.Audit = c.Logger, c.Audit
	// The API's own and not others like them: who waits for an answer is counted once for the process, and a form is
	// claimed by the protocol that a request is claimed by.
	of.Store, of.Writes, of.Posting, of.Connecting = c.Store, c.Writes, c.Posting, c.Connecting
	pages, err := dashboard.New(of)
	if err != nil {
		return nil, nil, err
	}
	// Pages are none of the API's own resources: without this, their requests would be in no log, metric or trace.
	observed := api.Beside(pages, pages.Pattern, pages.Patterns()...)
	return api, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// No ServeMux: it would answer for itself, with redirects, where the API owes an envelope (see endpoint's router).
		if r.URL.Path == dashboard.Base || strings.HasPrefix(r.URL.Path, dashboard.Base+"/") {
			observed.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	}), nil
}

// sessionTokenOf is what takes a session out of requests to the API; nil: nobody is signed in, and no cookie is looked
// at.
func (o options) sessionTokenOf() func(*http.Request) string {
	if !o.dashboard.enabled {
		return nil
	}
	return func(r *http.Request) string { return dashboard.APISessionToken(o.environment, r) }
}
