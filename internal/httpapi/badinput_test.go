// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// target is the JSON of a target of an account, with more in it.
func targetOf(account, more string) string { return `{"accountId":"` + account + `"` + more + `}` }

// maxPayload is the size in bytes of the largest JSON body that is taken.
const maxPayload = 1 << 20

// Whatever is wrong with a body, the answer is a clear 4xx whose rule names the field, and nothing is stored.
func TestBadBodies(t *testing.T) { onBoth(t, badBodies) }

func badBodies(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	file := f.upload(t, key)
	one := targetOf(account, "")
	before := f.rows(t, "posts", "claims")
	for _, c := range []struct{ reason, body, rule string }{
		{"no body", ``, "targets.required"},
		{"null", `null`, "targets.required"},
		{"no targets", `{"targets":[]}`, "targets.required"},
		{"too many targets", `{"targets":[` + strings.Repeat(one+",", 25) + one + `],"text":"x"}`, "targets.max"},
		{"not JSON", `targets=1`, "body.json"},
		{"a list", `[]`, "body"},
		{"cut off", `{"targets":[` + one, "body.json"},
		{"two values", `{"targets":[` + one + `],"text":"x"}{}`, "body.json"},
		{"deep", strings.Repeat(`{"targets":[`, 50_000), "targets.0.targets"},
		{"deep in an unknown member", `{"x":` + strings.Repeat("[", 400_000), "x"},
		{"a member twice", `{"targets":[` + one + `],"text":"x","text":"y"}`, "text"},
		{"a member twice, deeper", `{"targets":[` + targetOf(account, `,"text":"x","text":"y"`) + `]}`, "targets.0.text"},
		{"unknown", `{"targets":[` + one + `],"txt":"x"}`, "txt"},
		{"unknown, deeper", `{"targets":[` + targetOf(account, `,"media":[{"king":"image"}]`) + `]}`, "targets.0.media.0.king"},
		{"unknown for its capitals", `{"Targets":[` + one + `]}`, "Targets"},
		{"unknown, and no name", `{"targets":[` + one + `],"a b":1}`, "body"},
		{"invalid UTF-8", "{\"targets\":[" + one + "],\"text\":\"\xff\"}", "body.json"},
		{"half a character", `{"targets":[` + one + `],"text":"\ud83d"}`, "body.json"},
		{"the wrong type", `{"targets":[` + one + `],"text":7}`, "text"},
		{"the wrong type, deeper", `{"targets":[{"accountId":["x"]}]}`, "targets.0.accountId"},
		{"no time", `{"targets":[` + one + `],"text":"x","scheduledAt":"tomorrow"}`, "scheduledAt"},
		{"the past", `{"targets":[` + one + `],"text":"x","scheduledAt":"2020-01-01T00:00:00Z"}`, "scheduledAt.future"},
		{"now", `{"targets":[` + one + `],"text":"x","scheduledAt":"` + now.Format("2006-01-02T15:04:05Z") + `"}`, "scheduledAt.future"},
		{"the beginning of time", `{"targets":[` + one + `],"text":"x","scheduledAt":"0001-01-01T00:00:00Z"}`, "scheduledAt.future"},
		{"after the last second that can be written", `{"targets":[` + one + `],"text":"x","scheduledAt":"9999-12-31T23:59:59.999999999Z"}`, "scheduledAt.max"},
		{"the same, a microsecond after it", `{"targets":[` + one + `],"text":"x","scheduledAt":"9999-12-31T23:59:59.000001Z"}`, "scheduledAt.max"},
		{"the same, in UTC alone", `{"targets":[` + one + `],"text":"x","scheduledAt":"9999-12-31T23:59:59-01:00"}`, "scheduledAt.max"},
		{"now and later", `{"targets":[` + one + `],"text":"x","publishNow":true,"scheduledAt":"` + later + `"}`, "mode_conflict"},
		{"NUL", `{"targets":[` + one + `],"text":"\u0000"}`, "targets.0.text"},
		{"NUL in a comment", `{"targets":[` + one + `],"text":"x","firstComment":{"text":"\u0000"}}`, "targets.0.firstComment.text"},
		{"a long text", `{"targets":[` + one + `],"text":"` + strings.Repeat("x", 20_001) + `"}`, "targets.0.text"},
		{"an empty comment", `{"targets":[` + targetOf(account, `,"firstComment":{"text":""}`) + `],"text":"x"}`, "targets.0.firstComment.text"},
		{"nobody's platform", `{"targets":[{"platform":"myspace"}],"text":"x"}`, "targets.0.platform"},
		{"another platform than the account's", `{"targets":[` + targetOf(account, `,"platform":"linkedin"`) + `],"text":"x"}`, "targets.account.platform_mismatch"},
		{"another platform's options", `{"targets":[` + targetOf(account, `,"options":{"platform":"linkedin"}`) + `],"text":"x"}`, "targets.options.platform_mismatch"},
		{"neither account nor platform", `{"targets":[{}],"text":"x"}`, "targets.0.accountId"},
		{"the second target is bad", `{"targets":[` + one + `,{}],"text":"x"}`, "targets.1.accountId"},
		{"a medium of no kind", `{"targets":[` + one + `],"media":[{"mediaId":"` + file + `"}]}`, "media.0.kind"},
		{"a medium of another kind", `{"targets":[` + one + `],"media":[{"kind":"video","mediaId":"` + file + `"}]}`, "targets.0.media.0.kind"},
		{"a medium by URL", `{"targets":[` + one + `],"media":[{"kind":"image","url":"http://169.254.169.254/"}]}`, "media.0.url"},
		{"a medium in line", `{"targets":[` + one + `],"media":[{"kind":"image","bytesBase64":"aGk="}]}`, "media.0.bytesBase64"},
		{"a medium without id", `{"targets":[` + targetOf(account, `,"media":[{"kind":"image"}]`) + `]}`, "targets.0.media.0.mediaId"},
		{"nothing to say", `{"targets":[` + one + `]}`, "bluesky.text.non_empty"},
		{"too much for the platform", `{"targets":[` + one + `],"text":"` + strings.Repeat("x", 301) + `"}`, "bluesky.text.max_graphemes"},
	} {
		s := sent{method: http.MethodPost, target: "/v1/posts", key: key, body: c.body}
		f.refused(t, c.reason, s, http.StatusBadRequest, c.rule)
	}
	big := sent{method: http.MethodPost, target: "/v1/posts", key: key, body: `{"text":"` + strings.Repeat("x", 10<<20) + `"}`}
	f.refused(t, "10 MB", big, http.StatusRequestEntityTooLarge, "body.size")
	if after := f.rows(t, "posts", "claims"); after != before {
		t.Errorf("%d rows before, %d after", before, after)
	}
	// The largest that is read at all.
	big.body = `{"targets":[` + one + `],"text":"x"` + strings.Repeat(" ", maxPayload-len(one)-len(`{"targets":[],"text":"x"}`)) + `}`
	ok[batch](t, f, big)
	big.body += " "
	f.refused(t, "a byte more", big, http.StatusRequestEntityTooLarge, "body.size")
}

func TestContentTypes(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	good := publication(key, targetOf(f.connect(t, key), ""), `,"text":"x"`)
	for reason, types := range map[string][]string{
		"plain": {"application/json"}, "UTF-8": {"application/json; charset=utf-8"}, "in capitals": {"Application/JSON;Charset=UTF-8"},
		"quoted": {`application/json; charset="utf-8"`}, "without its hyphen": {"application/json; charset=utf8"},
		"another parameter": {"application/json; v=1"}, "the beginning of one": {"application/json;"},
	} {
		s := good
		s.headers = http.Header{"Content-Type": types}
		checkStatus(t, reason, f.send(s), http.StatusOK)
	}
	for reason, types := range map[string][]string{
		"none": nil, "empty": {""}, "a form": {"application/x-www-form-urlencoded"}, "text, which browsers send anywhere": {"text/plain"},
		"multipart": {"multipart/form-data; boundary=x"}, "another charset": {"application/json; charset=utf-16"},
		"malformed": {"application/json; charset"}, "two": {"application/json", "application/json"},
		"a patch": {"application/json-patch+json"}, "two in one": {"application/json, application/json"}, "no charset": {"application/json; charset="},
		"seven bits": {"application/json; charset=us-ascii"}, "two charsets": {"application/json; charset=utf-8; charset=utf-16"},
	} {
		s := good
		s.headers = http.Header{"Content-Type": types}
		f.refused(t, reason, s, http.StatusBadRequest, "body.content_type")
	}
	s := good.with("Content-Encoding", "gzip")
	s.body = "\x1f\x8b\x08\x00bomb"
	f.refused(t, "compressed: nothing is decompressed", s, http.StatusUnsupportedMediaType, "body.content_encoding")
}

// An id of the wrong form is one that never was: 404, on every route, by every way of naming.
func TestIDsOfTheWrongForm(t *testing.T) { onBoth(t, idsOfTheWrongForm) }

func idsOfTheWrongForm(t *testing.T) {
	t.Helper()
	callers := crowd(t)
	c := callers[1]
	for _, n := range namings(t) {
		if n.kind == aCursor || n.kind == aKey {
			continue
		}
		never := seen(t, c.api.send(c.naming(t, n, neverWas[n.kind])))
		for _, id := range []string{
			"x", "0", "-1", "null", "../../etc/passwd", "a/b", "%2e%2e", "\x00", "\xff\xfe", "é", " ", "'; DROP TABLE posts; --", "%", "_", "*",
			strings.Repeat("9", 5000), strings.ToUpper(neverWas[n.kind]), neverWas[n.kind] + " ", neverWas[n.kind] + "\x00",
			c.own.things[n.kind] + " ", c.own.things[n.kind] + "\x00", " " + c.own.things[n.kind],
		} {
			as := id
			switch {
			case n.where == "path":
				as = url.PathEscape(id)
			case n.where == "body" && id == "\xff\xfe":
				continue // no JSON
			}
			if diff := cmp.Diff(never, seen(t, c.api.send(c.naming(t, n, as)))); diff != "" {
				t.Errorf("%v: %.40q differs from what never was:\n%s", n, id, diff)
			}
		}
	}
}

// hostile are values that no member of a body is prepared for.
var hostile = []string{
	`null`, `true`, `-1`, `1e400`, `""`, `"\u0000"`, `"\ufeff"`, `"\u202e"`, `"../../x"`, `{}`, `[]`, `[null]`, `{"x":1}`, `"9999-12-31T23:59:59Z"`,
	`"9999-12-31T23:59:59.999999999Z"`, `"9999-12-31T23:59:59-23:59"`, `"0000-01-01T00:00:00Z"`, `"` + strings.Repeat("x", 100_000) + `"`, strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
}

// No value at any place of any body makes a 500, and what is refused is told by a rule.
func TestHostileValues(t *testing.T) { onBoth(t, hostileValues) }

func hostileValues(t *testing.T) {
	t.Helper()
	c := crowd(t)[0]
	for i := range routes {
		r := &routes[i]
		for _, at := range membersOf(t, r.Takes()) {
			for _, value := range hostile {
				n := naming{r, "body", strings.Replace(at, "*", "identifier", 1), noName}
				s := c.naming(t, n, "PLACE")
				s.body = strings.Replace(s.body, `"PLACE"`, value, 1)
				if s.target == r.Path && strings.Contains(r.Path, "{id}") {
					s.target = pathOf(r, c.own.things[aPost])
				}
				w := c.api.send(s)
				switch {
				case w.Code >= http.StatusInternalServerError:
					t.Errorf("%v = %.40s: %d %s", n, value, w.Code, w.Body)
				case w.Code == http.StatusBadRequest && errorOf(t, w).Rule == "":
					t.Errorf("%v = %.40s: no rule in %s", n, value, w.Body)
				case !json.Valid(w.Body.Bytes()):
					t.Errorf("%v = %.40s: %s", n, value, w.Body)
				}
			}
		}
	}
}

// The same for every parameter of every route.
func TestHostileParameters(t *testing.T) { onBoth(t, hostileParameters) }

func hostileParameters(t *testing.T) {
	t.Helper()
	c := crowd(t)[0]
	for i := range routes {
		r := &routes[i]
		for _, p := range append([]endpoint.Parameter{{Name: "limit"}, {Name: "cursor"}}, r.Query...) {
			for _, value := range []string{"", "\x00", "\xff", "é", ",", ",,", "a,\x00", strings.Repeat("x", 5000), strings.Repeat("a,", 100), "%", "_", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999-23:59", "0000-01-01T00:00:00Z"} {
				target := pathOf(r, c.own.things[aPost]) + "?" + p.Name + "=" + url.QueryEscape(value)
				w := c.api.do(r.Method, target, c.key)
				if w.Code >= http.StatusInternalServerError || w.Code == http.StatusBadRequest && errorOf(t, w).Rule == "" {
					t.Errorf("%s %.80s: %d %s", r.Method, target, w.Code, w.Body)
				}
			}
		}
	}
	for _, s := range []string{"errorCode=,", "q=%00", "q=%FF", "q=" + strings.Repeat("x", 201), "platform=myspace", "status=gone", "after=x", "before="} {
		name, _, _ := strings.Cut(s, "=")
		c.api.refused(t, s, sent{method: http.MethodGet, target: "/v1/posts?" + s, key: c.key}, http.StatusBadRequest, name)
	}
}
