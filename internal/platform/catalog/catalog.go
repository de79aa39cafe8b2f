// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package catalog lists the platforms, and nothing else. Whatever names platforms is made of the list; a platform that
// is published to, and not just known, is also made with its flags in cmd/api/platforms.go.
package catalog

import (
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
)

// All is every platform that this server has heard of, also those that it can't do anything with yet. Enums, filters
// and sentences of the HTTP contract are made of it, so its order is theirs. Nobody changes it.
var All = platform.List{
	bluesky.Platform,
	linkedin.Platform,
}
