// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// openAPI answers with the OpenAPI document. It is made once, when the process starts: a table of routes that can't be
// described must not be found out by a caller. The bytes are shared by all answers, and written to by none.
func (a *API) openAPI(*endpoint.Request) (json.RawMessage, error) { return a.document, nil }

// health is the body of a probe that succeeds. Kubelets look at the status alone; the body is for people. A probe that
// fails has an error body, as every answer of this API does.
type health struct {
	Status string `json:"status" enum:"ok"`
}

// healthz is true of every process that can answer at all: being cut off from the apiserver is no reason to restart it.
// A restart would take away the index by which it can go on serving once it is back, and what its requests are doing. A
// process that hangs is found out by not answering.
func (a *API) healthz(*endpoint.Request) (health, error) { return health{"ok"}, nil }

// errNotReady is for whoever asks whether to send requests here.
var errNotReady = &problem.Problem{
	Kind: problem.Unavailable, Code: problem.CodeUnavailable,
	Message: "This server is not ready: it has just started, is cut off from its cluster, " +
		"or has no database that takes writes.",
	Remediation: "Send requests to another replica. This one's log says what it lacks.",
	RetryAfter:  5 * time.Second,
}

// readyz tells load balancers whether to send requests here. Draining is asked first: a process that is about to stop
// is not to be waited for, whatever else it lacks. A replica that is not ready goes on answering what reaches it:
// whether a request can be let in is decided for each.
func (a *API) readyz(*endpoint.Request) (health, error) {
	switch {
	case a.config.Draining():
		return health{}, endpoint.ErrDraining
	case !a.config.Ready():
		return health{}, errNotReady
	default:
		return health{"ok"}, nil
	}
}
