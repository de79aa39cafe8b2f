// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/outbound"
)

// oidcFlags are those of the OpenID provider that people sign in by at the dashboard. Without an issuer there is no
// provider, and none of the others may be set but the scopes, which have a default. The client's secret is in a file:
// a flag would show in the list of processes, and the file of a Secret that is mounted is renewed.
type oidcFlags struct {
	issuer, clientID, secretFile, caFile, name string

	scopes []string
}

func (f *oidcFlags) addFlags(flags *pflag.FlagSet) {
	// To the letter as the provider has it: ID tokens name their issuer, and both the apiserver and package oidc compare
	// the two.
	flags.StringVar(&f.issuer, "oidc-issuer-url", "",
		"OpenID provider that people may sign in by at the dashboard, as it says itself (https). The apiserver must trust "+
			"it for the same client id: ID tokens are what people act with. Default: none, and people sign in with a token.")
	flags.StringVar(&f.clientID, "oidc-client-id", "",
		"Client id of the dashboard at the provider, with PUBLIC-URL"+dashboard.OIDCCallback+" as its redirect URI.")
	flags.StringVar(&f.secretFile, "oidc-client-secret-file", "",
		"File with the client's secret, which is read anew each time. Default: none, for a public client.")
	flags.StringVar(&f.caFile, "oidc-ca-file", "",
		"File with certificate authorities (PEM) that the provider's certificate may be of. Default: those of the system.")
	flags.StringSliceVar(&f.scopes, "oidc-scopes", []string{"openid", "profile", "email", "offline_access"},
		"Scopes to ask for. What the apiserver takes groups from may need one more. offline_access, with which a session "+
			"outlasts its first ID token, is asked only of a provider that names it, or names none.")
	flags.StringVar(&f.name, "oidc-name", "", "What people know the provider by. Default: its host.")
}

// check takes the flags in. The error is a usageError.
func (f *oidcFlags) check(publicURL string, dashboard bool) error {
	if f.issuer == "" {
		// Without an issuer these do nothing, and people would only miss the provider's button. The scopes have a default, so
		// that they don't tell whether somebody has set them.
		if f.clientID != "" || f.secretFile != "" || f.caFile != "" || f.name != "" {
			return usageError{"--oidc-issuer-url is required with other flags of --oidc-…"}
		}
		return nil
	}
	if err := oidc.CheckIssuer(f.issuer); err != nil {
		return usageError{"--oidc-issuer-url: " + err.Error()}
	}
	// Browsers keep the cookies of a session nowhere else.
	u, err := url.Parse(publicURL)
	private := err == nil && (u.Scheme == "https" || isLoopback(u))
	switch {
	case !dashboard:
		return usageError{"--oidc-issuer-url is for the dashboard, which --dashboard=false switches off"}
	case f.clientID == "":
		return usageError{"--oidc-client-id is required with --oidc-issuer-url"}
	case !private:
		return usageError{"--public-url is required with --oidc-issuer-url, with https (or a loopback address): " +
			"it is where the provider sends browsers back to"}
	}
	return f.checkTexts()
}

// checkTexts looks at what people see on a button, and at what goes into one parameter with spaces between: a scope
// with a space in it would be two.
func (f *oidcFlags) checkTexts() error {
	if utf8.RuneCountInString(f.name) > 60 {
		return usageError{"--oidc-name: want at most 60 characters"}
	}
	for _, s := range f.scopes {
		if s == "" || strings.ContainsAny(s, " \t\"\\") { // RFC 6749, section 3.3
			return usageError{fmt.Sprintf("--oidc-scopes: %q is no scope", s)}
		}
	}
	return nil
}

// isLoopback tells whether browsers keep the session's cookie at an address though it is plain HTTP.
func isLoopback(u *url.URL) bool {
	return u.Scheme == "http" && outbound.IsLoopback(u.Hostname())
}

// provider makes what people sign in by; nil: there is none. Its files are read, and the provider is asked nothing.
// So a provider that is away keeps the API from nothing, and what is wrong on this machine is told at once.
func (f *oidcFlags) provider(publicURL string) (*oidc.Provider, error) {
	if f.issuer == "" {
		return nil, nil
	}
	c := oidc.Config{
		Issuer: f.issuer, ClientID: f.clientID, Scopes: f.scopes, Random: rand.Reader, Clock: clock.RealClock{},
		RedirectURL: strings.TrimRight(publicURL, "/") + dashboard.OIDCCallback,
	}
	if f.secretFile != "" {
		// Read once now, so that a wrong path is found when the process starts, and not when the first person signs in. What
		// is kept is the function: the file is read anew each time, so a secret that is renewed takes no restart.
		if _, err := f.secret(); err != nil {
			return nil, err
		}
		c.ClientSecret = f.secret
	}
	if f.caFile != "" {
		pem, err := os.ReadFile(f.caFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		// In place of the system's authorities: nobody but these can vouch for the provider.
		c.Roots = x509.NewCertPool()
		// A pool with nothing in it trusts nobody, which only the first person to sign in would notice.
		if !c.Roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--oidc-ca-file: there is no certificate (PEM) in %s", f.caFile)
		}
	}
	return oidc.New(c)
}

// secret reads the client's secret. The file that a Secret was made of may end with a line.
func (f *oidcFlags) secret() (string, error) {
	text, err := os.ReadFile(f.secretFile)
	if err != nil {
		return "", fmt.Errorf("--oidc-client-secret-file: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("--oidc-client-secret-file: %s is empty", f.secretFile)
	}
	return secret, nil
}
