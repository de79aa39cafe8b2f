// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// proxy is in front of a server, and spoils requests. break nil: none.
func proxy(t *testing.T, to string, spoil func(*http.Request) fault) *httptest.Server {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(target)
	through.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	return standIn(t, func(w http.ResponseWriter, r *http.Request) {
		f := noFault
		if spoil != nil {
			f = spoil(r)
		}
		unseen := httptest.NewRecorder()
		switch f {
		case noFault, faults:
			through.ServeHTTP(w, r)
		case faultBefore:
			panic(http.ErrAbortHandler)
		case faultAfter:
			through.ServeHTTP(unseen, r.WithContext(context.WithoutCancel(r.Context())))
			panic(http.ErrAbortHandler)
		case faultError:
			w.WriteHeader(http.StatusBadGateway)
		case faultLate:
			through.ServeHTTP(unseen, r.WithContext(context.WithoutCancel(r.Context())))
			w.WriteHeader(http.StatusBadGateway)
		case faultSlow:
			through.ServeHTTP(unseen, r.WithContext(context.WithoutCancel(r.Context())))
			<-r.Context().Done() // who asked has given up
		case faultLimit:
			w.Header().Set("RateLimit-Reset", fmt.Sprint(time.Now().Add(5*time.Minute).Unix()))
			says(http.StatusTooManyRequests, "RateLimitExceeded")(w, r)
		}
	})
}

// movedTo is a directory in which the account is at another address.
func movedTo(t *testing.T, w *world, address string) (plcURL string) {
	t.Helper()
	return standIn(t, func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(rw, `{"id":%q,"alsoKnownAs":["at://%s"],"service":[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":%q}]}`,
			w.account.DID, w.account.Handle, address)
	}).URL
}

// behind is a world whose account is reached through a proxy.
func behind(t *testing.T, w *world, c *credentials, spoil func(*http.Request) fault) (*world, *credentials) {
	t.Helper()
	p := proxy(t, w.server.URL, spoil)
	told := *w.server
	told.PLCURL = movedTo(t, w, p.URL)
	spoiled := &world{newPlatform(t, &told, p.URL), w.server, w.account}
	c = c.with("pdsUrl", p.URL)
	c.refresher = spoiled.Refresher
	return spoiled, c
}
