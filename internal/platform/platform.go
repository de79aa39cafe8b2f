// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package platform is the vocabulary of publishing: what a platform is, what goes to it, what comes back, and how that
// fails. Each platform is a folder below this one that fills in one Platform; catalog lists them all.
package platform

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

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
	// InBrowser tells that accounts can be connected in a browser as well as by Fields: by Connector.Begin with ByOAuth.
	InBrowser bool
	// Secrets are what may be stored to open an account, so that whoever stores it knows what to seal.
	Secrets []SecretShape

	// What this server does with the platform. Each of them is nil where it can't do that, or not yet: callers are
	// answered CodeNotEnabled then.
	Connector Connector
	Publisher Publisher
	Asker     Asker // nil, too, where nothing tells what became of a post
	// Retraceable tells that the Asker finds whatever was published and gives the same receipt, by what is stored of a
	// post before it is sent: no answer of the platform has to be kept for that. So what became of a post may be on disk a
	// moment after its author was told, and is lost if the power fails in that moment.
	Retraceable bool
	Looker      Looker    // nil, too, where that can't be found out without sending anything
	Refresher   Refresher // nil, too, where nothing expires
	Revoker     Revoker   // nil, too, where nothing can be given back
	// ClientMetadata is the document by which this server shows itself to platforms that fetch one in place of registering
	// clients. It is served beside the callback, as ClientMetadataName: its own address is what it is known by. The error
	// is a *Failure: at that address this server can't be known. Nil: the platform fetches none.
	ClientMetadata func(callback *url.URL) (json.RawMessage, error)
	// Waits says which posts wait for whoever runs this server to set something else. Nil: none do.
	Waits *Wait
	// Notices say what everybody with an account of the platform should know now, whichever account it is: that this
	// server is about to lose it, above all. Nil: there never is anything.
	Notices func() []Warning
}

// Wait is a rule of failures that only another setting of this server mends, so that posts are tried again seldom under
// it. Setting is how such failures name the one that this process has, in their message: a process with another one
// lets these posts go at once.
type Wait struct{ Rule, Setting string }

// ClientMetadataName is the last part of the address of a ClientMetadata, where the callback has "callback". Platforms
// know this server by that address, so it never changes.
const ClientMetadataName = "client-metadata.json"

// Option is a part of Options that only some platforms understand.
type Option string

// The options. Each is one or more members of Options.
const (
	// OptionReply is an answer to a post, by URI and CID: the four members that begin with "reply".
	OptionReply Option = "reply"
	// OptionQuote is a post that is shown within this one, by URI and CID: the two members that begin with "quote".
	OptionQuote Option = "quote"
	// OptionLangs is what languages the text is in.
	OptionLangs Option = "langs"
)

// Has tells whether the platform understands an option.
func (p *Platform) Has(o Option) bool { return slices.Contains(p.Options, o) }

// Limits are what a platform is known to refuse: facts that can be checked without asking it.
type Limits struct {
	TextGraphemes         int
	TextBytes             int // of UTF-8; 0: bounded by the graphemes alone
	FirstCommentGraphemes int
	FirstCommentBytes     int // of UTF-8; 0: bounded by the graphemes alone
	AltTextGraphemes      int

	Images, Videos         int // at most, and never both
	ImageTypes, VideoTypes []string
	ImageBytes, VideoBytes int64
}

// ofKind returns what is allowed of a kind of media: how many, of which types and of which size. Of a kind that is none
// nothing is allowed.
func (l *Limits) ofKind(kind string) (count int, types []string, size int64) {
	switch kind {
	case Image:
		return l.Images, l.ImageTypes, l.ImageBytes
	case Video:
		return l.Videos, l.VideoTypes, l.VideoBytes
	}
	return 0, nil, 0
}

// List is platforms, in the order in which documentation lists them. Whatever names the platforms to a caller (enums,
// filters, sentences) is made of a List, so that none of them can miss one.
type List []Platform

// Get returns the platform of a name, and whether there is one.
func (l List) Get(name Name) (Platform, bool) {
	for i := range l {
		if l[i].Name == name {
			return l[i], true
		}
	}
	return Platform{}, false
}

// Notices are those of a platform now; none of one that is not in the list.
func (l List) Notices(of Name) []Warning {
	p, _ := l.Get(of)
	if p.Notices == nil {
		return nil
	}
	return p.Notices()
}

// Names returns the names as text, for the values of an enum or of a filter. The caller may change what it gets.
func (l List) Names() []string {
	names := make([]string, len(l))
	for i := range l {
		names[i] = string(l[i].Name)
	}
	return names
}

// Sentence tells a person which platforms there are: "The platforms are bluesky and linkedin."
func (l List) Sentence() string {
	switch names := l.Names(); len(names) {
	case 0:
		return "There are no platforms."
	case 1:
		return "The only platform is " + names[0] + "."
	default:
		last := len(names) - 1
		return "The platforms are " + strings.Join(names[:last], ", ") + " and " + names[last] + "."
	}
}
