// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// provoker makes an API answer in each way that it promises.
type provoker struct {
	promises
	works                            *fixture
	unready, broken, exhausted, away *fixture
	org, pinned, byHash, scopeless   string // keys
	profile                          string
}

func newProvoker(t *testing.T) *provoker {
	t.Helper()
	profile := authntest.Profile()
	org, orgText := live(t)
	pinned, pinnedText := live(t, authntest.PinnedTo(profile), authntest.ExpiringAt(now.AddDate(1, 0, 0)))
	byHash, byHashText := live(t, authntest.ByHash)
	scopeless, scopelessText := live(t, authntest.Scoped())
	objects := []any{profile, org, pinned, byHash, scopeless}
	p := &provoker{org: orgText, pinned: pinnedText, byHash: byHashText, scopeless: scopelessText, profile: string(profile.UID)}
	p.works = newFixture(t, objects, func(c *parts) { c.Library = smallLibrary(t) })
	p.unready = newFixture(t, objects, func(c *parts) { c.Ready = func() bool { return false } })
	p.unready.serving.Store(false)
	p.broken = newFixture(t, objects, func(c *parts) {
		c.Admission.Authenticator = stub(func() error { panic("broken") })
	})
	p.exhausted = newFixture(t, objects, func(c *parts) {
		limits, err := limit.NewCallers(limit.Options{Default: rate.Rate{Requests: 1, Window: time.Hour}})
		check(t, err)
		c.Admission.Limits = limits
	})
	p.exhausted.do(http.MethodGet, "/v1/whoami", orgText)
	p.away = newFixture(t, objects, func(c *parts) {
		p, _ := c.Platforms.Get(bluesky.Name)
		p.Connector = absent{p.Connector}
		c.Platforms = platform.List{p}
	})
	p.promises = newPromises(t, p.works.get(t, "/v1/openapi.json", ""))
	return p
}

// smallLibrary takes files of up to 1000 bytes.
func smallLibrary(t *testing.T) *media.Library {
	t.Helper()
	folder := url.URL{Scheme: "file", Path: filepath.Join(t.TempDir(), "media")}
	library, err := media.Open(t.Context(), folder.String(), 1000)
	check(t, err)
	t.Cleanup(func() { check(t, library.Close()) })
	return library
}

// absent is a platform that does not answer.
type absent struct{ platform.Connector }

func (absent) Complete(context.Context, platform.ConnectionAnswer) (platform.Connection, error) {
	return platform.Connection{}, &platform.Failure{Code: platform.CodeUnavailable, Message: "It does not answer."}
}

// path is that of a route, with a parameter.
func pathOf(r *endpoint.Route, param string) string {
	before, name, after := paramOf(r.Path)
	switch name {
	case "":
		return r.Path
	case "platform":
		return before + "bluesky" + after
	default:
		return before + param + after
	}
}

// successOf is a request to a route that it takes, with things of the key's own.
func (p *provoker) successOf(t *testing.T, r *endpoint.Route, key string) sent {
	t.Helper()
	f, s := p.works, sent{method: r.Method, target: r.Path, key: key}
	switch id := r.ID; {
	case id == "uploadMedia":
		return uploadOf(key, picture(t, 4))
	case id == "createPosts":
		return publication(key, `{"accountId":"`+f.connect(t, key)+`"}`, `,"text":"hello","firstComment":{"text":"first"}`)
	case id == "completeConnection":
		s.target, s.body = pathOf(r, ""), `{"identifier":"bob.test","appPassword":"x"}`
	case id == "connectAccount":
		s.target = pathOf(r, "")
	case id == "reportLeakedKey":
		s.target, s.body = r.Path, `{"key":"hello"}`
	case id == "retryPost":
		done := ok[batch](t, f, publication(key, `{"accountId":"`+f.connect(t, key)+`"}`, `,"text":"sandbox:rejected"`))
		s.target = pathOf(r, done.Results[0].PostID)
	case strings.HasPrefix(r.Path, "/v1/posts/{id}"):
		s.target = pathOf(r, f.schedule(t, key, f.connect(t, key), ""))
		if id == "editPost" {
			s.body = `{"text":"changed"}`
		}
	case strings.HasPrefix(r.Path, "/v1/accounts/{id}"):
		s.target = pathOf(r, f.connect(t, key))
	case strings.HasPrefix(r.Path, "/v1/media/{id}"):
		s.target = pathOf(r, f.upload(t, key))
	default:
		s.target = pathOf(r, p.profile)
	}
	return s
}

// Every response that the document promises is provoked once, and is what the document says. Properties that it does
// not mention are refused here, so that none goes undescribed.
func TestResponsesAreAsDescribed(t *testing.T) {
	p := newProvoker(t)
	for i := range routes {
		r := &routes[i]
		if r.Shown() {
			p.provokeReturn(t, r)
			continue
		}
		for _, key := range []string{p.org, p.pinned, p.byHash} {
			p.check(t, r, p.works.send(p.successOf(t, r, key)))
		}
		p.provoke(t, r)
		if r.Changes() {
			p.provokeOnWrite(t, r)
		}
	}
	p.provokeOnes(t)
	for i := range routes {
		if routes[i].Access == admission.Anyone { // nothing that it does can fail in a test, and everything can in principle
			delete(p.open, routes[i].Method+" "+routes[i].Path+" 500")
		}
	}
	for name := range p.open {
		t.Errorf("promised and never seen: %s", name)
	}
}

// provoke makes a route answer in the ways that every route has.
func (p *provoker) provoke(t *testing.T, r *endpoint.Route) {
	t.Helper()
	target := pathOf(r, p.profile)
	for _, key := range []string{p.org, ""} {
		p.check(t, r, p.works.do(r.Method, target+"?limit=1", key))
	}
	p.check(t, r, p.works.do(r.Method, target+"?limit=x", p.org))
	p.check(t, r, p.works.do(r.Method, target+"?profileId=none", p.org))
	p.check(t, r, p.works.do(r.Method, pathOf(r, "none"), p.org))
	p.check(t, r, p.works.do(r.Method, target, p.scopeless))
	p.check(t, r, p.unready.do(r.Method, target, p.org))
	p.check(t, r, p.exhausted.do(r.Method, target, p.org))
	if r.Access != admission.Anyone {
		p.check(t, r, p.broken.do(r.Method, target, p.org))
	}
}

// provokeOnWrite makes it answer in those that every write has.
func (p *provoker) provokeOnWrite(t *testing.T, r *endpoint.Route) {
	t.Helper()
	s := p.successOf(t, r, p.org).with("Idempotency-Key", "once")
	for range 2 {
		p.check(t, r, p.works.send(s))
	}
	other := s
	if other.body == "" {
		other.body = "7"
	}
	if r.ID == "uploadMedia" {
		other = uploadOf(p.org, picture(t, 5)).with("Idempotency-Key", "once")
	} else {
		other.body = strings.Replace(other.body, "{", `{"other":1,`, 1)
	}
	p.check(t, r, p.works.send(other))
	p.check(t, r, p.works.send(s.with("Content-Encoding", "gzip")))
	p.check(t, r, p.works.send(s.with("Idempotency-Key", "")))
	if r.ID == "uploadMedia" {
		p.check(t, r, p.works.send(uploadOf(p.org, "GIF89a\x01\x00\x01\x00\x00\x00\x00"+strings.Repeat("x", 2000))))
		return
	}
	s.body = `"` + strings.Repeat("x", maxPayload) + `"`
	p.check(t, r, p.works.send(s))
}

// provokeReturn has browsers come back in all ways.
func (p *provoker) provokeReturn(t *testing.T, r *endpoint.Route) {
	t.Helper()
	shop := authntest.Profile()
	b := newBrowsing(t, shop, func(c *parts) { c.Admission.Failures = limit.NewAddresses(rate.Rate{Requests: 2, Window: time.Hour}) })
	key := b.newKey(t)
	for query, more := range map[string]string{
		"code=good&state=": "", "iss=x&code=good&state=": `,"returnTo":"` + appOrigin + `"`, "error=access_denied&state=": "",
		"error=temporarily_unavailable&state=": "",
	} {
		p.check(t, r, b.comesBack(query+b.begin(t, key, more)))
	}
	state := b.begin(t, key, `,"profileId":"`+string(shop.UID)+`"`)
	b.index.RemoveProfile(shop)
	p.check(t, r, b.comesBack("code=good&state="+state))
	for range 3 {
		p.check(t, r, b.comesBack("state=nobodys"))
	}
	state = b.begin(t, key, "")
	check(t, b.config.Store.Close())
	p.check(t, r, b.comesBack("code=good&state="+state))
}

// provokeOnes makes routes answer in ways that they alone have.
func (p *provoker) provokeOnes(t *testing.T) {
	t.Helper()
	for i := range routes {
		r := &routes[i]
		switch r.ID {
		case "createPosts":
			s := p.successOf(t, r, p.org)
			s.body = strings.Replace(s.body, `"text"`, `"scheduledAt":"`+later+`","text"`, 1)
			p.check(t, r, p.works.send(s))
			s.body = strings.Replace(s.body, `"targets"`, `"profileId":"none","targets"`, 1)
			p.check(t, r, p.works.send(s))
		case "editPost":
			p.check(t, r, p.works.send(sent{method: r.Method, target: pathOf(r, "none"), key: p.org, body: `{"text":"x"}`}))
		case "connectAccount":
			p.check(t, r, p.works.send(sent{method: r.Method, target: pathOf(r, ""), key: p.org, body: `{"profileId":"none"}`}))
		case "clientMetadata":
			for _, publicURL := range []string{ourOrigin, ""} {
				p.check(t, r, known(t, publicURL).do(r.Method, metadataPath, ""))
			}
		case "completeConnection":
			s := p.successOf(t, r, p.org)
			p.check(t, r, p.works.send(s)) // once more: 200
			p.check(t, r, p.away.send(s))
			s.body = `{"identifier":"bob.test","appPassword":"x","profileId":"none"}`
			p.check(t, r, p.works.send(s))
		case "reportLeakedKey":
			p.provokeReports(t, r)
		}
	}
}

// provokeReports reports keys where none are taken, what is too long to be a key, and what is compressed.
func (p *provoker) provokeReports(t *testing.T, r *endpoint.Route) {
	t.Helper()
	full := newFixture(t, nil, func(c *parts) {
		c.Leaks, c.LeakReports = &told{err: leak.ErrUnavailable}, limit.NewAddresses(rate.Rate{Requests: 1, Window: time.Hour})
	})
	s := p.successOf(t, r, "")
	for range 2 {
		p.check(t, r, full.send(s))
	}
	p.check(t, r, p.works.send(s.with("Content-Encoding", "gzip")))
	s.body = `{"key":"` + strings.Repeat("x", 5000) + `"}`
	p.check(t, r, p.works.send(s))
}
