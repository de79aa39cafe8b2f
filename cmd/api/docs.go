// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/letmepost/letmepost-operator/internal/docs"
	"github.com/letmepost/letmepost-operator/internal/httpapi"
)

// docsFlags are the flags of the documentation.
type docsFlags struct {
	served  bool
	baseURL string // "": see base
}

func (d *docsFlags) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&d.served, "docs", true, "Serve the documentation at /docs, with its index at /llms.txt.")
	flags.StringVar(&d.baseURL, "docs-base-url", "",
		"Base URL of the error documentation, for docUrl in error responses. Default: this process's own /docs, "+
			"at --public-url; without one of the two, "+httpapi.DefaultDocsBaseURL+".")
}

// check looks at what was given. The error is a usageError.
func (d *docsFlags) check() error {
	if d.baseURL == "" {
		return nil
	}
	// Callers follow docUrl: what is no URL would be found out by them.
	if u, err := url.Parse(d.baseURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return usageError{fmt.Sprintf("--docs-base-url: want an http or https URL, not %q", d.baseURL)}
	}
	return nil
}

// base is where errors say that they are documented. Without a public URL, that is not here: the host that a caller has
// asked for is what they say it is, and answers are stored and read by others.
func (d *docsFlags) base(publicURL string) string {
	if d.baseURL == "" && d.served && publicURL != "" {
		return strings.TrimRight(publicURL, "/") + docs.Root
	}
	return d.baseURL
}

// before serves the documentation before the API, unless it is switched off: then its paths are none.
func (d *docsFlags) before(next http.Handler, publicURL string, watched watch) http.Handler {
	if !d.served {
		return next
	}
	// Only the documentation is watched here: what goes on to next is logged and counted there, and would be twice.
	return docs.Before(watched(docs.New(publicURL), docs.Pattern, docs.Patterns()...), next)
}

// watch has requests that are not the API's logged, counted and traced: endpoint.Engine.Beside.
type watch func(pages http.Handler, patternOf func(*http.Request) string, patterns ...string) http.Handler
