// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// told takes reports, and answers as a Reporter whose Lease is written at once.
type told struct {
	keys []string
	err  error
}

func (l *told) Report(_ context.Context, keys ...string) error {
	l.keys = append(l.keys, keys...)
	return l.err
}

func report(f *fixture, kind, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, leak.Path, strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// TestReportLeaked: whatever is reported has one answer, without credentials and while the replica is fenced; what is
// no report has another one.
func TestReportLeaked(t *testing.T) {
	const form, json = "application/x-www-form-urlencoded", "application/json"
	k, real := authntest.Minted(t, authntest.Format(t), key.Live)
	_, unknown := authntest.Minted(t, authntest.Format(t), key.Test)
	leaks := &told{}
	f := newFixtureOf(t, (*API).routes, []any{k}, func(c *parts) {
		c.Leaks, c.LeakReports = leaks, limit.NewAddresses(rate.Rate{})
	})
	f.serving.Store(false)
	for _, tc := range []struct {
		kind, body, key string
		status          int
	}{
		{json, `{"key":"` + real + `"}`, real, 200},
		{json, `{"key":"` + unknown + `"}`, unknown, 200},
		{json, `{"key":""}`, "", 200},
		{"", `{"key":"hello"}`, "hello", 200},
		{form, "token=" + real, real, 200},
		{form, "token=" + real + "&token_type_hint=access_token", real, 200},
		{form + "; charset=utf-8", "token=a%20b", "a b", 200},
		{json, `{"key":null}`, "", 400},
		{json, `{"key":["` + real + `"]}`, "", 400},
		{json, "token=" + real, "", 400},
		{json, "", "", 400},
		{form, "", "", 400},
		{form, "token=a&token=b", "", 400},
		{form, "token=%", "", 400},
		{form, "token=" + strings.Repeat("a", 5000), "", 413},
		{json, `{"key":"` + strings.Repeat("a", 5000) + `"}`, "", 413},
	} {
		leaks.keys = nil
		w := report(f, tc.kind, tc.body)
		if w.Code != tc.status || tc.status == 200 && (w.Body.String() != leak.Answered || len(leaks.keys) != 1 || leaks.keys[0] != tc.key) {
			t.Errorf("%s %s: %d %s, reported %q", tc.kind, tc.body, w.Code, w.Body, leaks.keys)
		}
		if tc.status != 200 && len(leaks.keys) > 0 {
			t.Errorf("%s %s: reported %q", tc.kind, tc.body, leaks.keys)
		}
		if strings.Contains(f.log.String(), real) {
			t.Fatal("the key is in the log")
		}
	}
	leaks.err = leak.ErrUnavailable
	if w := report(f, json, `{"key":"`+real+`"}`); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("with no room: %d %s", w.Code, w.Body)
	}
}

// TestReportsAreReadAsAllBodies: a report is written as the body of any other route, and what is wrong with it is told
// in the same words, whatever key is in it.
func TestReportsAreReadAsAllBodies(t *testing.T) {
	const json, form, latin = "application/json", "application/x-www-form-urlencoded", "; charset=iso-8859-1"
	k, held := authntest.Minted(t, authntest.Format(t), key.Live)
	_, unknown := authntest.Minted(t, authntest.Format(t), key.Live)
	leaks := &told{}
	f := newFixtureOf(t, (*API).routes, []any{k}, func(c *parts) {
		c.Leaks, c.LeakReports = leaks, limit.NewAddresses(rate.Rate{})
	})
	of := func(key string) string { return `{"key":"` + key + `"}` }
	for reason, tc := range map[string]struct {
		types, encodings []string
		body             func(key string) string
		status           int
		rule, says       string
	}{
		"a byte order mark":              {[]string{json}, nil, func(k string) string { return "\ufeff" + of(k) }, 200, "", ""},
		"the charset that JSON has":      {[]string{json + "; charset=UTF-8"}, nil, of, 200, "", ""},
		"the same, as it is misspelt":    {[]string{json + `; charset="utf8"`}, nil, of, 200, "", ""},
		"encoded in no way":              {[]string{json}, []string{"identity"}, of, 200, "", ""},
		"an escape":                      {[]string{json}, nil, func(k string) string { return `{"k\u0065y":"` + k + `"}` }, 200, "", ""},
		"compressed":                     {[]string{json}, []string{"gzip"}, of, 415, "body.content_encoding", "without the header"},
		"compressed in the second place": {[]string{json}, []string{"identity", "br"}, of, 415, "body.content_encoding", "without the header"},
		"a form that is compressed":      {[]string{form}, []string{"gzip"}, func(k string) string { return "token=" + k }, 415, "body.content_encoding", "without the header"},
		"another charset":                {[]string{json + latin}, nil, of, 400, "body.content_type", "UTF-8"},
		"a form in another charset":      {[]string{form + latin}, nil, func(k string) string { return "token=" + k }, 400, "body.content_type", "UTF-8"},
		"another charset of what it is":  {[]string{"text/plain" + latin}, nil, of, 400, "body.content_type", "UTF-8"},
		"two types":                      {[]string{json, json + latin}, nil, of, 400, "leaked", json},
		"a type that can't be read":      {[]string{json + "; charset"}, nil, of, 400, "leaked", json},
		"a member in another case":       {[]string{json}, nil, func(k string) string { return `{"KEY":"` + k + `"}` }, 400, "leaked", `{"key":`},
		"a member twice":                 {[]string{json}, nil, func(k string) string { return `{"key":"x","key":"` + k + `"}` }, 400, "leaked", `{"key":`},
		"an unknown member":              {[]string{json}, nil, func(k string) string { return `{"key":"` + k + `","more":1}` }, 400, "leaked", `{"key":`},
		"no UTF-8":                       {[]string{json}, nil, func(k string) string { return of(k + "\xff") }, 400, "leaked", `{"key":`},
		"more than one value":            {[]string{json}, nil, func(k string) string { return of(k) + "{}" }, 400, "leaked", `{"key":`},
	} {
		answers := map[string]bool{}
		for _, reported := range []string{held, unknown} {
			leaks.keys = nil
			r := httptest.NewRequest(http.MethodPost, leak.Path, strings.NewReader(tc.body(reported)))
			r.Header["Content-Type"], r.Header["X-Request-Id"] = tc.types, []string{"one"}
			if tc.encodings != nil {
				r.Header["Content-Encoding"] = tc.encodings
			}
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			answers[w.Body.String()] = true
			switch {
			case w.Code != tc.status:
				t.Errorf("%s: %d %s, want %d", reason, w.Code, w.Body, tc.status)
			case tc.status == http.StatusOK:
				if len(leaks.keys) != 1 || leaks.keys[0] != reported {
					t.Errorf("%s: reported %q", reason, leaks.keys)
				}
				continue
			}
			if e := errorOf(t, w); e.Rule != tc.rule || !strings.Contains(e.Remediation, tc.says) || len(leaks.keys) > 0 {
				t.Errorf("%s: %+v, reported %q", reason, e, leaks.keys)
			}
			if tc.status == http.StatusUnsupportedMediaType && w.Header().Get("Accept-Encoding") != "identity" {
				t.Errorf("%s: what to send instead is not in %v", reason, w.Header())
			}
		}
		if len(answers) != 1 {
			t.Errorf("%s: a key that is held is told from another: %v", reason, answers)
		}
	}
}

// TestReportsAreLimited: an address has an allowance of reports, whatever it reports; it is nobody else's, and not that
// of failed attempts.
func TestReportsAreLimited(t *testing.T) {
	k, s := authntest.Minted(t, authntest.Format(t), key.Live)
	f := newFixtureOf(t, (*API).routes, []any{k}, func(c *parts) {
		c.Leaks, c.LeakReports = &told{}, limit.NewAddresses(rate.Rate{Requests: 2, Window: time.Minute})
	})
	for i, want := range []int{200, 400, 429} {
		body := []string{`{"key":"hello"}`, "", `{"key":"` + s + `"}`}[i]
		if w := report(f, "application/json", body); w.Code != want {
			t.Errorf("report %d: %d, want %d", i, w.Code, want)
		}
	}
	if w := f.do(http.MethodGet, "/v1/whoami", s); w.Code != 200 {
		t.Errorf("a key from the same address: %d", w.Code)
	}
}
