// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/leak"
)

// nullsOf are bodies of a type with nothing but one null in each, by the rule that is to name it: one for each member
// and each element of a list.
func nullsOf(t *testing.T, typ reflect.Type) map[string]any {
	t.Helper()
	bodies := map[string]any{}
	in := func(name string, typ reflect.Type, wrap func(any) any) {
		bodies[name] = wrap(nil)
		for rule, body := range nullsOf(t, typ) {
			bodies[name+"."+rule] = wrap(body)
		}
	}
	switch typ.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.String:
	case reflect.Pointer:
		return nullsOf(t, typ.Elem())
	case reflect.Slice:
		in("0", typ.Elem(), func(v any) any { return []any{v} })
	case reflect.Map:
		in("any", typ.Elem(), func(v any) any { return map[string]any{"any": v} })
	case reflect.Struct:
		if typ == reflect.TypeFor[time.Time]() {
			break
		}
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			in(name, typ.Field(i).Type, func(v any) any { return map[string]any{name: v} })
		}
	default:
		t.Fatalf("a body has a %v: whoever adds it says what null is there", typ)
	}
	return bodies
}

// What is null is not taken for left out, in any member of any body: something would go out, or reach further, than
// whoever lost the value meant.
func TestNullIsRefused(t *testing.T) {
	f := newFixture(t, nil)
	key, found := f.newKey(t), 0
	f.connect(t, key)
	before := f.rows(t, "posts", "accounts", "media")
	for i := range routes {
		route := &routes[i]
		if route.Takes() == nil || route.Takes() == reflect.TypeFor[leak.KeyReport]() { // which takes one key: TestReportLeaked
			continue
		}
		target := strings.NewReplacer("{platform}", "bluesky", "{id}", "0").Replace(route.Path)
		for rule, body := range nullsOf(t, route.Takes()) {
			found++
			text, err := json.Marshal(body)
			check(t, err)
			w := f.send(sent{method: route.Method, target: target, key: key, body: string(text)})
			if e := errorOf(t, w); w.Code != http.StatusBadRequest || e.Rule != rule || !strings.Contains(e.Message, "null") {
				t.Errorf("%s %s, %s: %d %+v", route.Method, route.Path, text, w.Code, e)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d places were found", found)
	}
	if after := f.rows(t, "posts", "accounts", "media"); after != before {
		t.Errorf("%d rows before, %d after", before, after)
	}
}

// A body that is null as a whole is none: HTTP libraries send it where there is nothing to say. And the word itself is
// a text as any other.
func TestNullThatIsNone(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	id := f.schedule(t, key, account, "")
	checkStatus(t, "cancel", f.send(sent{method: http.MethodDelete, target: "/v1/posts/" + id, key: key, body: "null"}), http.StatusOK)
	checkStatus(t, "retry", f.send(sent{method: http.MethodPost, target: "/v1/posts/" + id + "/retry", key: key, body: " null "}), http.StatusOK)
	for _, text := range []string{"null", `a \"null\", and null`} {
		checkStatus(t, text, f.send(publication(key, targetOf(account, ""), `,"text":"`+text+`"`)), http.StatusOK)
	}
}
