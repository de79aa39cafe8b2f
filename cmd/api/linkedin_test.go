// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
)

// TestLinkedInIsConfigured: LinkedIn is there with an app and its secret, and what is missing is told in one line.
func TestLinkedInIsConfigured(t *testing.T) {
	const id, url = "--linkedin-client-id app", "--public-url https://api.example.com"
	all := []string{"--linkedin-client-id", "$LMP_LINKEDIN_CLIENT_SECRET", "--public-url"}
	for name, c := range map[string]struct {
		args, secret string
		enabled      bool
		level        string // "": nothing is said
		missing      []string
	}{
		"nothing":            {level: "INFO", missing: all},
		"an address alone":   {args: url, level: "INFO", missing: all[:2]},
		"no secret":          {args: id + " " + url, level: "WARN", missing: all[1:2]},
		"a secret of blanks": {args: id + " " + url, secret: " \n", level: "WARN", missing: all[1:2]},
		"no client id":       {args: url, secret: "s", level: "WARN", missing: all[:1]},
		"a secret alone":     {secret: "s", level: "WARN", missing: []string{all[0], all[2]}},
		"no address":         {args: id, secret: "s", enabled: true, level: "WARN", missing: all[2:]},
		"all":                {args: id + " " + url, secret: "s\n", enabled: true},
	} {
		t.Run(name, func(t *testing.T) {
			getenv := func(name string) string {
				if name == "LMP_LINKEDIN_CLIENT_SECRET" {
					return c.secret
				}
				return ""
			}
			o, err := parse(append([]string{"--environment", "live", "--linkedin-version", "203501"}, strings.Fields(c.args)...),
				getenv, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if o.platforms.linkedin.clientSecret != strings.TrimSpace(c.secret) {
				t.Errorf("the secret is %q", o.platforms.linkedin.clientSecret)
			}
			var log bytes.Buffer
			registry := prometheus.NewRegistry()
			list, err := o.platformList(registry, slog.New(slog.NewJSONHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			p, _ := list.Get(linkedin.Name)
			metrics, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Publisher != nil; got != c.enabled || (p.Refresher != nil) != c.enabled || (len(metrics) == 1) != c.enabled {
				t.Errorf("enabled: %v, with metrics %v", got, metrics)
			}
			var line struct {
				Level   string
				Missing []string
			}
			if log.Len() > 0 {
				if err := json.Unmarshal(log.Bytes(), &line); err != nil { // two lines are no JSON
					t.Fatalf("%v: %s", err, &log)
				}
			}
			if diff := cmp.Diff(c.missing, line.Missing); line.Level != c.level || diff != "" {
				t.Errorf("said at %q, missing (-want +got):\n%s", line.Level, diff)
			}
			if c.secret == "s" && strings.Contains(log.String(), `"s"`) {
				t.Error("the secret is logged")
			}
		})
	}
}

// TestLinkedInIsPlayed in the test environment, whatever is configured: no test key reaches it.
func TestLinkedInIsPlayed(t *testing.T) {
	o, err := parse(strings.Fields("--environment test --linkedin-client-id app --public-url https://test.example.com"),
		func(string) string { return "s" }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	list, err := o.platformList(registry, slog.New(slog.DiscardHandler))
	if err != nil || o.environment != key.Test {
		t.Fatal(err)
	}
	p, _ := list.Get(linkedin.Name)
	if metrics, err := registry.Gather(); p.Refresher != nil || p.Asker != nil || len(metrics) > 0 || err != nil {
		t.Errorf("it is %+v, with %v, %v", p, metrics, err)
	}
}

// TestLinkedInIsSentNoSecretInTheClear: the addresses of it that tests give are held to what its own is.
func TestLinkedInIsSentNoSecretInTheClear(t *testing.T) {
	for _, flag := range []string{"--linkedin-auth-url", "--linkedin-api-url"} {
		args := "--environment live --linkedin-client-id app --public-url https://api.example.com " + flag + " http://example.com"
		o, err := parse(strings.Fields(args), func(string) string { return "s" }, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.platformList(prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s http://example.com is taken", flag)
		}
	}
}
