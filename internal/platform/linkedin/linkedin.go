// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package linkedin is LinkedIn. So far it is what can be known without asking it: this server connects no accounts of
// it and publishes nothing to it.
package linkedin

import "github.com/letmepost/letmepost-operator/internal/platform"

// Name is the platform's.
const Name platform.Name = "linkedin"

// Platform is LinkedIn.
var Platform = platform.Platform{
	Name:  Name,
	Title: "LinkedIn",
	// By the Posts, MultiImage, Videos and Comments APIs.
	Limits: platform.Limits{
		TextGraphemes:         3000,
		FirstCommentGraphemes: 1250,
		AltTextGraphemes:      4000,
		Images:                20,
		Videos:                1,
		ImageTypes:            []string{"image/jpeg", "image/png", "image/gif"},
		VideoTypes:            []string{"video/mp4"},
		ImageBytes:            5_000_000,
		VideoBytes:            500_000_000,
	},
	// OAuth in a browser is the only way in, so there is nothing to fill in. Most apps get no refresh token.
	Secrets: []platform.SecretShape{{Name: platform.SecretAccessToken}, {Name: platform.SecretRefreshToken}},
}
