// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

// health is the body of a probe that succeeds.
type health struct {
	Status string `json:"status" enum:"ok"`
}

// healthz is true of every process that can answer at all: being cut off from the apiserver is no reason to restart it.
func (a *API) healthz(*request) (health, error) { return health{"ok"}, nil }

// readyz tells load balancers whether to send requests here.
func (a *API) readyz(*request) (health, error) {
	switch {
	case a.config.Draining():
		return health{}, errDraining
	case !a.config.Ready():
		return health{}, errUnavailable
	default:
		return health{"ok"}, nil
	}
}
