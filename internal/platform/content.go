// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"io"
)

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

// Media is an image or a video of a post. What rules look at stands beside the bytes: a preflight opens nothing.
type Media struct {
	Kind        string // Image or Video
	AltText     string
	ID          string // of the uploaded file
	ContentType string
	SizeBytes   int64
	// Open returns its bytes. It is nil in a preflight, which must not depend on where the bytes are.
	Open func(context.Context) (io.ReadCloser, error)
}

// Options are what only some platforms understand; Platform.Options tells which. They are one struct for all platforms,
// because a caller writes them before it is known whether the account that they go to is of that platform.
type Options struct {
	Platform     Name   `json:"platform" doc:"It must be the account's."`
	ReplyToURI   string `json:"replyToUri,omitempty"`
	ReplyToCID   string `json:"replyToCid,omitempty"`
	ReplyRootURI string `json:"replyRootUri,omitempty"`
	ReplyRootCID string `json:"replyRootCid,omitempty"`
	QuoteURI     string `json:"quoteUri,omitempty" doc:"A post that is shown within this one."`
	QuoteCID     string `json:"quoteCid,omitempty"`
	// Langs are BCP 47 tags.
	Langs []string `json:"langs,omitempty" doc:"Languages of the text, such as en or pt-BR."`
}
