// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Subject is an API, seen by a key of the whole organization with every scope. The organization has a profile of the
// name default, and no accounts yet.
type Subject struct {
	Client
	Profile   string // id of that profile
	Connected bool   // accounts can be connected here
}

// Check uses all of the SDK. The error says all that is not as its types have it.
func (s Subject) Check(ctx context.Context) error {
	c := &contract{Subject: s, ctx: ctx}
	c.keys()
	if !s.Connected {
		c.refused(
			"connect, which is not enabled",
			c.call(http.MethodPost, "/v1/accounts/connect/linkedin", nil, none),
			403,
			"platform_not_enabled",
			"platform",
		)
	} else {
		id := c.connect()
		c.publish(id)
		c.disconnect(id)
	}
	c.media()
	c.mistakes()
	return errors.Join(c.faults...)
}

// contract is one run of Check.
type contract struct {
	Subject
	ctx    context.Context
	faults []error
}

// none is the body that the SDK sends where it has nothing to say.
var none = map[string]any{}

func (c *contract) fault(format string, a ...any) {
	c.faults = append(c.faults, fmt.Errorf(format, a...))
}

func (c *contract) call(method, path string, query url.Values, body any) Answer {
	a, err := c.Do(c.ctx, method, path, query, body)
	if err != nil {
		c.fault("%s %s: %w", method, path, err)
	}
	return a
}

// ok checks a success.
func (c *contract) ok(what string, a Answer, status int, shape Shape) map[string]any {
	if a.Status != status {
		c.fault("%s: %d %v, want %d", what, a.Status, a.Body, status)
	}
	for _, fault := range shape.faults(a.Body) {
		c.fault("%s: %s", what, fault)
	}
	return a.Body
}

// each checks the items of a list, of which there are so many.
func (c *contract) each(what string, items any, count int, shape Shape) []map[string]any {
	values, isList := items.([]any)
	if !isList || len(values) != count {
		c.fault("%s: %v, want %d items", what, items, count)
	}
	all := make([]map[string]any, 0, count)
	for _, value := range values {
		for _, fault := range shape.faults(value) {
			c.fault("%s: %s", what, fault)
		}
		members, _ := value.(map[string]any)
		all = append(all, members)
	}
	return all
}

// refused checks what the SDK makes an error of.
func (c *contract) refused(what string, a Answer, status int, code, rule string) {
	c.ok(what, a, status, envelope)
	body, _ := a.Body["error"].(map[string]any)
	for _, fault := range errorBody.faults(body) {
		c.fault("%s: %s", what, fault)
	}
	got, _ := body["rule"].(string)
	if body["code"] != code || got != rule {
		c.fault("%s: %v, want the code %s and the rule %q", what, body, code, rule)
	}
	if id := a.Header.Get("X-Request-Id"); id == "" || body["requestId"] != id {
		c.fault("%s: requestId %v, and in the header %q", what, body["requestId"], id)
	}
	page, _ := body["ruleUrl"].(string)
	if want := "/preflight/" + strings.ReplaceAll(rule, ".", "-"); rule != "" && !strings.HasSuffix(page, want) ||
		rule == "" && page != "" {
		c.fault("%s: ruleUrl %q of the rule %q", what, page, rule)
	}
	if doc, _ := body["docUrl"].(string); !strings.HasSuffix(doc, "/errors/"+code) {
		c.fault("%s: docUrl %q", what, doc)
	}
}

func (c *contract) keys() {
	all := c.ok("apiKeys.list", c.call(http.MethodGet, "/v1/api-keys", nil, nil), 200, Shape{"data": list})
	if keys, _ := all["data"].([]any); len(keys) == 0 {
		c.fault("apiKeys.list: there is none")
	}
	for _, key := range c.each("apiKeys.list", all["data"], len(all["data"].([]any)), apiKey) {
		if prefix, _ := key["prefix"].(string); prefix != "lmp_live_" && prefix != "lmp_test_" {
			c.fault("apiKeys.list: prefix %q", prefix)
		}
	}
	c.refused(
		"apiKeys.create",
		c.call(http.MethodPost, "/v1/api-keys", nil, map[string]any{"name": "new"}),
		403,
		"unauthorized",
		"",
	)
	c.refused(
		"apiKeys.delete",
		c.call(http.MethodDelete, "/v1/api-keys/"+uuid.NewString(), nil, nil),
		403,
		"unauthorized",
		"",
	)
}

// connect connects an account, and returns its id.
func (c *contract) connect() string {
	before := c.ok("accounts.list", c.call(http.MethodGet, "/v1/accounts", nil, nil), 200, Shape{"data": list})
	c.each("accounts.list", before["data"], 0, account)
	c.ok("accounts.connect", c.call(http.MethodPost, "/v1/accounts/connect/bluesky", nil, none), 200, connection)
	credentials := map[string]any{"identifier": "alice.test", "appPassword": "any"}
	made := c.ok(
		"accounts.completeConnect",
		c.call(http.MethodPost, "/v1/accounts/connect/bluesky/complete", nil, credentials),
		201,
		account,
	)
	id, _ := made["id"].(string)
	if made["profileId"] != c.Profile {
		c.fault("accounts.completeConnect: profileId %v, want %s", made["profileId"], c.Profile)
	}
	c.ok("accounts.get", c.call(http.MethodGet, "/v1/accounts/"+id, nil, nil), 200, account)
	all := c.ok(
		"accounts.list of a profile",
		c.call(http.MethodGet, "/v1/accounts", url.Values{"profileId": {c.Profile}}, nil),
		200,
		Shape{"data": list},
	)
	c.each("accounts.list of a profile", all["data"], 1, account)
	return id
}

func (c *contract) publish(accountID string) {
	create := func(more map[string]any) Answer {
		body := map[string]any{"targets": []any{map[string]any{"accountId": accountID}}, "text": "hello"}
		for name, value := range more {
			body[name] = value
		}
		return c.call(http.MethodPost, "/v1/posts", nil, body)
	}
	now := c.ok("posts.create", create(map[string]any{"publishNow": true}), 200, batch)
	made := c.each("posts.create", now["results"], 1, result)
	if now["status"] != "published" {
		c.fault("posts.create: %v", now)
	}
	later := time.Now().AddDate(1, 0, 0).UTC().Format("2006-01-02T15:04:05.000Z") // as Date.toISOString
	planned := c.ok("posts.create for later", create(map[string]any{"scheduledAt": later}), 202, batch)
	c.each("posts.create for later", planned["results"], 1, result)
	if planned["status"] != "queued" || planned["scheduledAt"] == nil {
		c.fault("posts.create for later: %v", planned)
	}
	c.refused("posts.create of what Bluesky does not take", create(map[string]any{"text": strings.Repeat("x", 301)}), 400,
		"preflight_failed", "bluesky.text.max_graphemes")

	if len(made) == 1 {
		c.onePost(made[0]["postId"])
		// The batch's id is nobody's.
		ofBatch := c.call(http.MethodGet, fmt.Sprint("/v1/posts/", now["id"]), nil, nil)
		c.refused("posts.get of the batch", ofBatch, 404, "not_found", "")
	}
	for _, q := range []struct {
		what  string
		query url.Values
		count int
	}{
		{"all", nil, 2},
		{"several platforms and statuses", url.Values{
			"platform": {"bluesky", "twitter"}, "status": {"published", "queued", "validated"}, "limit": {"10"},
		}, 2},
		{"one status", url.Values{"status": {"queued"}, "profileId": {c.Profile}}, 1},
		{"a platform that is none here", url.Values{"platform": {"twitter"}}, 0},
		{"after the end", url.Values{"after": {later}}, 0},
	} {
		page := c.ok(
			"posts.list: "+q.what,
			c.call(http.MethodGet, "/v1/posts", q.query, nil),
			200,
			Shape{"data": list, "nextCursor": text + orNull},
		)
		c.each("posts.list: "+q.what, page["data"], q.count, post)
	}
}

func (c *contract) onePost(id any) {
	got := c.ok("posts.get", c.call(http.MethodGet, fmt.Sprint("/v1/posts/", id), nil, nil), 200, post)
	c.each("posts.get: attempts", got["attempts"], 1, attempt)
	for _, fault := range postAccount.faults(got["account"]) {
		c.fault("posts.get: account: %s", fault)
	}
	if got["status"] != "published" || got["platformUri"] == nil || got["publishedAt"] == nil {
		c.fault("posts.get: %v", got)
	}
}

func (c *contract) disconnect(id string) {
	gone := c.ok("accounts.delete", c.call(http.MethodDelete, "/v1/accounts/"+id, nil, nil), 200, deleted)
	if gone["deleted"] != true {
		c.fault("accounts.delete: %v", gone)
	}
	c.refused("accounts.delete again", c.call(http.MethodDelete, "/v1/accounts/"+id, nil, nil), 404, "not_found", "")
}

// image is a GIF of one pixel, as far as anybody looks who does not show it.
const image = "GIF89a\x01\x00\x01\x00\x00\x00\x00;"

// media uploads with fetch and FormData, as the SDK has no method for it.
func (c *contract) media() {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", "blob")
	if err == nil {
		_, err = io.WriteString(part, image)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		c.fault("make a form: %w", err)
	}
	r, err := http.NewRequestWithContext(c.ctx, http.MethodPost, c.URL+"/v1/media", &form)
	if err != nil {
		c.fault("make a request: %w", err)
		return
	}
	r.Header.Set("Authorization", "Bearer "+c.Key)
	r.Header.Set("Content-Type", w.FormDataContentType())
	a, err := answerOf(http.DefaultClient.Do(r))
	if err != nil {
		c.fault("upload: %w", err)
	}
	c.ok("upload", a, 201, medium)
	page := c.ok(
		"media.list",
		c.call(http.MethodGet, "/v1/media", url.Values{"profileId": {c.Profile}}, nil),
		200,
		Shape{"data": list, "nextCursor": text + maybe},
	)
	c.each("media.list", page["data"], 1, medium)
}

// mistakes are what becomes an error of each of the SDK's classes.
func (c *contract) mistakes() {
	c.refused("posts.get of none", c.call(http.MethodGet, "/v1/posts/"+uuid.NewString(), nil, nil), 404, "not_found", "")
	c.refused(
		"posts.create without targets",
		c.call(http.MethodPost, "/v1/posts", nil, map[string]any{"targets": []any{}}),
		400,
		"validation_failed",
		"targets.required",
	)
	c.refused(
		"posts.list of nobody's platform",
		c.call(http.MethodGet, "/v1/posts", url.Values{"platform": {"myspace"}}, nil),
		400,
		"validation_failed",
		"platform",
	)
	c.refused(
		"webhooks, which are not there",
		c.call(http.MethodGet, "/v1/webhook-endpoints", nil, nil),
		404,
		"not_found",
		"",
	)
	stranger := *c
	stranger.Key, stranger.faults = "lmp_live_none", nil
	stranger.refused(
		"a key that is none",
		stranger.call(http.MethodGet, "/v1/posts", nil, nil),
		401,
		"unauthenticated",
		"",
	)
	c.faults = append(c.faults, stranger.faults...)
}
