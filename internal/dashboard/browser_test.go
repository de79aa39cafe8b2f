// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/test/browser"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// Budgets of a page: somebody may be on a train.
const (
	maxPageBytes    = 60 << 10 // with all that it loads, compressed
	maxPageRequests = 5
)

// examples are the pages that have a name in their path, and what is shown of them here.
var examples = map[string]string{
	"/keys/{name}/secret": "/keys/into-the-cluster/secret", "/keys/{name}/rotate": "/keys/into-the-cluster/rotate",
	"/accounts/-/connect/{platform}":          "/accounts/-/connect/bluesky",
	"/accounts/-/connect/{platform}/returned": "/accounts", // which is where it leads
	"/accounts/{id}":                          "/accounts/" + shownAccount, "/accounts/{id}/disconnect": "/accounts/" + shownAccount + "/disconnect",
	"/posts/{id}": "/posts/" + shownPost, "/profiles/{name}": "/profiles/shop", "/profiles/{name}/delete": "/profiles/shop/delete",
}

// shownPost and shownAccount are those that there are to see.
const (
	shownPost    = "01900000-0000-7000-8000-000000000001"
	shownAccount = "01900000-0000-7000-8000-000000000002"
)

// TestEveryPageInABrowser goes through all screens that are pages, as a reader, in Chromium: nothing that axe-core
// finds, no error in the console, nothing wider than a telephone, or than a window at 200 %, within the budgets; and
// then through what else some of them show. What they look like is kept in bin/screens, in light and dark, wide and
// narrow.
func TestEveryPageInABrowser(t *testing.T) {
	w := newWorld(t, counting(t))
	acme := w.cluster.Namespace(t)
	w.furnish(t, acme)
	w.use(t, acme, "website", "nightly-report")
	token := w.credential(t, acme, "ada", "letmepost-apikey-minter", "letmepost-apikey-revoker", "letmepost-profile-editor", podViewer)
	w.right(t, acme, "ada", all, "posts", "accounts", "media")
	chromium, err := browser.Start(t.Context(), chromedp.IgnoreCertErrors)
	check(t, err)
	t.Cleanup(chromium.Stop)
	ada := browsing(t, chromium, w.signedIn(t, token, acme))
	ada.axe = axe(t)
	ada.signIn(token, acme)
	w.seesReplicas(t, acme, ada.visitor, "ada")
	for _, s := range dashboard.Screens(w.dashboard) {
		if s.Method != http.MethodGet {
			continue
		}
		path, ok := examples[s.Path]
		if !ok {
			path = s.Path
		}
		if s.Path == "/handover" { // whose code is good for a minute
			_, path, _ = w.handOver(t, token)
		}
		if strings.Contains(strings.ReplaceAll(path, "{$}", ""), "{") {
			t.Errorf("%s: examples has no page of it to look at", s.Path)
			continue
		}
		path = strings.ReplaceAll(path, "{$}", "")
		t.Run(path, func(t *testing.T) { ada.look(t, nameOf(path), ada.at(path), 0) })
	}
	ada.picture(t)
	for _, s := range w.states(t, acme, ada) { // in their order: each changes something
		t.Run(s.name, func(t *testing.T) { ada.look(t, s.name, s.show, s.status) })
	}
	bare := w.cluster.Namespace(t)
	token = w.credential(t, bare, "ben", "letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-profile-editor")
	w.right(t, bare, "ben", all, "posts", "accounts", "media")
	ben := browsing(t, chromium, w.signedIn(t, token, bare))
	ben.axe = ada.axe
	ben.signIn(token, bare)
	for _, path := range []string{"/", "/keys", "/profiles", "/accounts", "/posts"} {
		t.Run(nameOf(path)+"-empty", func(t *testing.T) { ben.look(t, nameOf(path)+"-empty", ben.at(path), 0) })
	}
}

func axe(t *testing.T) string {
	t.Helper()
	script, err := os.ReadFile(kube.Path("bin/axe/node_modules/axe-core/axe.min.js"))
	if err != nil {
		t.Fatal("axe-core is missing: run hack/axe/build.sh first (make test does)")
	}
	return string(script)
}

// furnish fills an organization with what there is to see.
func (w *world) furnish(t *testing.T, namespace string) {
	t.Helper()
	w.furnishKeys(t, namespace)
	w.furnishDatabase(t, namespace)
	check(t, w.admin.Create(t.Context(), &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "into-the-cluster"},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive},
	}))
}

// reader is somebody who looks at pages in a browser.
type reader struct {
	*visitor // who is signed in as well, and asks for the same without a browser
	axe      string
	tab      context.Context
}

// browsing gives a visitor a tab of their own, which shares nothing with others'.
func browsing(t *testing.T, chromium *browser.Browser, v *visitor) *reader {
	t.Helper()
	tab, done := chromium.Person()
	t.Cleanup(done)
	return &reader{visitor: v, tab: tab}
}

func (r *reader) signIn(token, organization string) {
	r.t.Helper()
	check(r.t, chromedp.Do(r.tab,
		chromedp.Navigate(r.base+"/sign-in"),
		chromedp.SetValue(chromedp.CSS("#token"), token),
		chromedp.Submit(chromedp.CSS("#token")),
		chromedp.WaitVisible(chromedp.CSS("#name")),
		chromedp.SetValue(chromedp.CSS("#name"), organization),
		chromedp.Submit(chromedp.CSS("#name")),
		chromedp.WaitVisible(chromedp.CSS("nav.rooms")),
	))
}

// at goes to a page of the dashboard.
func (r *reader) at(path string) func() error {
	return func() error { return chromedp.Do(r.tab, chromedp.Navigate(r.base+path)) }
}

// look has a page shown and finds fault with it. Of one that refuses something, with its status, the browser may
// complain.
func (r *reader) look(t *testing.T, name string, show func() error, status int) {
	listening, stop := context.WithCancel(r.tab)
	defer stop()
	var complaints complaints
	check(t, chromedp.Listen(listening, complaints.note))
	check(t, chromedp.Do(r.tab, chromedp.EmulateViewport(1280, 900)))
	check(t, show())
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(r.tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		check(t, err)
		for _, width := range []int64{1280, 360} {
			check(t, chromedp.Do(r.tab, chromedp.EmulateViewport(width, 900)))
			for _, fault := range r.faults(t) {
				t.Errorf("%s, %d px: %s", scheme, width, fault)
			}
			r.keep(t, fmt.Sprintf("%s-%s-%d.png", name, scheme, width))
		}
	}
	for _, fault := range append(r.unsaid(t), r.misheard(t)...) {
		t.Errorf("a screen reader: %s", fault)
	}
	check(t, chromedp.Do(r.tab, chromedp.EmulateViewport(640, 450, chromedp.EmulateScale(2))))
	if wide := r.wider(t); wide > 0 {
		t.Errorf("at 200 %%, the page is %d px wider than the window", wide)
	}
	if wide := r.enlarged(t); wide > 0 {
		t.Errorf("with its text twice as large, the page is %d px wider than the window", wide)
	}
	r.weigh(t)
	for _, said := range complaints.all() {
		if status != 0 && strings.Contains(said, fmt.Sprintf("status of %d", status)) {
			continue
		}
		t.Errorf("the browser complains: %s", said)
	}
}

// faults are those that axe-core finds, and what is wider than the window.
func (r *reader) faults(t *testing.T) (found []string) {
	t.Helper()
	check(t, chromedp.Do(r.tab, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[any](r.axe+";null", chromedp.EvalIgnoreExceptions))
		if errors.Is(err, chromedp.ErrJSNull) {
			err = nil
		}
		return err
	})))
	text, err := browser.Read[string](r.tab, `axe.run().then(r => JSON.stringify(r.violations.map(
v => v.id + ": " + v.help + " " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200)).join(" | "))))`)
	check(t, err)
	check(t, json.Unmarshal([]byte(text), &found))
	if wide := r.wider(t); wide > 0 {
		found = append(found, fmt.Sprintf("the page is %d px wider than the window", wide))
	}
	return append(found, r.narrowness(t)...)
}

// wider is how much wider a page is than its window.
func (r *reader) wider(t *testing.T) int {
	t.Helper()
	wide, err := browser.Read[int](r.tab, `document.documentElement.scrollWidth - innerWidth`)
	check(t, err)
	return wide
}

// listsInABrowser looks at a list of 10,007 keys, searches it, turns the page and sorts, by what people click on. Each
// page is within its budgets.
func (w *world) listsInABrowser(t *testing.T, v *visitor, token, organization string) {
	t.Helper()
	chromium, err := browser.Start(t.Context(), chromedp.IgnoreCertErrors)
	check(t, err)
	t.Cleanup(chromium.Stop)
	ada := browsing(t, chromium, v)
	ada.signIn(token, organization)
	for _, step := range []struct {
		do    chromedp.Action[chromedp.Void]
		first string // key that is listed
		says  string
	}{
		{chromedp.Navigate(ada.base + "/keys"), "", "1 to 25 of 10007"},
		{chromedp.Submit(chromedp.CSS("input[name=q]")), "", "1 to 25 of 10007"},
		{chromedp.SetValue(chromedp.CSS("input[name=q]"), "some-backend-99"), "", ""},
		{chromedp.Submit(chromedp.CSS("input[name=q]")), "some-backend-9999", "1 to 25 of 111"},
		{chromedp.Click(chromedp.CSS("a[href*='sort=name']")), "some-backend-99", "1 to 25 of 111"},
		{chromedp.Click(chromedp.CSS("a[rel=next]")), "some-backend-9921", "26 to 50 of 111"},
		{chromedp.Click(chromedp.CSS("a[rel=prev]")), "some-backend-99", "1 to 25 of 111"},
	} {
		_, err := browser.Read[bool](ada.tab, `window.before = true`)
		check(t, err)
		check(t, chromedp.Do(ada.tab, step.do))
		if step.says == "" {
			continue
		}
		eventually(t, "another page is there", func() bool {
			there, err := browser.Read[bool](ada.tab, `!window.before && document.readyState === "complete"`)
			return err == nil && there
		})
		got := keyLink.FindStringSubmatch(ada.html())
		if got == nil || step.first != "" && got[1] != step.first || !strings.Contains(ada.html(), step.says) {
			t.Errorf("%q: %q\n%s", step.says, got, ada.html())
		}
		ada.weigh(t)
	}
}

// weigh compares a page, with all that it loads, with its budgets. What its script asks for again is none of that.
func (r *reader) weigh(t *testing.T) {
	t.Helper()
	text, err := browser.Read[string](r.tab,
		`JSON.stringify([location.href, ...performance.getEntriesByType("resource")
			.filter(e => e.initiatorType !== "fetch").map(e => e.name)])`)
	check(t, err)
	var loaded []string
	check(t, json.Unmarshal([]byte(text), &loaded))
	total := 0
	for _, address := range loaded {
		var compressed bytes.Buffer
		z := gzip.NewWriter(&compressed)
		_, err := io.WriteString(z, r.get(strings.TrimPrefix(address, r.base)).body)
		check(t, err)
		check(t, z.Close())
		total += compressed.Len()
	}
	if len(loaded) > maxPageRequests || total > maxPageBytes {
		t.Errorf("%d requests, %d bytes compressed: the budget is %d and %d. %q",
			len(loaded), total, maxPageRequests, maxPageBytes, loaded)
	}
}

// keep keeps a picture of the page as it is now.
func (r *reader) keep(t *testing.T, name string) {
	t.Helper()
	picture, err := chromedp.Run(r.tab, chromedp.FullScreenshot(100))
	check(t, err)
	dir := kube.Path("bin/screens")
	check(t, os.MkdirAll(dir, 0o755))
	check(t, os.WriteFile(filepath.Join(dir, name), picture, 0o644))
}

// picture is the one that the README has of the list of keys: cp bin/screens/readme.png docs/figures/dashboard.png
func (r *reader) picture(t *testing.T) {
	t.Helper()
	_, err := chromedp.Call(r.tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}},
	})
	check(t, err)
	check(t, chromedp.Do(r.tab, chromedp.EmulateViewport(1280, 480)))
	check(t, r.at("/keys")())
	r.keep(t, "readme.png")
}

func nameOf(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if name := strings.ReplaceAll(strings.Trim(path, "/"), "/", "-"); name != "" {
		return name
	}
	return "overview"
}

// complaints are what a browser has to say of a page.
type complaints struct {
	mu   sync.Mutex
	said []string
}

func (c *complaints) note(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		c.said = append(c.said, string(e.Entry.Level)+": "+e.Entry.Text)
	case *runtime.EventExceptionThrown:
		c.said = append(c.said, e.ExceptionDetails.Text)
	}
}

func (c *complaints) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.said)
}
