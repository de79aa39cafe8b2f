// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/gate"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// TestLeaked: the gate answers reports as the API does; what is one, package leak decides for both.
func TestLeaked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := authntest.Minted(t, authntest.Format(t), key.Live)
		index, loaded := authntest.Index(t, k), true
		l := gate.Leaked{
			Leaks: leak.New(leak.Options{
				Index: index, Format: authntest.Format(t), Loaded: func() bool { return loaded }, Clock: clock.RealClock{},
			}),
			Reports: limit.NewAddresses(rate.Rate{Requests: 5, Window: time.Minute}), Clock: clock.RealClock{},
		}
		for _, tc := range []struct {
			method, body string
			loaded       bool
			status       int
			header       string
		}{
			{http.MethodGet, "", true, http.StatusMethodNotAllowed, "Allow"},
			{http.MethodPost, `{"key":"` + s + `"}`, true, http.StatusOK, ""},
			{http.MethodPost, `{"key":"hello"}`, true, http.StatusOK, ""},
			{http.MethodPost, `{}`, true, http.StatusBadRequest, ""},
			{http.MethodPost, strings.Repeat(" ", 5000), true, http.StatusRequestEntityTooLarge, ""},
			{http.MethodPost, `{"key":"hello"}`, false, http.StatusServiceUnavailable, "Retry-After"},
			{http.MethodPost, `{"key":"` + s + `"}`, true, http.StatusTooManyRequests, "Retry-After"},
		} {
			loaded = tc.loaded
			w := httptest.NewRecorder()
			l.ServeHTTP(w, httptest.NewRequest(tc.method, leak.Path, strings.NewReader(tc.body)))
			if w.Code != tc.status || tc.header != "" && w.Header().Get(tc.header) == "" ||
				(w.Body.String() == leak.Answered) != (tc.status == http.StatusOK) || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s %.40s: %d %s %v", tc.method, tc.body, w.Code, w.Body, w.Header())
			}
		}
		loaded = true
		cut, cancel := context.WithCancel(t.Context())
		cancel()
		l.Reports = limit.NewAddresses(rate.Rate{})
		w := httptest.NewRecorder()
		l.ServeHTTP(w, httptest.NewRequest(http.MethodPost, leak.Path, strings.NewReader(`{"key":"hello"}`)).WithContext(cut))
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("a request that was cut: %d %s", w.Code, w.Body)
		}
		authenticator := authntest.Authenticator(t, index, key.Live, clock.RealClock{})
		if _, err := authntest.Caller(authenticator, time.Now(), []string{"Bearer " + s}); err != authn.Leaked { //nolint:errorlint // it is returned bare
			t.Errorf("the reported key: %v", err)
		}
	})
}

// TestLeakedIsReadAsTheAPIsBodies: the gate refuses what the API does, with the status and the header of the API's.
func TestLeakedIsReadAsTheAPIsBodies(t *testing.T) {
	k, s := authntest.Minted(t, authntest.Format(t), key.Live)
	l := gate.Leaked{
		Leaks: leak.New(leak.Options{
			Index: authntest.Index(t, k), Format: authntest.Format(t), Loaded: func() bool { return true }, Clock: clock.RealClock{},
		}),
		Reports: limit.NewAddresses(rate.Rate{}), Clock: clock.RealClock{},
	}
	for _, tc := range []struct {
		reason, name, value, body string
		status                    int
	}{
		{"compressed", "Content-Encoding", "gzip", `{"key":"` + s + `"}`, http.StatusUnsupportedMediaType},
		{"another charset", "Content-Type", "application/json; charset=iso-8859-1", `{"key":"` + s + `"}`, http.StatusBadRequest},
		{"a member in another case", "Content-Type", "application/json", `{"KEY":"` + s + `"}`, http.StatusBadRequest},
		{"a member twice", "Content-Type", "application/json", `{"key":"x","key":"` + s + `"}`, http.StatusBadRequest},
	} {
		r := httptest.NewRequest(http.MethodPost, leak.Path, strings.NewReader(tc.body))
		r.Header.Set(tc.name, tc.value)
		w := httptest.NewRecorder()
		l.ServeHTTP(w, r)
		unsupported := tc.status == http.StatusUnsupportedMediaType
		if w.Code != tc.status || (w.Header().Get("Accept-Encoding") == "identity") != unsupported {
			t.Errorf("%s: %d %s %v", tc.reason, w.Code, w.Body, w.Header())
		}
	}
}
