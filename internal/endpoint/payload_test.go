// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// Bodies of the shapes that the contract has: lists in lists, what may be left out, a time, and fields by any name.
// Package httpapi reads its own in FuzzBodies.
type (
	posts struct {
		Targets      []target   `json:"targets"`
		Text         string     `json:"text,omitempty"`
		Media        []file     `json:"media,omitempty"`
		FirstComment *comment   `json:"firstComment,omitempty"`
		PublishNow   *bool      `json:"publishNow,omitempty"`
		ScheduledAt  *time.Time `json:"scheduledAt,omitempty"`
		ProfileID    *string    `json:"profileId,omitempty"`
	}
	target struct {
		AccountID    *string           `json:"accountId,omitempty"`
		Platform     *string           `json:"platform,omitempty"`
		Text         *string           `json:"text,omitempty"`
		Media        *[]file           `json:"media,omitempty"`
		FirstComment *comment          `json:"firstComment,omitempty"`
		Options      *platform.Options `json:"options,omitempty"`
	}
	comment struct {
		Text string `json:"text"`
	}
	file struct {
		Kind        string `json:"kind"`
		AltText     string `json:"altText,omitempty"`
		MediaID     string `json:"mediaId,omitempty"`
		URL         string `json:"url,omitempty"`
		BytesBase64 string `json:"bytesBase64,omitempty"`
	}
	edit struct {
		ScheduledAt *time.Time `json:"scheduledAt,omitempty"`
		Text        *string    `json:"text,omitempty"`
		Media       *[]file    `json:"media,omitempty"`
	}
	fields map[string]string
	secret map[string]string
)

// MaxBytes of a secret is much, where it is one.
func (secret) MaxBytes(name string) int {
	return map[bool]int{true: 1 << 20, false: 10}[name == "password"]
}

// TestBoundsOfEntries: how long one text may be says nothing about the next, in whatever order they come.
func TestBoundsOfEntries(t *testing.T) {
	for range 50 { // a map has another order each time
		s := secret{"password": strings.Repeat("x", 100), strings.Repeat("n", 100): "y"}
		if err := checkText(reflect.ValueOf(s), 10, ""); err == nil {
			t.Fatal("a name is as long as a password")
		}
		if err := checkText(reflect.ValueOf(secret{"password": strings.Repeat("x", 100), "name": "y"}), 10, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzPayload: a body that is accepted is valid UTF-8 without members that are unknown or given twice, and means what
// encoding/json takes it to mean. One that is not has a rule that may be logged.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `{"text":"a","text":"b"}`, `{"Text":"a"}`, `{"text":"\ud800"}`, "{\"text\":\"\xff\"}", `{"text":1}`,
		`{"targets":[{"accountId":"a","platform":"bluesky","text":null,"media":[{"kind":"image","mediaId":"m"}],"options":{"platform":"bluesky"}}],"text":"x","publishNow":true}`,
		`{"targets":[{"accountID":"a"}],"scheduledAt":"2026-05-08T12:00:00.5+01:00"}`, `{"scheduledAt":"2026-05-08 12:00"}`,
		`{"targets":[{"text":"a","text":"b"}]}`, `{} {}`, `{"text":"a"}x`, strings.Repeat("[", 20_000), `{"targets":` + strings.Repeat("[", 500) + `}`,
		`{"` + strings.Repeat("x", 200) + `":1}`, `{"firstComment":{"text":"a","more":1}}`, `{"identifier":"a","identifier":"b"}`, `{"..targets"`, `{"targets.0.text":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var in posts
		accepts(t, payload, &in, new(posts))
		accepts(t, payload, new(edit), new(edit))
		accepts(t, payload, new(fields), new(fields))
	})
}

// accepts reads a body in our way into one value and in the standard library's into another.
func accepts(t *testing.T, payload []byte, into, other any) {
	t.Helper()
	if err := decodeJSON(payload, into); err != nil {
		var p *problem.Problem
		if !errors.As(err, &p) || p.Kind != problem.Invalid || p.Code != problem.CodeValidationFailed || len(p.Rule) > maxRule {
			t.Fatalf("%q: %v", payload, err)
		}
		for name := range strings.SplitSeq(p.Rule, ".") {
			if !validRequestID(name) {
				t.Errorf("%q: the rule %q is the caller's own words", payload, p.Rule)
			}
		}
		return
	}
	if len(payload) == 0 {
		return
	}
	if !utf8.Valid(payload) {
		t.Errorf("%q is accepted, and no UTF-8", payload)
	}
	if twice(json.NewDecoder(bytes.NewReader(payload))) {
		t.Errorf("%q is accepted, with a member that is there twice", payload)
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	if reflect.TypeOf(other).Elem().Kind() == reflect.Struct {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(other); err != nil {
		t.Fatalf("%q is accepted, and encoding/json says %v", payload, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Errorf("%q is accepted, and something follows", payload)
	}
	if diff := cmp.Diff(other, into); diff != "" {
		t.Errorf("%q (-encoding/json +ours):\n%s", payload, diff)
	}
}

// twice reads a value, and tells whether an object in it has a member twice.
func twice(d *json.Decoder) bool {
	token, err := d.Token()
	if err != nil {
		return false
	}
	found := false
	switch token {
	case json.Delim('{'):
		names := map[string]bool{}
		for d.More() {
			token, _ := d.Token()
			name, _ := token.(string)
			found = found || names[name]
			names[name] = true
			found = twice(d) || found
		}
		_, _ = d.Token()
	case json.Delim('['):
		for d.More() {
			found = twice(d) || found
		}
		_, _ = d.Token()
	}
	return found
}
