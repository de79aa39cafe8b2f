// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// openAPI answers with the OpenAPI document. It is made once, when the process starts: a table of routes that can't be
// described must not be found out by a caller.
func (a *API) openAPI(*endpoint.Request) (json.RawMessage, error) { return a.document, nil }

// health is the body of a probe that succeeds. Kubelets look at the status alone; the body is for people.
type health struct {
	Status string `json:"status" enum:"ok"`
}

// healthz is true of every process that can answer at all: being cut off from the apiserver is no reason to restart it.
// A restart would take away the index by which it can go on serving once it is back, and what its requests are doing.
func (a *API) healthz(*endpoint.Request) (health, error) { return health{"ok"}, nil }

// readyz tells load balancers whether to send requests here. Draining is asked first: a process that is about to stop
// is not to be waited for, whatever else it lacks.
func (a *API) readyz(*endpoint.Request) (health, error) {
	switch {
	case a.config.Draining():
		return health{}, endpoint.ErrDraining
	case !a.config.Ready():
		return health{}, endpoint.ErrUnavailable
	default:
		return health{"ok"}, nil
	}
}
