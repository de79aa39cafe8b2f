// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bluesky is Bluesky, a network on the AT Protocol. So far it is what can be known without asking it: this
// server connects no accounts of it and publishes nothing to it.
package bluesky

import "github.com/letmepost/letmepost-operator/internal/platform"

// Name is the platform's.
const Name platform.Name = "bluesky"

// FieldPDSURL is the field for the address of the account's server (a personal data server). Accounts may be on any
// server of the AT Protocol, and only their owners know which.
const FieldPDSURL = "pdsUrl"

// Platform is Bluesky. It has neither a Connector nor a Publisher yet, so only the sandbox plays it.
var Platform = platform.Platform{
	Name:  Name,
	Title: "Bluesky",
	// By the lexicons app.bsky.feed.post, app.bsky.embed.images and app.bsky.embed.video. A first comment is a reply,
	// which is a post. Servers of 2026-04-08 and later take images of 2,000,000 bytes; all of them take half of that.
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
		ImageBytes:            1_000_000,
		VideoBytes:            100_000_000,
	},
	Options: []platform.Option{platform.OptionReply},
	Fields: []platform.Field{
		{
			Name: platform.FieldIdentifier, Label: "Handle", Type: platform.TypeText, Required: true,
			Placeholder: "alice.bsky.social",
		},
		{
			Name: platform.SecretAppPassword, Label: "App password", Type: platform.TypePassword, Required: true,
			HelpText: "Made in Bluesky's settings for this server alone. Never the account's own password.",
		},
		{
			Name: FieldPDSURL, Label: "PDS", Type: platform.TypeURL, Placeholder: "https://bsky.social",
			HelpText: "Only if the account is not on bsky.social.",
		},
	},
	// An account is opened by an app password and the session that it began, or by OAuth, whose tokens are bound to a key.
	Secrets: []platform.SecretShape{
		{Name: platform.SecretAppPassword},
		{Name: platform.SecretAccessToken},
		{Name: platform.SecretRefreshToken},
		{Name: platform.SecretDPoPKey},
		{Name: FieldPDSURL, Public: true},
	},
}
