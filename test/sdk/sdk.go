// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sdk asks an API what the reference's published TypeScript SDK (0.2.0) asks it, with requests like its own,
// and looks at the answers as that one's types do. It is a description of those requests and types in Go: nothing of
// the SDK is in it.
package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Client is the SDK with a key. It does not retry.
type Client struct {
	URL string // without a slash at its end
	Key string
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   map[string]any
}

// Do sends a request as the SDK does. query is what follows the "?"; a body that is nil is none.
func (c Client) Do(ctx context.Context, method, path string, query url.Values, body any) (Answer, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return Answer{}, err
		}
		content = bytes.NewReader(text)
	}
	if len(query) > 0 {
		path += "?" + query.Encode() // a list is the same parameter several times
	}
	r, err := http.NewRequestWithContext(ctx, method, c.URL+path, content)
	if err != nil {
		return Answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+c.Key)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "letmepost-sdk-ts/0.2.0")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if method != http.MethodGet {
		r.Header.Set("Idempotency-Key", uuid.NewString())
	}
	for name, value := range map[string]string{"Accept-Language": "*", "Sec-Fetch-Mode": "cors"} { // as Node's fetch
		r.Header.Set(name, value)
	}
	return answerOf(http.DefaultClient.Do(r))
}

func answerOf(response *http.Response, err error) (Answer, error) {
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Status: response.StatusCode, Header: response.Header}
	if err := json.Unmarshal(text, &a.Body); err != nil {
		return a, fmt.Errorf("%d %.200q is no JSON object: %w", a.Status, text, err)
	}
	return a, nil
}

// Kinds of members. One with a "?" at its end may be missing or null.
const (
	text   = "string"
	number = "number"
	truth  = "boolean"
	list   = "list"
	object = "object"
	moment = "time"
	maybe  = "?"
	orNull = "|null" // it is there, and may be null
)

// oneOf is the kind of a member that is one of a few words.
func oneOf(words ...string) string { return enum + strings.Join(words, " ") }

const enum = "one of "

// The SDK's enums. One word is ours alone, as docs/http-api.md says: a post that was canceled is "canceled" at the
// reference's server, too, and its SDK's type does not have it.
var (
	platformName = oneOf("bluesky", "facebook", "instagram", "linkedin", "pinterest", "threads", "tiktok", "twitter")
	postStatus   = oneOf("queued", "validated", "publishing", "published", "failed", "rejected", beyondTheSDK)
	batchStatus  = oneOf("queued", "published", "partial_failed", "failed")
	state        = oneOf("stable", "trial", "pending")
)

const beyondTheSDK = "canceled"

// Shape is a type of the SDK: its members, each with its kind.
type Shape map[string]string

var (
	account = Shape{
		"id": text, "profileId": text, "platform": platformName, "platformAccountId": text, "displayName": text + orNull,
		"tokenExpiresAt": moment + maybe, "createdAt": moment, "updatedAt": moment,
	}
	connection = Shape{"platform": platformName, "state": state, "descriptor": object}
	batch      = Shape{
		"id": text, "status": batchStatus, "createdAt": moment, "scheduledAt": moment + maybe, "results": list,
	}
	result = Shape{
		"accountId": text, "platform": platformName, "postId": text + maybe, "status": postStatus,
		"uri": text + maybe, "cid": text + maybe,
		"warnings": list + maybe, "error": object + maybe,
	}
	post = Shape{
		"id": text, "profileId": text, "accountId": text, "account": object, "platform": platformName,
		"status": postStatus, "text": text,
		"mediaRefs": list, "scheduledAt": moment + orNull, "publishedAt": moment + orNull, "platformUri": text + orNull,
		"platformCid": text + orNull, "error": object + maybe, "createdAt": moment, "updatedAt": moment,
	}
	postAccount = Shape{"id": text, "platform": platformName, "platformAccountId": text, "displayName": text + orNull}
	attempt     = Shape{
		"id": text, "attemptNumber": number, "startedAt": moment, "finishedAt": moment + orNull, "succeeded": truth,
		"errorCode": text + maybe, "errorMessage": text + maybe,
	}
	medium = Shape{
		"id": text, "url": text, "contentType": text, "sizeBytes": number, "sha256": text, "createdAt": moment,
		"profileId": text + maybe,
	}
	apiKey = Shape{
		"id": text, "name": text, "prefix": text, "last4": text, "scopes": list, "profileId": text + maybe,
		"createdAt":  moment,
		"lastUsedAt": moment + maybe, "revokedAt": moment + maybe,
	}
	deleted   = Shape{"id": text, "deleted": truth}
	envelope  = Shape{"error": object}
	errorBody = Shape{
		"code": text, "message": text, "rule": text + maybe, "platform": text + maybe, "remediation": text + maybe,
		"docUrl": text + maybe, "ruleUrl": text + maybe, "requestId": text + maybe,
	}
)

// faults says what of a value is not of the shape.
func (s Shape) faults(value any) (faults []string) {
	members, ok := value.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%v is no object", value)}
	}
	for name, kind := range s {
		member, there := members[name]
		kind, optional := strings.CutSuffix(kind, maybe)
		kind, nullable := strings.CutSuffix(kind, orNull)
		switch {
		case member == nil && (optional || there && nullable):
		case !is(member, kind):
			faults = append(faults, fmt.Sprintf("%s is %v, want a %s", name, member, kind))
		}
	}
	slices.Sort(faults)
	return faults
}

func is(value any, kind string) bool {
	switch v := value.(type) {
	case string:
		if words, isEnum := strings.CutPrefix(kind, enum); isEnum {
			return slices.Contains(strings.Fields(words), v)
		}
		_, err := time.Parse(time.RFC3339, v)
		return kind == text || kind == moment && err == nil
	case float64:
		return kind == number
	case bool:
		return kind == truth
	case []any:
		return kind == list
	case map[string]any:
		return kind == object
	default:
		return false
	}
}
