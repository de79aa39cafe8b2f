// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/publish"
)

// A key of the whole organization may give a post of a profile a file of another one. Who reaches the post can change
// its text then, and can neither name the file nor learn its name.
func TestAPostWithAFileOfAnotherProfile(t *testing.T) {
	w := newWorld(t)
	account, file := w.connect(t, w.brandKey), w.upload(t, w.orgKey)
	media := `"media":[{"kind":"image","mediaId":"` + file + `","altText":"a line"}]`
	id := w.schedule(t, w.orgKey, account, ","+media)
	edit := sent{method: http.MethodPatch, target: "/v1/posts/" + id, key: w.brandKey, body: `{"text":"other"}`}
	if p := ok[post](t, w.fixture, edit); p.Text != "other" || len(p.MediaRefs) != 1 || p.MediaRefs[0].MediaID != nil {
		t.Errorf("%+v", p)
	}
	edit.body = `{"text":"` + strings.Repeat("x", 301) + `"}`
	w.refused(t, "what its platform does not take", edit, http.StatusBadRequest, "bluesky.text.max_graphemes")
	edit.body = `{` + media + `}`
	w.refused(t, "the file itself", edit, http.StatusNotFound, "")
	edit.body = `{"text":""}`
	if p := ok[post](t, w.fixture, edit); p.Text != "" { // which says that the file counts as content
		t.Errorf("%+v", p)
	}
}

// What a request names often is looked up once.
func TestEachThingIsLookedUpOnce(t *testing.T) {
	f, collector, stop := tracedFixture(t, nil)
	key := f.newKey(t)
	account, file := f.connectTo(t, key, "linkedin", "bob"), f.upload(t, key)
	media := `{"kind":"image","mediaId":"` + file + `"}`
	var all []string
	for i := range 25 {
		text := fmt.Sprintf(`"text":"%d"}`, i) // or it would be the same twice
		all = append(all, []string{`{"accountId":"` + account + `",`, `{"platform":"linkedin",`}[i%2]+text)
	}
	targets := strings.Join(all, ",")
	s := publication(key, targets, `,"text":"x","scheduledAt":"`+later+`","media":[`+strings.Repeat(media+",", 19)+media+`]`)
	ok[batch](t, f, s.with("Traceparent", "00-"+callersTrace+"-"+callersSpan+"-01"))
	stop()
	reads := 0
	for _, span := range collector.Spans() {
		if span.TraceID == callersTrace && span.Name == "store read" {
			reads++
		}
	}
	if reads != 3 {
		t.Errorf("%d reads, want one of the account by its id, one by its platform, and one of the file", reads)
	}
}

// What the server does not offer is 403 wherever it is asked for.
func TestPublishingToWhatIsNotEnabled(t *testing.T) {
	f := newFixture(t, nil, func(c *parts) {
		publisher, err := publish.New(publish.Options{
			Store: c.Store, Media: c.Library, Clock: c.Clock, Logger: c.Logger, Registerer: prometheus.NewRegistry(),
		})
		check(t, err)
		c.Publisher = publisher
	})
	key := f.newKey(t)
	s := publication(key, targetOf(f.connect(t, key), ""), `,"text":"x"`)
	f.refused(t, "publish", s, http.StatusForbidden, "")
	if e := errorOf(t, f.send(s)); e.Code != "platform_not_enabled" || e.Platform != "bluesky" {
		t.Errorf("%+v", e)
	}
}

// Without a public URL, the address of a file begins as the caller's own request does.
func TestAddressesOfMedia(t *testing.T) {
	for _, c := range []struct {
		reason, publicURL string
		tls               *tls.ConnectionState
		want              string
	}{
		{"plain", "", nil, "http://example.com/v1/media/"},
		{"TLS", "", &tls.ConnectionState{}, "https://example.com/v1/media/"},
		{"a public URL", "https://api.example.net/", nil, "https://api.example.net/v1/media/"},
		{"a public URL, and TLS", "http://api.example.net", &tls.ConnectionState{}, "http://api.example.net/v1/media/"},
	} {
		f := newFixture(t, nil, func(config *parts) { config.PublicURL = c.publicURL })
		r := uploadOf(f.newKey(t), picture(t, 3)).request()
		r.TLS = c.tls
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if m := decode[medium](t, w.Body.String()); m.URL != c.want+m.ID+"/content" {
			t.Errorf("%s: %s, want %s", c.reason, m.URL, c.want)
		}
	}
}
