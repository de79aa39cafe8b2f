// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"

	"github.com/letmepost/letmepost-operator/internal/connecting"
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
		return nil, connecting.ErrNoAddress
	}
	document, err := p.ClientMetadata(a.connecting.CallbackURL(name))
	if err != nil {
		return nil, connecting.Failed(name, err)
	}
	return append(document, '\n'), nil // as every answer ends
}
