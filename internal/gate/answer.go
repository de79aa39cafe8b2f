// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// identityPrefix is what the headers begin with that tell a service who it is. Nothing else sends such headers, and
// what a client sends of them is refused.
const identityPrefix = "X-Letmepost-"

// The headers of an answer. All of them are in every answer, empty where there is nothing: a proxy that copies them
// then overwrites what a client may have sent. Names are in net/http's canonical form, because Forward writes them
// into the map of headers itself.
const (
	headerOrganization   = identityPrefix + "Organization"
	headerOrganizationID = identityPrefix + "Organization-Id"
	headerProfile        = identityPrefix + "Profile"
	headerProfileID      = identityPrefix + "Profile-Id"
	headerEnvironment    = identityPrefix + "Environment"
	headerScopes         = identityPrefix + "Scopes"
	headerClaims         = identityPrefix + "Claims" // a dictionary of strings (RFC 9651)
	headerKey            = identityPrefix + "Key"
	headerKeyID          = identityPrefix + "Key-Id"
	// headerRefused says why, in a word of the API's, for routes that ask for 403 alone.
	headerRefused = identityPrefix + "Refused"
)

// identityNames are those that say who it is.
var identityNames = [...]string{
	headerOrganization, headerOrganizationID, headerProfile, headerProfileID, headerEnvironment, headerScopes,
	headerClaims, headerKey, headerKeyID,
}

// IdentityHeaders lists all of them, for documentation and for whoever tests that none is forgotten.
var IdentityHeaders = append(identityNames[:], headerRefused)

// identity is what they say of somebody, in the order of IdentityHeaders but for the last one. An array, so that
// Envoy can find an answer by it, and Forward has one piece of memory for all values.
func identity(who *caller.Caller) [len(identityNames)]string {
	profile := caller.Profile{}
	if who.Profile != nil {
		profile = *who.Profile
	}
	return [...]string{
		who.Organization.Name, who.Organization.ID, profile.Name, profile.ID, string(who.Environment), who.Scopes.String(),
		who.Claims.String(), who.Actor.Name, who.Actor.ID,
	}
}

// isIdentity tells whether a header is one that only an answer of this process may have, or its twin with underscores,
// which CGI and its heirs take for the same.
func isIdentity(name string) bool {
	if len(name) < len(identityPrefix) {
		return false
	}
	for i := range len(identityPrefix) {
		c := name[i]
		if c == '_' {
			c = '-'
		}
		if lower(c) != lower(identityPrefix[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// reply is how a question is answered that is refused. By its code clients can tell one refusal from another,
// whatever becomes of the status. Each code has to be among answerCodes.
type reply struct {
	status        int
	code, message string
	challenge     string        // of RFC 6750; "": none
	retryAfter    time.Duration // 0: it is not known
}

// allowed is the code of an answer that lets a request through, in the metric.
const allowed = "allowed"

// The replies that depend on nothing else. Their codes are the API's, but for that of bringing, which the API has no
// use for.
var (
	bringing = reply{
		status: http.StatusForbidden, code: "identity_headers",
		message: "A request must not bring headers of the gate's own.",
	}
	foreign = reply{ // a 403 would tell that there is something
		status: http.StatusNotFound, code: problem.CodeNotFound, message: "There is nothing here for this key.",
	}
	unauthenticated = reply{status: http.StatusUnauthorized, code: problem.CodeUnauthenticated}
	unauthorized    = reply{status: http.StatusForbidden, code: problem.CodeUnauthorized}
	unavailable     = reply{
		status: http.StatusServiceUnavailable, code: problem.CodeUnavailable,
		message: "This server can't say at the moment who may pass.",
	}
	senseless = reply{status: http.StatusBadRequest, code: problem.CodeValidationFailed}
)

// answerCodes are those of all answers, for the metric. One that is missing is not counted.
var answerCodes = []string{
	allowed, bringing.code, foreign.code, unauthenticated.code, unauthorized.code, problem.CodeRateLimited,
	unavailable.code, senseless.code,
}

// replyOf is what the API would say.
func replyOf(r *admission.Refusal) reply {
	p := r.Problem()
	if p.Kind == problem.Unavailable {
		return unavailable
	}
	return reply{
		status: statuses[p.Kind], code: p.Code, message: p.Message, challenge: p.Challenge, retryAfter: p.RetryAfter,
	}
}

// statuses of the kinds of problems that a proxy, or whoever reports a key, is told of. They are the API's. A kind
// that is missing would have the status 0, at which net/http panics. So if admission or package leak gets a new kind
// of problem, it belongs in here.
var statuses = map[problem.Kind]int{
	problem.Invalid: http.StatusBadRequest, problem.Unauthenticated: http.StatusUnauthorized,
	problem.Forbidden: http.StatusForbidden, problem.NoMethod: http.StatusMethodNotAllowed,
	problem.TooLarge: http.StatusRequestEntityTooLarge, problem.Unsupported: http.StatusUnsupportedMediaType,
	problem.RateLimited: http.StatusTooManyRequests, problem.Unavailable: http.StatusServiceUnavailable,
}

// replyToQuestion is for a proxy whose configuration makes no sense: nobody passes.
func replyToQuestion(err error) reply {
	p := senseless
	p.message = "The question can't be answered: " + err.Error() + "."
	return p
}

// plain makes it one of 401 and 403, for proxies that carry no others. nginx makes a 500 of whatever else its
// auth_request gets. The code stays what it is, and goes out as X-Letmepost-Refused, by which an error_page can give
// the client the status that was meant.
func (p reply) plain() reply {
	if p.status != http.StatusUnauthorized {
		p.status = http.StatusForbidden
	}
	return p
}

// body has the shape of the API's errors, with as much of it as makes sense to whoever knows nothing of this API.
func (p reply) body() string {
	return `{"error":{"code":` + quoted(p.code) + `,"message":` + quoted(p.message) + "}}\n"
}

// quoted is a string of JSON. A message may repeat what somebody has sent, such as the name of an organization.
func quoted(text string) string {
	b, _ := jsontext.AppendQuote(nil, text) // the error is of what is no UTF-8, which becomes U+FFFD
	return string(b)
}

// headers calls set for each header of the reply, beside those of identity. Names are in net/http's canonical form,
// as those of identity are.
func (p reply) headers(set func(name, value string)) {
	set("Content-Type", "application/json")
	set("Cache-Control", "no-store")
	set(headerRefused, p.code)
	if p.challenge != "" {
		set("Www-Authenticate", p.challenge)
	}
	if p.retryAfter > 0 { // rounded up: who waits as long as it says has waited long enough
		set("Retry-After", strconv.FormatInt(int64((p.retryAfter+time.Second-1)/time.Second), 10))
	}
}

// Busy is the body of the answer to whoever there is no room for.
var Busy = []byte(reply{code: unavailable.code, message: "This server has as many requests as it has room for."}.body())
