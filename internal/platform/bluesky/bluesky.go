// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bluesky is Bluesky, a network on the AT Protocol: accounts are connected by an app password or by OAuth, on
// any server of that protocol, and posts go out exactly once.
//
// A post's record has a key that is made of the post's id, and is only ever created. So whoever tries again, after a
// crash or an answer that got lost, finds the record that is there and takes it for its own.
//
// How an account is connected: session.go takes an app password, and oauth.go sends a browser to the account's own
// authorization server, which authserver.go finds. Whose account it is, and on which server, identity.go finds out,
// by the account's document and by nobody's word. What opens it is refreshed in session.go, if that is a session, or
// in grant.go, if it is what was allowed by OAuth.
//
// How a post goes out: publish.go is one attempt, and look.go looks and sends nothing. The record is made by
// compose.go: facets.go finds what the text means, picture.go makes images small enough, card.go reads the page that
// a link leads to, and record.go has the types and the keys. All calls are made by xrpc.go, which also says what an
// error means (judge); dpop.go adds the proofs where a token needs one. What becomes of the post is in outcomes.go,
// and what its author is told in failures.go.
package bluesky

import (
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/identity"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Name is the platform's.
const Name platform.Name = "bluesky"

// FieldPDSURL is the field for the address of the account's server (a personal data server). Accounts may be on any
// server of the AT Protocol, and it is found by their handle; but not every handle can be found from everywhere.
const FieldPDSURL = "pdsUrl"

// Where identities and accounts are, unless somebody says otherwise.
const (
	DefaultPLCURL = "https://plc.directory"
	defaultPDS    = "https://bsky.social" // of who gives an e-mail address, which says nothing of a server
)

// Sizes in bytes.
const (
	// maxImage is what is taken of a caller. What is more than a server takes is made smaller, so this bounds no more than
	// the work that this is.
	maxImage = 20_000_000
	// maxVideo is what servers took before 2026. Newer ones take three times as much, but a video goes out as it is: one
	// that is larger could not be made to fit an older server.
	maxVideo = 100_000_000
	// maxThumb is that of a link card's picture (app.bsky.embed.external).
	maxThumb = 1_000_000
)

// Platform is what can be known of Bluesky without asking it. New adds what asks it.
var Platform = platform.Platform{
	Name:  Name,
	Title: "Bluesky",
	// By the lexicons app.bsky.feed.post, app.bsky.embed.images and app.bsky.embed.video. A first comment is a reply,
	// which is a post.
	Limits: platform.Limits{
		TextGraphemes:         300,
		TextBytes:             3000,
		FirstCommentGraphemes: 300,
		FirstCommentBytes:     3000,
		AltTextGraphemes:      2000,
		Images:                4,
		Videos:                1,
		ImageTypes:            []string{"image/jpeg", "image/png", "image/webp", "image/gif"},
		VideoTypes:            []string{"video/mp4"},
		ImageBytes:            maxImage,
		VideoBytes:            maxVideo,
	},
	Options: []platform.Option{platform.OptionReply, platform.OptionQuote, platform.OptionLangs},
	Fields: []platform.Field{
		{
			Name: platform.FieldIdentifier, Label: "Handle", Type: platform.TypeText, Required: true,
			Placeholder: "alice.bsky.social", BeforeBrowser: true,
		},
		{
			Name: platform.SecretAppPassword, Label: "App password", Type: platform.TypePassword, Required: true,
			HelpText: "Made in Bluesky's settings for this server alone. Never the account's own password.",
		},
		{
			Name: FieldPDSURL, Label: "PDS", Type: platform.TypeURL, Placeholder: "https://bsky.social",
			HelpText:      "The address of the account's server. Only if it is not found by the handle.",
			BeforeBrowser: true,
		},
	},
	// An account is opened by an app password and the session that it began, or by OAuth, whose tokens are bound to a key.
	Secrets: []platform.SecretShape{
		{Name: platform.SecretAppPassword},
		{Name: platform.SecretAccessToken},
		{Name: platform.SecretRefreshToken},
		{Name: platform.SecretDPoPKey},
		{Name: FieldPDSURL, Public: true},
		{Name: keptIssuer, Public: true},
		{Name: keptClient, Public: true},
		{Name: keptEnd, Public: true},
	},
}

// Config is what Bluesky is reached by. All is required except where it says otherwise.
type Config struct {
	Guard  *outbound.Guard
	PLCURL string // directory of identities; "": DefaultPLCURL
	Clock  clock.PassiveClock
	Random io.Reader // of what nobody may guess
	Logger *slog.Logger
}

// Times that single requests may take; a post in all has that of its context.
const (
	lookupTime = 10 * time.Second
	pageTime   = 5 * time.Second
	// xrpcTime is for an upload: any other request is cut off by the guard when no answer begins.
	xrpcTime = 2 * time.Minute
)

// service is Bluesky's Connector, Publisher, Asker, Looker, Refresher and Revoker. It may be used by any number of
// goroutines at once: sizes and nonces have locks of their own, and nothing else changes after New.
type service struct {
	guard     *outbound.Guard
	clock     clock.PassiveClock
	random    io.Reader
	logger    *slog.Logger
	directory *identity.BaseDirectory
	xrpc      *http.Client // answers are JSON, and small
	oauth     *http.Client // so are those of authorization servers
	pages     *http.Client // for link cards
	pictures  *http.Client // of link cards
	sizes     sizes
	nonces    nonces
}

// New returns Bluesky with all that asks it.
func New(o Config) platform.Platform {
	if o.PLCURL == "" {
		o.PLCURL = DefaultPLCURL
	}
	// Redirects are followed for identities, pages and pictures alone, which are asked for as by a stranger. A token
	// stays with the server that it was meant for: where a redirect leads, nobody has held against the account's
	// document.
	s := &service{
		guard:     o.Guard,
		clock:     o.Clock,
		random:    o.Random,
		logger:    o.Logger,
		directory: o.newDirectory(),
		xrpc:      o.Guard.Client(outbound.Bounds{Time: xrpcTime, Bytes: 2 << 20}),
		oauth:     o.Guard.Client(outbound.Bounds{Time: lookupTime, Bytes: 256 << 10}),
		pages:     o.Guard.Client(outbound.Bounds{Time: pageTime, Bytes: maxPage, Redirects: 5}),
		pictures:  o.Guard.Client(outbound.Bounds{Time: pageTime, Bytes: maxPicture, Redirects: 5}),
	}
	p := Platform
	p.Connector, p.Publisher, p.Asker, p.Looker, p.Refresher, p.Revoker = s, s, s, s, s, s
	p.Retraceable = true // a record has its key from the post's id
	p.InBrowser, p.ClientMetadata = true, clientMetadata
	return p
}
