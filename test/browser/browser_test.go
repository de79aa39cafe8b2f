// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/letmepost/letmepost-operator/test/browser"
)

// TestReadAPageThatLoadsItselfAgain: whatever is read while pages go away all the time is of one that is there, whole.
func TestReadAPageThatLoadsItselfAgain(t *testing.T) {
	var loads atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!doctype html><title>page</title><meta http-equiv="refresh" content="0"><p class="last">%d</p>`, loads.Add(1))
	}))
	defer server.Close()
	chromium, err := browser.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer chromium.Stop()
	tab, done := chromium.Person()
	defer done()
	if err := chromedp.Do(tab, chromedp.Navigate(server.URL)); err != nil {
		t.Fatal(err)
	}
	for loads.Load() < 50 {
		for expression, want := range map[string]string{
			`document.title`:                        "page",
			`Promise.resolve("as promised")`:        "as promised",
			`document.querySelector("p").className`: "last",
		} {
			if text, err := browser.Read[string](tab, expression); err != nil || text != want {
				t.Fatalf("%s: %q, %v", expression, text, err)
			}
		}
	}
	if _, err := browser.Read[string](tab, `thrown()`); err == nil {
		t.Error("what the expression throws is no error")
	}
}
