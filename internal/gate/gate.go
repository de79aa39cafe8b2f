// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gate answers what proxies ask before they let a request through to somebody's own service: may whoever holds
// this key pass, and who is it?
//
// The answer depends on the key, and on what the route demands, and on nothing else that came with the request: proxies
// forward addresses and paths that clients have made up. What the route demands stands in the question, which is the
// proxy's configuration. Package admission decides, as it does for the API: fence, key, environment, scope and rate.
//
// A question comes over HTTP (forward.go) or over gRPC (envoy.go). Both read the route's Demand and the client's
// Authorization header and ask one Gate, so that a key gets the same answer whatever proxy stands before the service.
// The headers and the words of an answer are in answer.go; observe.go counts it, and tells the audit log of a key
// that was refused. Two more are asked without a proxy: introspect.go, by services that hold a key, and leaked.go, by
// whoever reports one.
package gate

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// Demand is what a route asks of a key. It is written in a proxy's configuration, by whoever looks after the service;
// nothing that a client sends gets into it.
type Demand struct {
	Environment  key.Environment
	Scopes       []v1alpha1.Scope // all of them; none: any key will do
	Organization string           // a namespace; "": any
	// Profile is the name of the Profile that the key must be pinned to; "": any, or none.
	Profile string
	// Plain asks for refusals of 401 and 403 alone, for proxies that carry no others.
	Plain bool
}

// Errors of a question that makes no sense. They are mistakes in a proxy's configuration, so nobody passes.
var (
	errParameter    = errors.New("the question has a parameter that there is not, or one several times")
	errQuestion     = errors.New("the question's query is malformed")
	errScope        = errors.New("the question asks for a scope that there is not")
	errEnvironment  = errors.New("the question's environment is neither live nor test, or not served here")
	errRefuse       = errors.New("the question's refuse is not 403")
	errOrganization = errors.New("the question's organization or profile is empty")
)

// maxScopes bounds a question: each scope of it is looked for in each key that comes.
const maxScopes = 8

// extensionNames are the entries of context_extensions, by what they are in a query. There is no refuse: Envoy carries
// every status.
var extensionNames = map[string]string{
	"environment": "environment", "scopes": "scope", "organization": "organization", "profile": "profile",
}

// DemandOf reads what a route asks for out of context_extensions: environment (live without it), scopes (with spaces or
// commas between them), organization and profile.
func DemandOf(extensions map[string]string) (Demand, error) {
	d := Demand{Environment: key.Live}
	// One more than there are names has to be wrong, and need not be looked for among all that fit into a message.
	if len(extensions) > len(extensionNames) {
		return d, errParameter
	}
	for name, value := range extensions {
		parameter, ok := extensionNames[name]
		if !ok || len(value) > maxQuestion {
			return d, errParameter
		}
		if err := d.take(parameter, []string{value}); err != nil {
			return d, err
		}
	}
	return d, nil
}

// ParseDemand reads what a route asks for out of a query: environment (live without it), scope (may be repeated, or
// hold several with spaces or commas between them), organization, profile and refuse=403.
func ParseDemand(query string) (Demand, error) {
	d := Demand{Environment: key.Live}
	values, err := url.ParseQuery(query)
	if err != nil {
		// Not net/url's error, which quotes what it can't read: the text goes out with the answer, and proxies pass it on
		// to clients.
		return d, errQuestion
	}
	for name, list := range values {
		// Of two values, one would count and the other not, and who reads the configuration could not tell which.
		if name != "scope" && len(list) > 1 {
			return d, errParameter
		}
		if err := d.take(name, list); err != nil {
			return d, err
		}
	}
	return d, nil
}

// take takes in one parameter.
func (d *Demand) take(name string, values []string) error {
	switch value := values[0]; name {
	case "environment":
		if d.Environment = key.Environment(value); d.Environment != key.Live && d.Environment != key.Test {
			return errEnvironment
		}
	case "scope":
		return d.takeScopes(values)
	case "organization", "profile":
		if value == "" {
			return errOrganization
		}
		if name == "profile" {
			d.Profile = value
		} else {
			d.Organization = value
		}
	// There is one value. To pass over a misspelt one would leave nginx to make a 500 of each 429.
	case "refuse":
		if d.Plain = value == "403"; !d.Plain {
			return errRefuse
		}
	default:
		return errParameter
	}
	return nil
}

// takeScopes refuses what is no scope: a key could never have it, and whoever misspells one must not open a route. Of
// scopes of somebody's own, any may be meant.
func (d *Demand) takeScopes(values []string) error {
	for _, value := range values {
		for _, name := range strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == ',' }) {
			scope := v1alpha1.Scope(name)
			if !scope.BuiltIn() && !scope.Own() || len(d.Scopes) == maxScopes {
				return errScope
			}
			d.Scopes = append(d.Scopes, scope)
		}
	}
	// A scope that was left empty is a template that has lost a value, and would let any key pass.
	if len(d.Scopes) == 0 {
		return errScope
	}
	return nil
}

// Options are what a Gate is made of. All are required.
type Options struct {
	// Admissions by environment. A question for an environment that is missing is refused.
	Admissions map[key.Environment]*admission.Admission
	Clock      clock.PassiveClock
	// Audit is told of each refusal of a key, at most 100 a second of each kind.
	Audit      *slog.Logger
	Registerer prometheus.Registerer
}

// Gate answers questions, whatever carries them.
type Gate struct {
	o       Options
	answers *answers
}

// New returns a Gate. The error says what is missing.
func New(o Options) (*Gate, error) {
	if len(o.Admissions) == 0 || o.Clock == nil || o.Audit == nil || o.Registerer == nil {
		return nil, errors.New("gate: Admissions, Clock, Audit and Registerer are required")
	}
	noted, err := newAnswers(o)
	if err != nil {
		return nil, err
	}
	return &Gate{o: o, answers: noted}, nil
}

// question is a Demand, and who can answer it.
type question struct {
	Demand
	Admission *admission.Admission // of the Demand's environment
	err       error                // the question makes no sense; nothing else is set
}

// questionOf finds who can answer a Demand. To be asked for an environment that is not served here is a mistake in a
// configuration too, and no refusal of a key: the key is not looked at.
func (g *Gate) questionOf(d Demand, err error) question {
	by := g.o.Admissions[d.Environment]
	switch {
	case err != nil:
		return question{err: err}
	case by == nil:
		return question{err: errEnvironment}
	}
	return question{Demand: d, Admission: by}
}

// ask lets a key in, and out again at once: what the request does at the service, this process does not see. The Caller
// is the zero one if nobody was recognised; nil for a reply: the request may pass.
func (g *Gate) ask(ctx context.Context, q *question, authorization []string) (*caller.Caller, *reply) {
	var admitted admission.Admitted
	// Keys alone: a session is for the dashboard and the API, and says nothing to anybody else's service.
	need := admission.Need{Access: admission.KeyOnly}
	if len(q.Scopes) > 0 {
		need.Scope, need.Also = q.Scopes[0], q.Scopes[1:]
	}
	// Failed attempts are counted for nobody: they all come from the proxy, and the addresses that it forwards prove
	// nothing.
	now := g.o.Clock.Now()
	err := q.Admission.Admit(ctx, now, admission.Credentials{Authorization: authorization}, need, &admitted)
	// At the end, so that a key that was revoked while it was looked at does not pass: the barrier may have gone on.
	if cut := admitted.End(); err == nil {
		err = cut
	}
	who := admitted.Caller()
	switch refusal := q.Admission.Of(err); {
	case refusal != nil:
		g.answers.audit(q, refusal, who, authorization, now)
		p := replyOf(refusal)
		return who, &p
	case err != nil: // nothing that is known: nobody passes
		return who, &unavailable
	// Last, so that only who holds a good key learns that the route is for somebody else. It has counted for the key's
	// rate by then. It is no refusal of admission's, and so has no line in the audit log.
	case q.Organization != "" && q.Organization != who.Organization.Name,
		q.Profile != "" && (who.Profile == nil || q.Profile != who.Profile.Name):
		return who, &foreign
	}
	return who, nil
}
