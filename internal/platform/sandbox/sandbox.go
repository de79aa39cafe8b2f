// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sandbox plays the part of every platform in the test environment: accounts are connected with any credentials,
// posts are checked like real ones, and nothing reaches a platform.
package sandbox
