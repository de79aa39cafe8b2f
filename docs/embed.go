// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs is this folder, for the process that serves it: see internal/docs.
package docs

import "embed"

// Files are all of them.
//
//go:embed *
var Files embed.FS
