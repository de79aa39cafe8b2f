// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
)

// clientMetadata answers a platform with the document by which it knows this server. It does so whether accounts can be
// connected at the moment or not: a platform fetches it each time that one is refreshed, too.
func (a *API) clientMetadata(r *endpoint.Request) (json.RawMessage, error) {
	document, err := a.connecting.Metadata(platform.Name(r.Param()))
	if err != nil {
		return nil, err
	}
	return append(document, '\n'), nil // as every answer ends
}
