// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
)

// platformFlags are the flags of what is published to, and by which addresses.
type platformFlags struct {
	allowed  []outbound.Exception
	plcURL   string
	linkedin linkedinFlags

	returnTo []string // origins

	given []string // --outbound-allow
}

// addFlags adds the flags. With none of them given, live posts go to any public server of the AT Protocol.
func (p *platformFlags) addFlags(flags *pflag.FlagSet) {
	// Nothing is allowed by default: accounts' servers and links in posts are addresses that callers choose.
	flags.StringSliceVar(&p.given, "outbound-allow", nil,
		"Addresses that are not public, and may be reached all the same because a caller names them: HOST:PORT, or "+
			"networks (CIDR). Those of accounts' servers may be without TLS.")
	flags.StringSliceVar(&p.returnTo, "return-to", nil,
		"Origins, such as https://app.example.com, that a browser may be sent back to once it has connected an account, "+
			"beside that of --public-url.")
	flags.StringVar(&p.plcURL, "bluesky-plc-url", bluesky.DefaultPLCURL,
		"Directory of the identities of Bluesky's accounts.")
	p.linkedin.addFlags(flags)
}

// check takes the flags in. The error is a usageError.
func (p *platformFlags) check(getenv func(string) string) error {
	for _, text := range p.given {
		e, err := outbound.ParseException(text)
		if err != nil {
			return usageError{"--outbound-allow: " + err.Error()}
		}
		p.allowed = append(p.allowed, e)
	}
	for _, text := range p.returnTo {
		// An origin and no more: what a browser is sent back to is compared by its origin, so that one with a path, or with a
		// slash at its end, would never be found.
		if u, err := platform.CheckReturnTo(text); err != nil || u == nil || u.String() != u.Scheme+"://"+u.Host {
			return usageError{fmt.Sprintf("--return-to: want an origin, such as https://app.example.com, not %q", text)}
		}
	}
	// HTTP is allowed, for a directory of one's own (docs/accounts.md).
	u, err := url.Parse(p.plcURL)
	if err != nil || u.Host == "" || u.Path != "" || u.Scheme != "https" && u.Scheme != "http" {
		return usageError{fmt.Sprintf("--bluesky-plc-url: want the URL of a host, such as %s, not %q",
			bluesky.DefaultPLCURL, p.plcURL)}
	}
	return p.linkedin.check(getenv)
}

// platformList is the platforms of an environment. A test key must never reach a platform, whatever this server can do
// with it: in that environment all of them are played.
func (o *options) platformList(registry prometheus.Registerer, logger *slog.Logger) (list platform.List, err error) {
	if o.environment == key.Test {
		return sandbox.OfAll(catalog.All, newID, clock.RealClock{}), nil
	}
	list = slices.Clone(catalog.All) // which is everybody's, and is not to change
	guard := outbound.NewGuard(o.platforms.allowed...)
	for i := range list {
		// What has no case stays as the catalog has it: callers are told that there is such a platform, and that it is not
		// enabled on this server.
		switch list[i].Name {
		case bluesky.Name:
			list[i] = bluesky.New(bluesky.Config{
				Guard: guard, PLCURL: o.platforms.plcURL, Clock: clock.RealClock{}, Random: rand.Reader, Logger: logger,
			})
		case linkedin.Name:
			list[i], err = o.platforms.linkedin.of(list[i], o.publicURL, guard, registry, logger)
			if err != nil {
				return nil, fmt.Errorf("LinkedIn: %w", err)
			}
		}
	}
	return list, nil
}
