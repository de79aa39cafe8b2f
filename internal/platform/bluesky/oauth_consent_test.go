// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/test/browser"
	"github.com/letmepost/letmepost-operator/test/pds"
)

// chromium is the browser of all tests, which starts when the first of them asks for it.
var chromium = sync.OnceValues(func() (*browser.Browser, error) {
	isShown.Store(true)
	return browser.Start(context.Background(), chromedp.Flag("host-resolver-rules", "MAP "+publicName+" 127.0.0.1"),
		chromedp.IgnoreCertErrors)
})

var isShown atomic.Bool

// TestMain ends the browser, which leaves files behind otherwise.
func TestMain(m *testing.M) {
	code := m.Run()
	if isShown.Load() {
		if b, err := chromium(); err == nil {
			b.Stop()
		}
	}
	os.Exit(code)
}

// authorization is an account's on its way to be connected by OAuth.
type authorization struct {
	begun    platform.Begun
	callback *url.URL
	back     chan url.Values // what browsers have come back with
}

// authorize begins to connect the account by OAuth, as somebody at this machine.
func (w *world) authorize(t *testing.T, more ...string) authorization {
	t.Helper()
	a := authorization{back: make(chan url.Values, 1)}
	here := standIn(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			a.back <- r.URL.Query()
		}
	})
	var err error
	if a.callback, err = url.Parse(here.URL + "/callback"); err != nil {
		t.Fatal(err)
	}
	w.beginAt(t, &a, more...)
	return a
}

// beginAt sends an account on its way to a callback.
func (w *world) beginAt(t *testing.T, a *authorization, more ...string) {
	t.Helper()
	given := map[string]string{"identifier": w.account.Handle, "pdsUrl": w.server.URL}
	for i := 0; i+1 < len(more); i += 2 {
		given[more[i]] = more[i+1]
	}
	var err error
	a.begun, err = w.Connector.Begin(t.Context(), platform.ConnectionRequest{
		Method: platform.ByOAuth, Credentials: given, CallbackURL: a.callback, State: uuid.NewString(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.begun.AuthorizationURL == nil || a.begun.Descriptor.Kind != platform.ByOAuth {
		t.Fatalf("begun %+v", a.begun)
	}
}

// consent has the owner of an account answer in a browser, and returns what it comes back with.
func (a authorization) consent(t *testing.T, by *pds.Account, with pds.Answer) url.Values {
	t.Helper()
	b, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	tab, closeTab := b.Person()
	defer closeTab()
	if err := by.Consent(tab, a.begun.AuthorizationURL.String(), with); err != nil {
		t.Fatal(err)
	}
	select {
	case back := <-a.back:
		return back
	case <-time.After(2 * time.Minute):
		t.Fatal("the browser does not come back")
		return nil
	}
}

func (w *world) completeWith(t *testing.T, a authorization, back url.Values) (platform.Connection, *platform.Failure) {
	t.Helper()
	c, err := w.Connector.Complete(t.Context(), platform.ConnectionAnswer{
		Callback: back, CallbackURL: a.callback, Resume: a.begun.Resume,
	})
	return c, failureOf(t, err)
}

// connectByOAuth connects the account in a browser, and returns its credentials.
func (w *world) connectByOAuth(t *testing.T) (*credentials, platform.Connection) {
	t.Helper()
	a := w.authorize(t)
	c, f := w.completeWith(t, a, a.consent(t, w.account, pds.Allow))
	if f != nil {
		t.Fatalf("%+v", f)
	}
	return &credentials{of: w.to(), secrets: c.Secrets, refresher: w.Refresher}, c
}
