// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"net/url"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// errNoMetadata is for platforms that whoever runs this server has to register it with.
var errNoMetadata = &problem.Problem{
	Kind: problem.NotFound, Code: problem.CodeNotFound, Rule: "platform",
	Message:     "This platform fetches no metadata of its clients here.",
	Remediation: "Nothing: whoever runs the server registers it with the platform, or its accounts are played.",
}

// clientMetadata answers a platform with the document by which it knows this server. It does so whether accounts can be
// connected at the moment or not: a platform fetches it each time that one is refreshed, too.
func (a *API) clientMetadata(r *endpoint.Request) (json.RawMessage, error) {
	name := platform.Name(r.Param())
	if _, ok := catalog.All.Get(name); !ok {
		return nil, posting.NoPlatform("platform")
	}
	p, _ := a.config.Platforms.Get(name)
	switch {
	case p.ClientMetadata == nil:
		return nil, errNoMetadata
	case a.public == nil:
		return nil, errNoAddress
	}
	document, err := p.ClientMetadata(a.callbackURL(name))
	if err != nil {
		return nil, connectFailed(name, err)
	}
	return append(document, '\n'), nil // as every answer ends
}

// isKnownTo tells whether browsers find back here from a platform: one that fetches metadata takes not every address.
func (a *API) isKnownTo(p platform.Platform) bool {
	if a.public == nil || p.ClientMetadata == nil {
		return a.public != nil
	}
	_, err := p.ClientMetadata(a.callbackURL(p.Name))
	return err == nil
}

// callbackURL is where a platform sends browsers back to. The public URL must be known.
func (a *API) callbackURL(of platform.Name) *url.URL {
	return a.public.JoinPath("v1", "accounts", "oauth", string(of), "callback")
}
