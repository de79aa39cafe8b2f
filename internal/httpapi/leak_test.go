// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// written are ways in which a key may be written, by those who send it and by those who keep it.
func written(key string) []string {
	reversed := []byte(key)
	slices.Reverse(reversed)
	return []string{
		key, strings.ToUpper(key), key[9:], key[:40], hex.EncodeToString([]byte(key)), base64.StdEncoding.EncodeToString([]byte(key)),
		base64.RawURLEncoding.EncodeToString([]byte("x" + key)), string(reversed), strings.ReplaceAll(key, "_", "-"), "x" + key + "x",
	}
}

// A key in the place of a name, a value or an id, in whatever way it is written, is neither logged nor sent back nor
// stored, on any route.
func TestAKeyInTheWrongPlace(t *testing.T) { onBoth(t, aKeyInTheWrongPlace) }

func aKeyInTheWrongPlace(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil, func(c *parts) { c.AccessLog = endpoint.AccessLogAll })
	own := f.newKey(t)
	account := f.connect(t, own)
	post := f.schedule(t, own, account, "")
	requests := 0
	for i := range routes {
		r := &routes[i]
		for _, text := range written(own) {
			for _, s := range misplaced(t, r, post, text) {
				s.key = own
				requests++
				w := f.send(s.with("Idempotency-Key", fmt.Sprint("k", requests)))
				if held := holds(w.Body.String()+fmt.Sprint(w.Header()), own); held != "" {
					t.Errorf("%s %.60s: the answer holds %s: %s", s.method, s.target, held, w.Body)
				}
			}
		}
	}
	if held := holds(f.log.String(), own); held != "" {
		t.Errorf("the log holds %s", held)
	}
	for _, body := range f.answers(t) {
		if held := holds(body, own); held != "" {
			t.Errorf("a stored answer holds %s: %s", held, body)
		}
	}
}

// misplaced are requests to a route with a text where it does not belong.
func misplaced(t *testing.T, r *endpoint.Route, id, text string) (all []sent) {
	t.Helper()
	plain, escaped := sent{method: r.Method, target: pathOf(r, id)}, url.QueryEscape(text)
	add := func(s sent) { all = append(all, s) }
	add(sent{method: r.Method, target: pathOf(r, url.PathEscape(text))})
	for _, query := range []string{escaped + "=1", escaped, "key=" + escaped, escaped + "[]=1", escaped + "=1&" + escaped + "=2"} {
		s := plain
		s.target += "?" + query
		add(s)
	}
	for _, p := range parametersOf(r) {
		if p.Name != "q" { // which finds nothing, and says nothing of it
			s := plain
			s.target += "?" + p.Name + "=" + escaped
			add(s)
		}
	}
	for _, header := range []string{"Content-Type", "Content-Encoding", "X-Request-Id", "User-Agent", "Referer", "Traceparent"} {
		s := plain
		s.body = "{}"
		add(s.with(header, text))
	}
	if r.Takes() != nil {
		name := jsonOf(text)
		for _, body := range []string{
			`{` + name + `:1}`, `{` + name + `:"x"}`, `{` + name + `:1,` + name + `:2}`, `{"a":{` + name + `:1}}`, `{` + name + `:{"a":1}}`,
			`{"targets":[{` + name + `:1}]}`, `{"targets":[{"options":{` + name + `:1}}]}`, `{"media":[{` + name + `:1}]}`,
			`{"firstComment":{` + name + `:1}}`, `{"targets":{` + name + `:1}}`, `{"scheduledAt":` + name + `}`, `[` + name + `]`, name,
			`{"text":` + name + `,"x":1}`, `{` + name, `{"targets":[{"platform":` + name + `}]}`, `{"media":[{"kind":` + name + `}]}`,
			`{"identifier":"a",` + name + `:"x"}`, `{"profileId":` + name + `}`, `{"targets":[{"accountId":` + name + `}]}`,
		} {
			s := plain
			s.body = body
			add(s)
		}
	}
	if r.ID == "uploadMedia" {
		add(multiparts("", "b0undary", part{`form-data; name="` + text + `"`, "x"}))
		add(multiparts("", "b0undary", part{`form-data; name="file"; filename="` + text + `"`, text}))
		add(multiparts("", text, part{fileNamed, text}))
	}
	return all
}

// holds tells in which way a text holds the secret part of a key; "" if it does not.
func holds(text, key string) string {
	core := key[12:36] // without what may be shown, and whatever is cut off at its ends
	reversed := []byte(core)
	slices.Reverse(reversed)
	for how, needle := range map[string]string{
		"it": core, "hexadecimal": hex.EncodeToString([]byte(core)), "it reversed": string(reversed), "half of it": key[20:32],
		"decimal bytes": strings.Trim(fmt.Sprintf("%d", []byte(core)), "[]"),
	} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(needle)) {
			return how
		}
	}
	for shift := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + core))
		if strings.Contains(text, encoded[4:len(encoded)-3]) {
			return "base64"
		}
	}
	return ""
}

// answers are the bodies that are stored for whoever repeats a request.
func (f *fixture) answers(t *testing.T) (bodies []string) {
	t.Helper()
	check(t, f.config.Store.View(&caller.Caller{}).Write(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.SQL().QueryContext(t.Context(), "SELECT body FROM claims WHERE body IS NOT NULL")
		if err != nil {
			return err
		}
		defer rows.Close()
		bodies = nil
		for rows.Next() {
			var body []byte
			if err := rows.Scan(&body); err != nil {
				return err
			}
			bodies = append(bodies, string(body))
		}
		return rows.Err()
	}))
	if len(bodies) == 0 {
		t.Error("no answer was stored")
	}
	return bodies
}

// The test would find a key that is said again.
func TestHoldsFindsAKey(t *testing.T) {
	_, own := live(t)
	for _, text := range written(own) {
		if text == own[:40] {
			text = own
		}
		if holds("a "+text+" b", own) == "" && !strings.Contains(text, "-") {
			t.Errorf("%s is not found", text)
		}
	}
	if held := holds(http.StatusText(http.StatusTeapot), own); held != "" {
		t.Error(held)
	}
}
