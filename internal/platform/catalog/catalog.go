// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package catalog lists the platforms, and nothing else: it is the one place that a platform's folder has to be entered
// in.
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
