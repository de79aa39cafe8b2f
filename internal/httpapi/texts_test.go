// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/posting"
)

// spot is a place in a body that may hold a text, and how long that may be.
type spot struct {
	rule string
	most int
	body func(text string) any // a body with nothing but that text
}

// spotsOf finds them by the type that a route takes. What could hold a text and is of no kind known here fails the
// test.
func spotsOf(t *testing.T, typ reflect.Type, most int) (spots []spot) {
	t.Helper()
	in := func(name string, typ reflect.Type, most int, wrap func(any) any) {
		for _, s := range spotsOf(t, typ, most) {
			inner := s.body
			s.body = func(text string) any { return wrap(inner(text)) }
			s.rule = strings.Trim(name+"."+s.rule, ".")
			spots = append(spots, s)
		}
	}
	switch typ.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int64:
	case reflect.String:
		return []spot{{"", most, func(text string) any { return text }}}
	case reflect.Pointer:
		return spotsOf(t, typ.Elem(), most)
	case reflect.Slice:
		in("0", typ.Elem(), most, func(v any) any { return []any{v} })
	case reflect.Map:
		in("any", typ.Elem(), most, func(v any) any { return map[string]any{"any": v} })
	case reflect.Struct:
		if typ == reflect.TypeFor[time.Time]() {
			break
		}
		for i := range typ.NumField() {
			field := typ.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			own := 4096
			if tag := field.Tag.Get("maxBytes"); tag != "" {
				own, _ = strconv.Atoi(tag)
			}
			in(name, field.Type, own, func(v any) any { return map[string]any{name: v} })
		}
	default:
		t.Fatalf("a body has a %v: whoever adds it says how many bytes it may have", typ)
	}
	return spots
}

// Every text that a body may hold has a bound in bytes, and whoever sends more is told where.
func TestEveryTextIsBoundedInBytes(t *testing.T) {
	f := newFixture(t, nil)
	key, found := f.newKey(t), 0
	for i := range routes {
		route := &routes[i]
		if route.Takes() == nil || route.Takes() == reflect.TypeFor[leak.KeyReport]() { // bounded as a whole: TestReportLeaked
			continue
		}
		target := strings.NewReplacer("{platform}", "bluesky", "{id}", "0").Replace(route.Path)
		for _, s := range spotsOf(t, route.Takes(), 4096) {
			found++
			if s.most > maxPayload/2 { // the body's own bound
				continue
			}
			for _, text := range []string{strings.Repeat("x", s.most+1), strings.Repeat("\u0301", s.most/2+1)} {
				body, err := json.Marshal(s.body(text))
				check(t, err)
				w := f.send(sent{method: route.Method, target: target, key: key, body: string(body)})
				if e := errorOf(t, w); w.Code != http.StatusBadRequest || e.Rule != s.rule || !strings.Contains(e.Message, fmt.Sprint(s.most, " bytes")) {
					t.Errorf("%s %s, %s of %d bytes: %d %+v", route.Method, route.Path, s.rule, len(text), w.Code, e)
				}
			}
			body, err := json.Marshal(s.body(strings.Repeat("x", s.most)))
			check(t, err)
			w := f.send(sent{method: route.Method, target: target, key: key, body: string(body)})
			if w.Code == http.StatusBadRequest && strings.Contains(w.Body.String(), "bytes of UTF-8.") {
				t.Errorf("%s %s, %s of %d bytes: %s", route.Method, route.Path, s.rule, s.most, w.Body)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d places were found", found)
	}
}

// The bounds of texts are those of package posting, which others than this contract go by as well.
func TestBoundsAreThoseOfPosting(t *testing.T) {
	for _, c := range []struct {
		typ        reflect.Type
		field, tag string
		want       int
	}{
		{reflect.TypeFor[createPosts](), "Targets", "maxItems", posting.MaxTargets},
		{reflect.TypeFor[createPosts](), "Text", "maxBytes", posting.MaxTextBytes},
		{reflect.TypeFor[target](), "Text", "maxBytes", posting.MaxTextBytes},
		{reflect.TypeFor[firstComment](), "Text", "maxBytes", posting.MaxTextBytes},
		{reflect.TypeFor[editPost](), "Text", "maxBytes", posting.MaxTextBytes},
		{reflect.TypeFor[mediaInput](), "AltText", "maxBytes", posting.MaxAltBytes},
	} {
		field, _ := c.typ.FieldByName(c.field)
		if field.Tag.Get(c.tag) != strconv.Itoa(c.want) {
			t.Errorf("%v.%s: %q, want %d", c.typ, c.field, field.Tag, c.want)
		}
	}
}

// A small body can't ask for much memory, nor for many rows.
func TestWhatABodyIsMadeInto(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	f.connectTo(t, key, "linkedin", "alice")
	file := ok[medium](t, f, uploadOf(key, picture(t, 3))).ID
	var targets, shared []string
	for i := range 25 {
		targets = append(targets, fmt.Sprintf(`{"platform":"linkedin","text":"%d"}`, i))
	}
	for range 13 {
		shared = append(shared, `{"kind":"image","mediaId":"`+file+`","altText":"`+strings.Repeat("\u0301", 9_000)+`"}`)
	}
	for _, c := range []struct{ reason, body, rule string }{
		{"values without content", `{"targets":[{"media":[` + strings.Repeat("{},", 300_000) + `{}]}]}`, "body.values"},
		{"texts that each target has a copy of", `{"targets":[` + strings.Join(targets, ",") + `],"media":[` + strings.Join(shared, ",") + `]}`, "targets.size"},
	} {
		w := f.send(sent{method: http.MethodPost, target: "/v1/posts", key: key, body: c.body})
		if e := errorOf(t, w); w.Code != http.StatusBadRequest || e.Rule != c.rule {
			t.Errorf("%s: %d %+v", c.reason, w.Code, e)
		}
	}
	if n := f.rows(t, "posts"); n != 0 {
		t.Errorf("%d posts", n)
	}
	// What is a text has as many commas and brackets as it likes.
	w := f.send(sent{method: http.MethodPost, target: "/v1/posts", key: key, body: `{"targets":[{"accountId":"none"}],"text":"` + strings.Repeat(`,{[\"\\`, 8_000) + `"}`})
	if w.Code != http.StatusNotFound {
		t.Errorf("a text of commas: %d %s", w.Code, w.Body)
	}
}
