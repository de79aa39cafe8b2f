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

// identifier is what every platform's sandbox asks for, also that of a platform which is connected by OAuth: there is
// nobody to ask for consent. It replaces a platform's own field of that name, whose placeholder would suggest a real
// account.
var identifier = platform.Field{
	Name: platform.FieldIdentifier, Label: "Identifier", Type: platform.TypeText, Required: true,
	Placeholder: "alice.test",
}

// fieldsOf returns what the sandbox asks for: an identifier, and what else the platform asks for, so that a client
// which works with the sandbox works with the platform. The help says what the sandbox does with it, not what the
// platform would. A platform's own identifier is left out, as the sandbox's takes its place, and so comes first on
// every form.
func fieldsOf(asked []platform.Field) []platform.Field {
	fields := []platform.Field{identifier}
	for _, f := range asked {
		switch {
		case f.Name == platform.FieldIdentifier:
			continue
		case f.Type == platform.TypePassword:
			f.HelpText = "Anything: it is thrown away."
		case f.Type == platform.TypeURL:
			f.HelpText = "It is not asked."
		default:
			f.HelpText = "Anything: it is not looked at."
		}
		fields = append(fields, f)
	}
	return fields
}

// Begin asks for credentials. Nobody leaves for a browser, so there is nowhere to return to and nothing to resume. The
// state is stable whatever the real platform's is: the sandbox itself has no trial.
func (s *player) Begin(context.Context, platform.ConnectionRequest) (platform.Begun, error) {
	return platform.Begun{
		State: platform.ConnectionStable,
		Descriptor: platform.Descriptor{
			Kind: platform.ByCredentials,
			HelpText: "This is the sandbox of " + s.platform.Title + ": any identifier is accepted, " +
				"and nothing is sent anywhere. Use no real password.",
			Fields: s.platform.Fields,
		},
	}, nil
}

// Complete accepts any credentials that are complete. The same identifier is the same account, always. A password is
// not looked at beyond its being there, and not kept: people paste real ones, whatever the help says. That makes
// connecting again the renewal that it is on a platform, and lets tests know the id beforehand.
func (s *player) Complete(_ context.Context, in platform.ConnectionAnswer) (platform.Connection, error) {
	for _, f := range s.platform.Fields {
		if f.Required && strings.TrimSpace(in.Credentials[f.Name]) == "" {
			return platform.Connection{}, invalid(f.Name, "The "+f.Name+" is missing.")
		}
	}
	// Blanks around it come with what is pasted, and would make another account of the same handle.
	handle := strings.TrimSpace(in.Credentials[platform.FieldIdentifier])
	switch {
	case len(handle) > maxIdentifier:
		return platform.Connection{}, invalid(platform.FieldIdentifier, "The identifier is longer than 253 bytes.")
	case !utf8.ValidString(handle) || strings.ContainsFunc(handle, isHidden):
		return platform.Connection{}, invalid(
			platform.FieldIdentifier, "The identifier contains characters that can't be shown.")
	}
	// The NUL keeps name and handle apart; neither can hold one.
	sum := sha256.Sum256([]byte(string(s.platform.Name) + "\x00" + handle))
	return platform.Connection{
		PlatformAccountID: "did:sandbox:" + hex.EncodeToString(sum[:16]),
		DisplayName:       handle,
	}, nil
}

// isHidden tells of control characters, and of those that make a name look like another. Those that turn the direction
// of text are among them: a display name is shown beside other people's.
func isHidden(r rune) bool { return !unicode.IsGraphic(r) }

// invalid names the field as the rule, as the HTTP contract does for what is wrong in a body.
func invalid(field, message string) *platform.Failure {
	return &platform.Failure{Code: platform.CodeInvalid, Message: message, Rule: field}
}
