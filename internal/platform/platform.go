// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package platform is the vocabulary of publishing: what a platform is, what goes to it, what comes back, and how that
// fails. Each platform is a folder below this one that fills in one Platform; catalog lists them all.
package platform

import "slices"

// Name is a platform as callers name it, such as "bluesky": lower-case letters and digits, because it stands in paths,
// in the ids of rules and in the labels of metrics. It is stored with every post and account, so it never changes.
type Name string

// Platform is everything that this server knows of a platform, and can do with it. It is a value: whoever plays a
// platform, or adds to what it can do, changes a copy.
type Platform struct {
	Name   Name
	Title  string // as people write it
	Limits Limits
	// Options are the parts of a post's Options that the platform understands; its rules refuse the others.
	Options []Option
	// Fields are what a person fills in to connect an account by credentials, and all that Connector.Complete takes of
	// them. Empty: the platform is connected in a browser only.
	Fields []Field
	// Secrets are what may be stored to open an account, so that whoever stores it knows what to seal.
	Secrets []SecretShape

	// What this server does with the platform. Each of them is nil where it can't do that, or not yet: callers are
	// answered CodeNotEnabled then.
	Connector Connector
	Publisher Publisher
	Refresher Refresher // nil, too, where nothing expires
}

// Option is a part of Options that only some platforms understand.
type Option string

// OptionReply is an answer to a post, by URI and CID: the four members of Options that begin with "reply".
const OptionReply Option = "reply"

// Has tells whether the platform understands an option.
func (p *Platform) Has(o Option) bool { return slices.Contains(p.Options, o) }
