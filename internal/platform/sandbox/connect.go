// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// maxIdentifier is the length in bytes of the longest handle: a domain name's (RFC 1035).
const maxIdentifier = 253

// Names of the fields of credentials.
const (
	fieldIdentifier  = "identifier"
	fieldAppPassword = "appPassword"
	fieldPDSURL      = "pdsUrl"
)

// Describe asks for what the real platform asks for. The sandbox of a platform that uses OAuth asks for an identifier
// only: there is nobody to ask for consent.
func (p *Platform) Describe() platform.Descriptor {
	d := platform.Descriptor{
		Kind:     "credentials",
		HelpText: "This is the sandbox of " + p.limits.Title + ": any identifier is accepted, and nothing is sent anywhere. Use no real password.",
		Fields: []platform.Field{
			{Name: fieldIdentifier, Label: "Identifier", Type: "text", Required: true, Placeholder: "alice.test"},
		},
	}
	if p.limits.Platform == platform.Bluesky {
		d.Fields = append(
			d.Fields,
			platform.Field{
				Name:     fieldAppPassword,
				Label:    "App password",
				Type:     "password",
				Required: true,
				HelpText: "Anything: it is thrown away.",
			},
			platform.Field{
				Name:        fieldPDSURL,
				Label:       "PDS",
				Type:        "url",
				Placeholder: "https://bsky.social",
				HelpText:    "It is not asked.",
			},
		)
	}
	return d
}

// Connect accepts any credentials that are complete. The same identifier is the same account, always. A password is not
// looked at beyond its being there.
func (p *Platform) Connect(_ context.Context, credentials map[string]string) (platform.Connection, error) {
	for _, f := range p.Describe().Fields {
		if f.Required && strings.TrimSpace(credentials[f.Name]) == "" {
			return platform.Connection{}, invalid(f.Name, "The "+f.Name+" is missing.")
		}
	}
	identifier := strings.TrimSpace(credentials[fieldIdentifier])
	switch {
	case len(identifier) > maxIdentifier:
		return platform.Connection{}, invalid(fieldIdentifier, "The identifier is longer than 253 bytes.")
	case !utf8.ValidString(identifier) || strings.ContainsFunc(identifier, isHidden):
		return platform.Connection{}, invalid(fieldIdentifier, "The identifier contains characters that can't be shown.")
	}
	sum := sha256.Sum256([]byte(string(p.limits.Platform) + "\x00" + identifier))
	return platform.Connection{
		PlatformAccountID: "did:sandbox:" + hex.EncodeToString(sum[:16]),
		DisplayName:       identifier,
	}, nil
}

// isHidden tells of control characters, and of those that make a name look like another.
func isHidden(r rune) bool { return !unicode.IsGraphic(r) }

func invalid(field, message string) *platform.Failure {
	return &platform.Failure{Code: platform.CodeInvalid, Message: message, Rule: field}
}
