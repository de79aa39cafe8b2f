// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// identityPrefix is what the headers begin with that tell a service who it is. Nothing else sends such headers, and
// what a client sends of them is refused.
const identityPrefix = "X-Letmepost-"

// The headers of an answer. All of them are in every answer, empty where there is nothing: a proxy that copies them
// then overwrites what a client may have sent.
const (
	headerOrganization   = identityPrefix + "Organization"
	headerOrganizationID = identityPrefix + "Organization-Id"
	headerProfile        = identityPrefix + "Profile"
	headerProfileID      = identityPrefix + "Profile-Id"
	headerEnvironment    = identityPrefix + "Environment"
	headerScopes         = identityPrefix + "Scopes"
	headerKey            = identityPrefix + "Key"
	headerKeyID          = identityPrefix + "Key-Id"
	// headerRefused says why, in a word of the API's, for routes that ask for 403 alone.
	headerRefused = identityPrefix + "Refused"
)

// IdentityHeaders lists them, for documentation and for whoever tests that none is forgotten.
var IdentityHeaders = []string{
	headerOrganization, headerOrganizationID, headerProfile, headerProfileID, headerEnvironment, headerScopes, headerKey,
	headerKeyID, headerRefused,
}

// Options are what a Forward is made of. All are required except where they say otherwise.
type Options struct {
	// Admissions by environment. A question for an environment that is missing is refused.
	Admissions map[key.Environment]*admission.Admission
	Clock      clock.PassiveClock
}

// Forward answers the questions of proxies that ask over HTTP: nginx's auth_request, Caddy's forward_auth, Traefik's
// ForwardAuth, HAProxy, and the HTTP filter of the Gateway API. It takes any method, and reads no body.
type Forward struct {
	o       Options
	demands *lru.Cache[string, question]
}

// maxDemands is how many questions are remembered. There is one for each route of a proxy; whoever asks others makes
// work for nobody but this process.
const maxDemands = 1024

// maxQuestion is how long a query may be, in bytes.
const maxQuestion = 2048

// NewForward returns a Forward. The error says what is missing.
func NewForward(o Options) (*Forward, error) {
	if len(o.Admissions) == 0 || o.Clock == nil {
		return nil, errors.New("gate: Admissions and Clock are required")
	}
	demands, err := lru.New[string, question](maxDemands)
	if err != nil {
		return nil, err
	}
	return &Forward{o: o, demands: demands}, nil
}

// questionOf reads a query, or remembers it.
func (f *Forward) questionOf(query string) question {
	if len(query) > maxQuestion {
		return question{err: errQuestion}
	}
	if known, ok := f.demands.Get(query); ok {
		return known
	}
	var q question
	if q.Demand, q.err = ParseDemand(query); q.err == nil {
		if q.Admission = f.o.Admissions[q.Environment]; q.Admission == nil {
			q.err = errEnvironment
		}
	}
	f.demands.Add(strings.Clone(query), q)
	return q
}

// ServeHTTP answers one question.
func (f *Forward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	q := f.questionOf(r.URL.RawQuery)
	if q.err != nil {
		answerQuestion(w, q.err)
		return
	}
	if bringsIdentity(r.Header) {
		setIdentity(h, nil)
		refuse(w, bringing, q.Demand)
		return
	}
	who, refused := q.ask(r.Context(), f.o.Clock.Now(), r.Header["Authorization"])
	if refused != nil {
		setIdentity(h, nil)
		if refused.Refusal != nil {
			if refused.Challenge != "" {
				h["Www-Authenticate"] = []string{refused.Challenge}
			}
			if refused.RetryAfter > 0 {
				h["Retry-After"] = []string{strconv.FormatInt(seconds(refused.RetryAfter), 10)}
			}
		}
		refuse(w, replyOf(refused), q.Demand)
		return
	}
	setIdentity(h, &who)
	h["Cache-Control"], h["Content-Length"] = noStore, zero
	w.WriteHeader(http.StatusOK)
}

var (
	noStore  = []string{"no-store"}
	zero     = []string{"0"}
	nothing  = []string{""}
	jsonType = []string{"application/json"}
)

// bringsIdentity tells whether a request has headers that only an answer of this process may have, or their twins with
// underscores, which CGI and its heirs take for the same.
func bringsIdentity(h http.Header) bool {
	for name := range h {
		if len(name) < len(identityPrefix) {
			continue
		}
		same := true
		for i := range len(identityPrefix) {
			c := name[i]
			if c == '_' {
				c = '-'
			}
			if lower(c) != lower(identityPrefix[i]) {
				same = false
				break
			}
		}
		if same {
			return true
		}
	}
	return false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// setIdentity sets who it is; nil: nobody.
func setIdentity(h http.Header, who *caller.Caller) {
	for _, name := range IdentityHeaders {
		h[name] = nothing
	}
	if who == nil {
		return
	}
	h[headerOrganization], h[headerOrganizationID] = []string{who.Organization.Name}, []string{who.Organization.ID}
	if who.Profile != nil {
		h[headerProfile], h[headerProfileID] = []string{who.Profile.Name}, []string{who.Profile.ID}
	}
	h[headerEnvironment] = []string{string(who.Environment)}
	h[headerScopes] = []string{who.Scopes.String()}
	h[headerKey], h[headerKeyID] = []string{who.Actor.Name}, []string{who.Actor.ID}
}

// reply is how a refusal is answered.
type reply struct {
	status        int
	code, message string
}

// replyOf is what the API would say.
func replyOf(r *Refused) reply {
	switch {
	case r.Foreign: // a 403 would tell that there is something
		return reply{http.StatusNotFound, "not_found", "There is nothing here for this key."}
	case r.Code == admission.Unauthenticated:
		return reply{http.StatusUnauthorized, "unauthenticated", "The request has no API key that is valid here."}
	case r.Code == admission.InsufficientScope:
		return reply{http.StatusForbidden, "unauthorized", "The key does not have the scope " + string(r.Scope) + "."}
	case r.Code == admission.RateLimited:
		return reply{http.StatusTooManyRequests, "rate_limited", "The key's requests are used up for the moment."}
	default:
		return reply{http.StatusServiceUnavailable, "unavailable", "This server can't say at the moment who may pass."}
	}
}

// bringing is the answer to who says themselves who they are.
var bringing = reply{
	http.StatusForbidden, "identity_headers", "A request must not bring headers of the gate's own.",
}

// refuse answers a refusal. To a route that wants 401 and 403 alone, the code in the header tells what it is.
func refuse(w http.ResponseWriter, p reply, d Demand) {
	h := w.Header()
	h[headerRefused] = []string{p.code}
	if d.Plain && p.status != http.StatusUnauthorized {
		p.status = http.StatusForbidden
	}
	write(w, p)
}

// answerQuestion is for a proxy whose configuration makes no sense. Proxies that carry 401 and 403 alone make of it the
// error of a server, and nobody passes.
func answerQuestion(w http.ResponseWriter, err error) {
	setIdentity(w.Header(), nil)
	write(w, reply{http.StatusBadRequest, "validation_failed", "The question can't be answered: " + err.Error() + "."})
}

func write(w http.ResponseWriter, p reply) {
	h := w.Header()
	body := `{"error":{"code":` + strconv.Quote(p.code) + `,"message":` + strconv.Quote(p.message) + "}}\n"
	h["Content-Type"], h["Cache-Control"] = jsonType, noStore
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(p.status)
	_, _ = w.Write([]byte(body)) // the proxy has gone: there is nobody left to tell
}

// seconds rounds up: who waits as long as it says has waited long enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Busy is the body of the answer to whoever there is no room for.
var Busy = []byte(`{"error":{"code":"unavailable",` +
	`"message":"This server has as many requests as it has room for."}}` + "\n")
