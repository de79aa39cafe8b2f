// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// kind is what a name in a request is the name of.
type kind string

const (
	aProfile kind = "profile"
	aPost    kind = "post"
	aMedium  kind = "medium"
	aAccount kind = "account"
	aKey     kind = "key"
	aCursor  kind = "cursor"
	noName   kind = "" // on purpose: it names nothing that belongs to anybody
)

// What stands in a path's parameter, by what stands before it.
var paramKinds = map[string]kind{
	"/v1/posts/":            aPost,
	"/v1/media/":            aMedium,
	"/v1/accounts/":         aAccount,
	"/v1/profiles/":         aProfile,
	"/v1/api-keys/":         aKey,
	"/v1/accounts/connect/": noName, // a platform's name
	"/v1/accounts/oauth/":   noName, // likewise; what the state there leads to is in connect_browser_test.go
}

// What the query parameters are.
var queryKinds = map[string]kind{
	"profileId": aProfile,
	"cursor":    aCursor,
	"platform":  noName, // filters: they narrow what the key reaches
	"status":    noName,
	"errorCode": noName,
	"state":     noName,
	"q":         noName,
	"after":     noName,
	"before":    noName,
}

// What the members of bodies are, wherever they stand.
var memberKinds = map[string]kind{
	"profileId": aProfile,
	"accountId": aAccount,
	"mediaId":   aMedium,

	"text":         noName,
	"altText":      noName,
	"kind":         noName,
	"platform":     noName, // which finds among the accounts that the key reaches; see TestPlatformAloneIsAnAccount
	"publishNow":   noName,
	"scheduledAt":  noName,
	"returnTo":     noName,
	"method":       noName,
	"identifier":   noName, // of the platform's account, which its person opens
	"pdsUrl":       noName,
	"url":          noName, // refused
	"bytesBase64":  noName, // refused
	"replyToUri":   noName, // the platform's names for posts of anybody
	"replyToCid":   noName,
	"replyRootUri": noName,
	"replyRootCid": noName,
	"quoteUri":     noName,
	"quoteCid":     noName,
	"langs[]":      noName,
	"*":            noName, // what a platform's descriptor asks for
}

// Where a field of a form stands.
const (
	beforeFile = "form before the file"
	afterFile  = "form after the file"
)

// naming is one way of one route to name a thing.
type naming struct {
	route *endpoint.Route
	where string // "path", "query", "body", beforeFile or afterFile
	at    string // the parameter, or the place in the body: "targets[].media[].mediaId"
	kind  kind
}

func (n naming) String() string {
	return n.route.Method + " " + n.route.Path + ", " + n.where + " " + n.at
}

// namings are all ways of all routes to name a thing. One that is not known to the tables above fails the test: whoever
// adds it decides what it is.
func namings(t *testing.T) []naming {
	t.Helper()
	var all []naming
	add := func(r *endpoint.Route, where, at string, k kind, known bool) {
		if n := (naming{r, where, at, k}); !known {
			t.Errorf("%v is not in the tables of names: is it the name of a thing that belongs to somebody?", n)
		} else if k != noName {
			all = append(all, n)
		}
	}
	for i := range routes {
		r := &routes[i]
		if r.Access == admission.Anyone {
			continue
		}
		if before, name, _ := paramOf(r.Path); name != "" {
			k, known := paramKinds[before]
			add(r, "path", name, k, known)
		}
		params := slices.Clone(r.Query)
		if r.Paged {
			params = append(params, endpoint.Parameter{Name: "cursor"})
		}
		for _, p := range params {
			k, known := queryKinds[p.Name]
			add(r, "query", p.Name, k, known)
		}
		for _, at := range membersOf(t, r.Takes()) {
			k, known := memberKinds[at[strings.LastIndexByte(at, '.')+1:]]
			add(r, "body", at, k, known)
		}
		for _, field := range formsOf(t, r) {
			k, known := memberKinds[field]
			add(r, beforeFile, field, k, known)
			add(r, afterFile, field, k, known)
		}
	}
	return all
}

// formsOf are the fields of the form that a route takes, beside the file, as the document has them.
func formsOf(t *testing.T, r *endpoint.Route) (fields []string) {
	t.Helper()
	text, err := Document()
	check(t, err)
	operation := decode[struct {
		Paths map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct {
					Schema struct{ Properties map[string]any }
				}
			}
		}
	}](t, string(text)).Paths[r.Path][strings.ToLower(r.Method)]
	for field := range operation.RequestBody.Content["multipart/form-data"].Schema.Properties {
		if field != "file" {
			fields = append(fields, field)
		}
	}
	return fields
}

// membersOf are the places of a body's members that are no objects.
func membersOf(t *testing.T, body reflect.Type) []string {
	t.Helper()
	if body == nil {
		return nil
	}
	switch body.Kind() {
	case reflect.Pointer:
		return membersOf(t, body.Elem())
	case reflect.Slice:
		return prefixed("[]", membersOf(t, body.Elem()))
	case reflect.Map:
		if body != reflect.TypeFor[completeConnection]() {
			t.Errorf("%v: its members can't be listed", body)
		}
		return []string{"profileId", "*"}
	case reflect.Struct:
		if body != reflect.TypeFor[time.Time]() {
			return fieldsOf(t, body)
		}
	}
	return []string{""}
}

func fieldsOf(t *testing.T, body reflect.Type) []string {
	t.Helper()
	var all []string
	for i := range body.NumField() {
		name, _, _ := strings.Cut(body.Field(i).Tag.Get("json"), ",")
		if name == "" {
			t.Errorf("%v.%s has no name in JSON", body, body.Field(i).Name)
		}
		for _, rest := range membersOf(t, body.Field(i).Type) {
			switch {
			case rest == "" || strings.HasPrefix(rest, "[]"):
				all = append(all, name+rest)
			default:
				all = append(all, name+"."+rest)
			}
		}
	}
	return all
}

func prefixed(prefix string, rest []string) []string {
	all := make([]string, 0, len(rest))
	for _, r := range rest {
		if r != "" && !strings.HasPrefix(r, "[]") {
			r = "." + r
		}
		all = append(all, prefix+r)
	}
	return all
}

// neverWas is for each kind an id of its form that nothing has.
var neverWas = map[kind]string{
	aProfile: "11111111-2222-4333-8444-555555555555",
	aPost:    "01939b1e-0000-7000-8000-000000000000",
	aAccount: "01939b1e-0000-7000-8000-000000000001",
	aMedium:  "med_0000000000000000000000",
	aKey:     "11111111-2222-4333-8444-666666666666",
}

// naming makes a request that is good but for what it names: it names id in the way n.
func (c keyholder) naming(t *testing.T, n naming, id string) sent {
	t.Helper()
	own := func(k kind) string { return c.own.things[k] }
	s := sent{method: n.route.Method, target: pathOf(n.route, own(paramKinds[n.route.Path[:max(strings.IndexByte(n.route.Path, '{'), 0)]])), key: c.key}
	body := map[string]any{}
	switch n.route.ID {
	case "uploadMedia":
		s = uploadOf(c.key, picture(t, 5))
	case "createPosts":
		body["text"], body["scheduledAt"] = "named", later
		body["targets"] = []any{map[string]any{"accountId": own(aAccount)}}
	case "editPost":
		body["text"] = "named"
	case "completeConnection":
		body["identifier"], body["appPassword"] = fmt.Sprintf("carol-%d.test", identifiers.Add(1)), "x"
	}
	switch n.where {
	case "path":
		s.target = pathOf(n.route, id)
	case "query":
		s.target += "?" + n.at + "=" + url.QueryEscape(id)
	case "body":
		place(body, n.at, id)
	case beforeFile:
		s = multiparts(c.key, "b0undary", part{"form-data; name=" + n.at, id}, part{fileNamed, picture(t, 5)})
	case afterFile:
		s = multiparts(c.key, "b0undary", part{fileNamed, picture(t, 5)}, part{"form-data; name=" + n.at, id})
	}
	if len(body) > 0 {
		text, err := json.Marshal(body)
		check(t, err)
		s.body = string(text)
	}
	return s
}

// place puts id at a place of a body, and makes what leads there.
func place(body map[string]any, at, id string) {
	head, rest, deeper := strings.Cut(at, ".")
	name, list := strings.CutSuffix(head, "[]")
	switch {
	case !deeper:
		body[name] = id
		if name == "mediaId" {
			body["kind"] = "image"
		}
	case list:
		items, _ := body[name].([]any)
		if len(items) == 0 {
			items = []any{map[string]any{}}
		}
		body[name] = items
		place(items[0].(map[string]any), rest, id)
	default:
		inner, _ := body[name].(map[string]any)
		if inner == nil {
			inner = map[string]any{}
		}
		body[name] = inner
		place(inner, rest, id)
	}
}

// These are all, in words, so that one that gets lost is noticed too.
func TestNamings(t *testing.T) {
	var got []string
	for _, n := range namings(t) {
		got = append(got, n.String())
	}
	for _, want := range []string{
		"GET /v1/posts, query profileId", "GET /v1/posts, query cursor",
		"POST /v1/posts, body profileId", "POST /v1/posts, body targets[].accountId",
		"POST /v1/posts, body media[].mediaId", "POST /v1/posts, body targets[].media[].mediaId",
		"GET /v1/posts/{id}, path id", "PATCH /v1/posts/{id}, path id", "PATCH /v1/posts/{id}, body media[].mediaId",
		"DELETE /v1/posts/{id}, path id", "POST /v1/posts/{id}/retry, path id",
		"POST /v1/media, query profileId", "POST /v1/media, form before the file profileId",
		"POST /v1/media, form after the file profileId", "GET /v1/media, query profileId", "GET /v1/media, query cursor",
		"GET /v1/media/{id}, path id", "GET /v1/media/{id}/content, path id", "DELETE /v1/media/{id}, path id",
		"GET /v1/accounts, query profileId", "GET /v1/accounts, query cursor",
		"GET /v1/accounts/{id}, path id", "DELETE /v1/accounts/{id}, path id",
		"POST /v1/accounts/connect/{platform}, body profileId", "POST /v1/accounts/connect/{platform}/complete, body profileId",
		"GET /v1/profiles, query cursor", "GET /v1/profiles/{id}, path id",
		"GET /v1/api-keys, query cursor", "DELETE /v1/api-keys/{id}, path id",
	} {
		i := slices.Index(got, want)
		if i < 0 {
			t.Errorf("missing: %s", want)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	for _, n := range got {
		t.Errorf("new, and to be listed here: %s", n)
	}
	// A route in which nothing can be named shows what is the key's own alone. These are they.
	nameless, named := []string{"whoami", "createApiKey"}, namings(t)
	for i := range routes {
		r := &routes[i]
		names := func(n naming) bool { return n.route == r }
		if r.Access != admission.Anyone && slices.ContainsFunc(named, names) == slices.Contains(nameless, r.ID) {
			t.Errorf("%s: does it name nothing?", r.ID)
		}
	}
}
