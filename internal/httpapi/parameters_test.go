// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// parametersOf are all that a route takes.
func parametersOf(r *endpoint.Route) []endpoint.Parameter {
	all := append([]endpoint.Parameter{}, r.Query...)
	if r.Paged {
		all = append(all, endpoint.Parameter{Name: "limit"}, endpoint.Parameter{Name: "cursor"})
	}
	return all
}

// spellings are what libraries and people make of a parameter's name.
func spellings(name string) []string {
	var snake strings.Builder
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			snake.WriteByte('_')
		}
		snake.WriteRune(c)
	}
	all := []string{name + "[]", name + "[0]", name + "[a]", strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], name + " ", " " + name, name + ":"}
	for _, other := range []string{strings.ToLower(snake.String()), strings.ToLower(name)} {
		if other != name {
			all = append(all, other)
		}
	}
	return all
}

// A parameter that a route does not know, or knows by another spelling, or takes once and gets twice, is a 400 that
// names it, on every route. Nothing is done.
func TestUnknownParameters(t *testing.T) { onBoth(t, unknownParameters) }

func unknownParameters(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	post, file := f.schedule(t, key, account, ""), f.upload(t, key)
	before := f.rows(t, "posts", "accounts", "media", "claims")
	for i := range routes {
		r := &routes[i]
		if !r.Succeeds() { // it has one answer, whatever is sent
			w := f.do(r.Method, pathOf(r, post)+"?nonsense=1", key)
			checkStatus(t, r.Method+" "+r.Path, w, http.StatusForbidden)
			continue
		}
		if r.Shown() { // whoever sends the browser there adds what they like
			continue
		}
		refused := func(reason, query, rule string) {
			t.Helper()
			for _, s := range []sent{
				{method: r.Method, target: pathOf(r, post) + "?" + query, key: key},
				uploadOf(key, picture(t, 3)),
			} {
				switch {
				case r.Path == "/v1/media" && r.Method == http.MethodPost: // refused before any of the file is looked at
					s.method, s.target = r.Method, pathOf(r, post)+"?"+query
				case s.body != "":
					continue
				}
				s.target = strings.Replace(s.target, "/media/"+post, "/media/"+file, 1)
				f.refused(t, r.Method+" "+r.Path+": "+reason, s, http.StatusBadRequest, rule)
			}
		}
		known := map[string]bool{}
		for _, p := range parametersOf(r) {
			known[p.Name] = true
			for _, spelling := range spellings(p.Name) {
				refused(spelling, url.QueryEscape(spelling)+"=1", p.Name)
			}
			if !p.List {
				refused(p.Name+" twice", p.Name+"=1&"+p.Name+"=200", p.Name)
				refused(p.Name+" twice, the same", p.Name+"=1&"+p.Name+"=1", p.Name)
			}
		}
		for _, name := range []string{"profileId", "status", "limit", "cursor", "q", "nonsense", "page", "publishNow"} {
			if !known[name] {
				refused("unknown", name+"=1", name)
			}
		}
		refused("no name", "=1", "query")
		refused("a name without a value", "nonsense", "nonsense")
		refused("no name that could be said", "a%00b=1", "query")
		refused("malformed", "a=%zz", "query")
	}
	if after := f.rows(t, "posts", "accounts", "media", "claims"); after != before {
		t.Errorf("%d rows before, %d after", before, after)
	}
}

// What is wrong with a value is answered by what to send instead.
func TestWhatToSendInstead(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	get := func(query string) sent { return sent{method: http.MethodGet, target: "/v1/posts?" + query, key: key} }
	create := func(more string) sent { return publication(key, targetOf(account, ""), `,"text":"x"`+more) }
	at := func(time string) sent { return create(`,"scheduledAt":"` + time + `"`) }
	for _, c := range []struct {
		reason string
		sent   sent
		rule   string
		says   string
	}{
		{"an offset that was not encoded", get("after=2026-05-08T12:00:00+02:00"), "after", "%2B"},
		{"the same, to the microsecond", get("before=2026-05-08T12:00:00.123456+02:00"), "before", "%2B"},
		{"a naive time", get("after=2026-05-08T12:00:00"), "after", "Add Z"},
		{"a naive time without seconds", get("after=2026-05-08T12:00"), "after", "Write them, and a time zone"},
		{"a time without seconds", get("after=2026-05-08T12:00Z"), "after", "Write them, and a time zone"},
		{"another zone's, without seconds", get("after=2026-05-08T12:00%2B02:00"), "after", "Write them, and a time zone"},
		{"a naive time with a space", get("after=2026-05-08%2012:00:00"), "after", "Add Z"},
		{"a date", get("after=2026-05-08"), "after", "T00:00:00Z"},
		{"a space for the T", get("after=2026-05-08%2012:00:00Z"), "after", "capital T"},
		{"in small letters", get("after=2026-05-08t12:00:00z"), "after", "capital T"},
		{"seconds since 1970", get("after=1778241600"), "after", "RFC 3339"},
		{"a comma for the point", get("after=2026-05-08T12:00:00,5Z"), "after", "RFC 3339"},
		{"an offset of a day", get("after=2026-05-08T12:00:00%2B24:00"), "after", "RFC 3339"},
		{"a comma for the point, in a body", at("2026-05-08T12:00:00,5Z"), "scheduledAt", "RFC 3339"},
		{"an offset of a day, in a body", at("2026-05-08T12:00:00+24:00"), "scheduledAt", "RFC 3339"},
		{"an hour of one digit, in a body", at("2026-05-08T7:00:00Z"), "scheduledAt", "RFC 3339"},
		{"midnight at the end of a day", at("2026-05-08T24:00:00Z"), "scheduledAt", "RFC 3339"},
		{"a leap second", at("2026-12-31T23:59:60Z"), "scheduledAt", "RFC 3339"},
		{"a space in a body", at("2026-05-08 12:00:00Z"), "scheduledAt", "capital T"},
		{"no time at all", create(`,"scheduledAt":""`), "scheduledAt", "RFC 3339"},
		{"a naive time in a body", at("2026-05-08T12:00:00"), "scheduledAt", "Add Z"},
		{"a date in a body", at("2026-05-08"), "scheduledAt", "T00:00:00Z"},
		{"words in a body", at("tomorrow"), "scheduledAt", "RFC 3339"},
		{"seconds in a body", create(`,"scheduledAt":1778241600`), "scheduledAt", "RFC 3339"},
		{"more than a page", get("limit=500"), "limit", "nextCursor"},
		{"an unknown status", get("status=done"), "status", strings.Join(postStatuses, ", ")},
		{"a status in capitals", get("status=Queued"), "status", strings.Join(postStatuses, ", ")},
		{"an unknown platform", get("platform=myspace"), "platform", strings.Join(platformNames, ", ")},
		{"an unknown platform of a target", publication(key, `{"platform":"myspace"}`, `,"text":"x"`), "targets.0.platform", "bluesky and linkedin"},
		{"an unknown platform of options", publication(key, targetOf(account, `,"options":{"platform":"myspace"}`), `,"text":"x"`), "targets.0.options.platform", "bluesky and linkedin"},
		{"an unknown platform of a path", sent{method: http.MethodPost, target: "/v1/accounts/connect/myspace", key: key}, "platform", "bluesky and linkedin"},
		{"an unknown kind of media", create(`,"media":[{"kind":"gif","mediaId":"m"}]`), "media.0.kind", "image or video"},
		{"another charset", create("").with("Content-Type", "application/json; charset=iso-8859-1"), "body.content_type", "UTF-8"},
	} {
		w := f.send(c.sent)
		checkStatus(t, c.reason, w, http.StatusBadRequest)
		if e := errorOf(t, w); e.Rule != c.rule || !strings.Contains(e.Remediation, c.says) {
			t.Errorf("%s: %+v, want the rule %s, and %q", c.reason, e, c.rule, c.says)
		}
	}
	w := f.send(create("").with("Content-Encoding", "gzip"))
	checkStatus(t, "gzip", w, http.StatusUnsupportedMediaType)
	if e := errorOf(t, w); e.Rule != "body.content_encoding" || w.Header().Get("Accept-Encoding") != "identity" {
		t.Errorf("gzip: %+v %v", e, w.Header())
	}
	checkStatus(t, "an upload in gzip", f.send(uploadOf(key, picture(t, 3)).with("Content-Encoding", "gzip")), http.StatusUnsupportedMediaType)
	checkStatus(t, "encoded in no way", f.send(create("").with("Content-Encoding", "identity")), http.StatusOK)
	marked := create("")
	marked.body = "\ufeff" + marked.body
	checkStatus(t, "a byte order mark", f.send(marked), http.StatusOK)
	slug := f.do(http.MethodGet, "/v1/posts?profileId=rockets", key)
	if e := errorOf(t, slug); slug.Code != http.StatusNotFound || !strings.Contains(e.Remediation, "slug") {
		t.Errorf("a slug: %+v", e)
	}
}

// The scheme is written in any case (RFC 9110 section 11.1).
func TestBearerInAnyCase(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	for _, scheme := range []string{"Bearer", "bearer", "BEARER", "bEaReR"} {
		w := f.doHeaders(http.MethodGet, "/v1/whoami", []string{scheme + " " + key})
		checkStatus(t, scheme, w, http.StatusOK)
	}
	s := sent{method: http.MethodPost, target: "/v1/accounts/connect/bluesky", key: key}.with("Idempotency-Key", "a")
	first := f.send(s)
	again := f.send(s.with("Authorization", "bearer "+key))
	checkStatus(t, "the same request", again, http.StatusOK)
	if again.Header().Get("Idempotency-Replayed") != "true" || first.Body.String() != again.Body.String() {
		t.Errorf("%v %s", again.Header(), again.Body)
	}
}
