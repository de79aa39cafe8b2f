// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package platform is the vocabulary of publishing: what goes to a platform, what comes back, and the ways in which it
// fails. Each platform has a room below this one; the interfaces that they fulfil are package publish's.
package platform

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// Name is a platform as callers name it.
type Name string

// The platforms.
const (
	Bluesky  Name = "bluesky"
	LinkedIn Name = "linkedin"
)

// Names lists them all, in the order in which documentation does.
var Names = []Name{Bluesky, LinkedIn}

// Codes of failures. They stand beside the codes of the HTTP contract, in the same place of the same envelope.
const (
	CodePreflightFailed = "preflight_failed"     // it would be refused, and was not sent
	CodeAuthFailed      = "platform_auth_failed" // the account's credentials are no longer good
	CodeRejected        = "platform_rejected"    // the platform took it and said no
	CodeUnavailable     = "platform_unavailable" // the platform could not be asked
	CodeRateLimited     = "rate_limited"         // the platform asks to slow down
	CodeNotEnabled      = "platform_not_enabled" // this server does not offer the platform
	CodeInternalError   = "internal_error"       // a mistake of ours, or an outcome that is unknown
	CodeInvalid         = "validation_failed"    // what was asked makes no sense; the rule names the field
)

// Failure is why a post was not published. It holds nothing that its author may not see.
type Failure struct {
	Code             string          `json:"code" doc:"What kind of failure it is. Branch on this."`
	Message          string          `json:"message" doc:"What is wrong, for people."`
	Rule             string          `json:"rule,omitempty" doc:"The rule that was broken, where there is one."`
	Remediation      string          `json:"remediation,omitempty" doc:"What to do next, for people."`
	PlatformResponse json.RawMessage `json:"platformResponse,omitempty" doc:"What the platform said, if it said anything."`
}

// Error makes a Failure an error.
func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// Content is what is to be published, resolved: defaults are filled in and media are found.
type Content struct {
	Text         string
	Media        []Media
	FirstComment string // "": none
	Options      Options
}

// Kinds of media.
const (
	Image = "image"
	Video = "video"
)

// Media is an image or a video of a post.
type Media struct {
	Kind        string // Image or Video
	AltText     string
	ID          string // of the uploaded file
	ContentType string
	SizeBytes   int64
	Open        func(context.Context) (io.ReadCloser, error) // its bytes; nil in a preflight
}

// Options are what only one platform knows.
type Options struct {
	Platform     Name   `json:"platform" enum:"bluesky,linkedin" doc:"It must be the account's."`
	ReplyToURI   string `json:"replyToUri,omitempty"`
	ReplyToCID   string `json:"replyToCid,omitempty"`
	ReplyRootURI string `json:"replyRootUri,omitempty"`
	ReplyRootCID string `json:"replyRootCid,omitempty"`
}

// Account is where a post goes.
type Account struct {
	ID                string // ours
	Platform          Name
	PlatformAccountID string // the platform's, such as a DID
}

// Receipt is what a platform gives for a post that it took.
type Receipt struct {
	URI, CID                         string
	FirstCommentURI, FirstCommentCID string // "" without a first comment
	Warnings                         []Warning
}

// Warning is what the author should know of a post that was published.
type Warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Connection is an account as the platform describes it, once its credentials were accepted.
type Connection struct {
	PlatformAccountID string
	DisplayName       string    // "": none
	TokenExpiresAt    time.Time // zero: never
}

// Descriptor tells a client how an account is connected.
type Descriptor struct {
	Kind     string  `json:"kind" enum:"credentials,oauth"`
	HelpText string  `json:"helpText"`
	Fields   []Field `json:"fields,omitempty" doc:"What to ask the person for, if kind is credentials."`
}

// Field is one thing to ask for.
type Field struct {
	Name        string `json:"name"`
	Label       string `json:"label"`
	Type        string `json:"type" enum:"text,password,url"`
	Required    bool   `json:"required"`
	Placeholder string `json:"placeholder,omitempty"`
	HelpText    string `json:"helpText,omitempty"`
}
