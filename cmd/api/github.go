// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/github"
	"github.com/letmepost/letmepost-operator/internal/httpapi"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/outbound"
)

// githubFlags are the flags of what GitHub's secret scanning calls. Without enabled there is no such path. keysURL is
// another one than GitHub's only where somebody plays GitHub.
type githubFlags struct {
	enabled bool
	keysURL string
}

func (g *githubFlags) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&g.enabled, "github-secret-scanning", false,
		"Take what GitHub's secret scanning finds, as POST "+github.Path+
			": keys in public repositories are reported as leaked.")
	flags.StringVar(&g.keysURL, "github-keys-url", github.DefaultKeysURL,
		"Where the keys are by which GitHub signs that.")
}

// check looks at what was given. The error is a usageError.
func (g *githubFlags) check(allowed []outbound.Exception) error {
	u, err := url.Parse(g.keysURL)
	// Over HTTP, whoever is in between could sign what they like.
	if err != nil || u.Host == "" || !outbound.NewGuard(allowed...).Confidential(u) {
		return usageError{fmt.Sprintf("--github-keys-url: want an https URL, not %q", g.keysURL)}
	}
	return nil
}

// newAnswering is newHandler, with GitHub before it if it is to be answered at all: otherwise the path is none.
func newAnswering(
	o options, c httpapi.Config, who callers, leaks *leak.Reporter,
) (*httpapi.API, http.Handler, error) {
	api, handler, err := newHandler(o, c, who)
	if err != nil || !o.github.enabled {
		return api, handler, err
	}
	receiver, err := github.New(github.Options{
		Leaks: leaks, Format: o.keys.Format, KeysURL: o.github.keysURL,
		Client: outbound.NewGuard(o.platforms.allowed...).Client(github.KeysBounds),
		Clock:  clock.RealClock{}, Audit: c.Audit, Logger: c.Logger, Registerer: c.Registerer,
	})
	if err != nil {
		return nil, nil, err
	}
	return api, receiver.Before(handler), nil
}
