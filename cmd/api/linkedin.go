// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
)

// linkedinFlags are the flags of LinkedIn, which lets nobody in but by an app that was made there.
type linkedinFlags struct {
	clientID        string           // "": whoever runs this server has no app
	clientSecret    string           // of the environment: a flag would show in the list of processes
	version         linkedin.Version // after check
	authURL, apiURL string

	given string // --linkedin-version
}

// linkedinSecret is the variable of the environment with the secret of the app.
const linkedinSecret = "LMP_LINKEDIN_CLIENT_SECRET"

func (l *linkedinFlags) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&l.clientID, "linkedin-client-id", "",
		"Client id of your app at LinkedIn, by which accounts there are connected; its secret is $"+linkedinSecret+". "+
			"Default: none, and there is no LinkedIn.")
	// LinkedIn ends each after a year: nobody should have to wait for a new version of this program then.
	flags.StringVar(&l.given, "linkedin-version", string(linkedin.DefaultVersion),
		"Version of LinkedIn's API, YYYYMM. LinkedIn takes each for about a year.")
	// For tests alone, which play LinkedIn: there is no second one that anybody could be sent to.
	flags.StringVar(&l.authURL, "linkedin-auth-url", linkedin.DefaultAuthURL, "LinkedIn's authorization server.")
	flags.StringVar(&l.apiURL, "linkedin-api-url", linkedin.DefaultAPIURL, "LinkedIn's API.")
	for _, name := range []string{"linkedin-auth-url", "linkedin-api-url"} {
		_ = flags.MarkHidden(name) // there is such a flag
	}
}

// check takes the flags in. The error is a usageError.
func (l *linkedinFlags) check(getenv func(string) string) (err error) {
	if l.version, err = linkedin.ParseVersion(l.given); err != nil {
		return usageError{"--linkedin-version: " + err.Error()}
	}
	l.clientID = strings.TrimSpace(l.clientID)
	l.clientSecret = strings.TrimSpace(getenv(linkedinSecret)) // the file that a Secret was made of may end with a line
	return nil
}

// of adds what asks LinkedIn, if there is an app to do it by. What is missing for that is told to whoever runs this
// server, in one line of the log: callers, who are answered platform_not_enabled, can do nothing about it.
func (l *linkedinFlags) of(
	known platform.Platform, publicURL string, guard *outbound.Guard, registry prometheus.Registerer, logger *slog.Logger,
) (platform.Platform, error) {
	missing := l.missing(publicURL)
	switch {
	case l.clientID == "" && l.clientSecret == "": // most likely on purpose
		logger.Info("LinkedIn is not enabled", "missing", missing)
		return known, nil
	case l.clientID == "" || l.clientSecret == "":
		logger.Warn("LinkedIn is not enabled: only a part of what it needs is set", "missing", missing)
		return known, nil
	// Only --public-url can be missing by now. Connecting an account takes it, to bring a browser back; publishing by
	// one does not.
	case len(missing) > 0:
		logger.Warn("No account can be connected at LinkedIn; those that are go on", "missing", missing)
	}
	// Until when the version is taken. An alert is made of it: from then on posts stay queued, and no request fails.
	if err := registry.Register(linkedin.Collector(l.version)); err != nil {
		return known, err
	}
	return linkedin.New(linkedin.Config{
		ClientID: l.clientID, ClientSecret: l.clientSecret, Version: l.version, AuthURL: l.authURL, APIURL: l.apiURL,
		Guard: guard, Clock: clock.RealClock{}, Logger: logger,
	})
}

// missing names what is not set of what connecting an account takes. The log names them as whoever sets them has to
// write them.
func (l *linkedinFlags) missing(publicURL string) (names []string) {
	for _, needed := range []struct{ name, value string }{
		{"--linkedin-client-id", l.clientID},
		{"$" + linkedinSecret, l.clientSecret},
		{"--public-url", publicURL}, // where LinkedIn sends browsers back to
	} {
		if needed.value == "" {
			names = append(names, needed.name)
		}
	}
	return names
}
