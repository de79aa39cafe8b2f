// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/session"
)

// refusing is another replica of a world, for which the apiserver takes no credential whenever refuse says so: of the
// next request whose method and path begin and end like that, alone.
func (w *world) refusing(t *testing.T) (base string, refuse func(method, path string)) {
	t.Helper()
	config := rest.AnonymousClientConfig(w.cluster.AdminConfig())
	to, err := url.Parse(config.Host)
	check(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport, err = rest.TransportFor(config)
	check(t, err)
	var next atomic.Pointer[[2]string]
	apiserver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if of := next.Load(); of != nil && r.Method == of[0] && strings.HasSuffix(r.URL.Path, of[1]) &&
			next.CompareAndSwap(of, nil) {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(apiserver.Close)
	reached, err := session.NewApiserver(&rest.Config{Host: apiserver.URL})
	check(t, err)
	c := w.config
	c.Sessions, err = session.New(session.Options{
		Apiserver: reached, Environment: key.Live, Store: w.store, Listed: w.organizations, NewToken: rand.Text,
		Clock: w.clock, Logger: c.Logger, Provider: w.provider(t),
	})
	check(t, err)
	limits, err := limit.NewCallers(limit.Options{})
	check(t, err)
	c.Admission, err = admission.New(admission.Options{
		Authenticator: authn.NewAuthenticator(authn.Options{
			Index: w.index, Format: authntest.Format(t), Environment: key.Live, Clock: clock.RealClock{},
			Serving: func(time.Time) bool { return true }, CommitTimeout: time.Minute,
		}),
		Sessions: c.Sessions.Admitting(), Limits: limits,
		Failures: limit.NewAddresses(rate.Rate{Requests: maxFailures, Window: time.Hour}),
	})
	check(t, err)
	d, err := dashboard.New(c)
	check(t, err)
	server := httptest.NewTLSServer(d)
	t.Cleanup(server.Close)
	refuse = func(method, path string) {
		if next.Swap(&[2]string{method, path}) != nil {
			t.Error("the last one was never asked for")
		}
	}
	return server.URL + dashboard.Base, refuse
}

// TestNotTaken: if the apiserver takes a credential no more in the middle of a page, who has a session that is renewed
// is told that, and goes on with the next page; anybody else is signed out, and told so.
func TestNotTaken(t *testing.T) {
	w := newWorld(t, byProvider)
	acme := w.cluster.Namespace(t)
	w.friend(t, acme, "ann", "letmepost-apikey-viewer")
	k := w.newKey(t, acme, "shop")
	elsewhere, refuse := w.refusing(t)

	ann := w.visitor(t)
	eventually(t, "the apiserver has read the provider's keys", func() bool {
		return ann.get(ann.atProvider("/dashboard/", "ann")).status == http.StatusOK
	})
	eventually(t, "the apiserver knows of the binding", func() bool {
		return ann.post("/organizations", url.Values{"name": {acme}}).status == http.StatusOK
	})
	ann.organization = w.organizationID(t, acme)
	ann.base = elsewhere
	says(t, ann.get("/keys/shop"), http.StatusOK, string(k.UID))
	for _, c := range []struct {
		reason, method, path string // of what the apiserver refuses
		ask                  func() page
	}{
		{"what the page is about", http.MethodGet, "/apikeys/shop", func() page { return ann.get("/keys/shop") }},
		{"what stands beside it", http.MethodGet, "/events", func() page { return ann.get("/keys/shop") }},
		{"what a form asks for", http.MethodDelete, "/apikeys/shop", func() page {
			return ann.post("/keys/-/revoke", refs(k))
		}},
		{"which organization it is in", http.MethodGet, "/namespaces/" + acme, func() page {
			w.unlisted.Store(acme) // and so it is asked
			defer w.unlisted.Store("")
			w.clock.forget()
			return ann.get("/keys/shop")
		}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			renewals := issuer.Renewals.Load()
			refuse(c.method, c.path)
			p := c.ask()
			says(t, p, http.StatusServiceUnavailable, "The cluster did not take your sign-in this time")
			if strings.Contains(p.body, string(k.UID)) || strings.Contains(p.body, "⟦") {
				t.Errorf("at %s:\n%s", p.path, p.body)
			}
			says(t, ann.get("/keys/shop"), http.StatusOK, string(k.UID))
			if n := issuer.Renewals.Load() - renewals; n != 1 {
				t.Errorf("it was renewed %d times", n)
			}
		})
	}
	if !w.keyOf(t, acme, "shop").DeletionTimestamp.IsZero() {
		t.Error("the key is revoked")
	}

	ben := w.signedIn(t, w.credential(t, acme, "ben", "letmepost-apikey-viewer"), acme)
	ben.base = elsewhere
	refuse(http.MethodGet, "/apikeys/shop")
	says(t, ben.get("/keys/shop"), http.StatusOK, "Your session is over")
	says(t, ben.get("/keys/shop"), http.StatusOK, "Your session is over")
}
