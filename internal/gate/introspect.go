// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/tokenreview"
)

// Accounts tell whose token a service shows, and what RBAC allows it; *tokenreview.Reviewer is one. Both may answer
// from memory for a while; docs/guard.md says for how long.
type Accounts interface {
	// Review returns the account; the error is tokenreview.ErrUnauthenticated, or one that can't be told.
	Review(ctx context.Context, token string) (*tokenreview.Account, error)
	// May tells whether RBAC gives the account a right. The error says that nobody can tell, and gives it nothing.
	May(ctx context.Context, a *tokenreview.Account, right tokenreview.Right) (bool, error)
}

// Introspection answers services that hold a key in their hands, and ask whose it is (RFC 7662).
//
// Who asks proves by a ServiceAccount's token that it may know: it has the right to create introspections, a resource
// that RBAC alone knows, in the organization's namespace. That is decided before the key is looked at, so that nobody
// learns by a refusal whether there is such a key. Every key that is not good here has one answer, whatever the reason.
type Introspection struct {
	*Gate

	accounts Accounts
	log      *slog.Logger
	counters map[string]prometheus.Counter // by code: anyone can cause them, so all are made

	// mu guards complaint: requests come side by side.
	mu        sync.Mutex
	complaint retry.Complaint
}

// maxForm is how long the body of an introspection may be, in bytes. A key has some fifty.
const maxForm = 4 << 10

// IntrospectionPath is where it is.
const IntrospectionPath = "/introspect"

// The codes of answers to introspections, beside those of other questions.
const (
	active   = "active"
	inactive = "inactive"
)

// NewIntrospection returns an Introspection of a Gate's keys. log is for operators: who can't be asked. The error is
// that of the metric.
func NewIntrospection(g *Gate, accounts Accounts, log *slog.Logger) (*Introspection, error) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmp_gate_introspections_total",
		Help: "Introspections that were answered, by the code of the answer.",
	}, []string{"answer"})
	i := &Introspection{Gate: g, accounts: accounts, log: log, counters: map[string]prometheus.Counter{}}
	for _, code := range []string{
		active, inactive, unauthenticated.code, unauthorized.code, unavailable.code, senseless.code,
	} {
		i.counters[code] = total.WithLabelValues(code)
	}
	return i, g.o.Registerer.Register(total)
}

// ServeHTTP answers one.
func (i *Introspection) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	said, refused := i.answer(w, r)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if refused != nil {
		i.counters[refused.code].Inc()
		if refused.challenge != "" {
			h.Set("Www-Authenticate", refused.challenge)
		}
		w.WriteHeader(refused.status)
		_, _ = io.WriteString(w, refused.body()) //nolint:gosec // G705: it is JSON, and whoever asks is no browser
		return
	}
	i.counters[map[bool]string{true: active, false: inactive}[said.Active]].Inc()
	// Counted before it is sent, so that whoever has the answer finds it counted. An error: who asked has gone.
	_, _ = w.Write(said.encode()) //nolint:gosec // G705: it is JSON, and holds nothing of the request
}

// answer decides. The order is: who asks, what it asks for, whether it may, and the key last. So whoever has not
// shown who it is learns nothing of what is right or wrong with the rest.
func (i *Introspection) answer(w http.ResponseWriter, r *http.Request) (introspected, *reply) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return introspected{}, mistaken(http.StatusMethodNotAllowed, "Introspection is a POST.")
	}
	account, refused := i.authenticate(r)
	if refused != nil {
		return introspected{}, refused
	}
	q, err := i.introspectionOf(r.URL.RawQuery)
	if err != nil {
		p := replyToQuestion(err)
		return introspected{}, &p
	}
	if refused := i.authorize(r.Context(), account, &q.Demand); refused != nil {
		return introspected{}, refused
	}
	token, refused := tokenOf(w, r)
	if refused != nil {
		return introspected{}, refused
	}
	return i.inspect(r.Context(), &q, token)
}

// authenticate finds out which ServiceAccount asks. Whether the token is for this audience, and a ServiceAccount's at
// all, package tokenreview sees to: a token for the apiserver must not be good here, or whoever has taken this
// process over could use those that are shown to it.
func (i *Introspection) authenticate(r *http.Request) (*tokenreview.Account, *reply) {
	// Of two, a proxy before this process may have checked the other one.
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return nil, unproven("")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, unproven("")
	}
	account, err := i.accounts.Review(r.Context(), strings.Trim(token, " "))
	switch {
	case errors.Is(err, tokenreview.ErrUnauthenticated):
		return nil, unproven(`, error="invalid_token"`)
	case err != nil:
		return nil, i.unavailable(err)
	}
	return account, nil
}

// introspectionOf reads the query, which says what the service is for: environment, live without it, and
// organization. All else that a route may demand is a mistake here, and so is a token in the query, where logs would
// have it.
func (i *Introspection) introspectionOf(query string) (question, error) {
	if len(query) > maxQuestion {
		return question{}, errQuestion
	}
	d, err := ParseDemand(query)
	if err == nil && (len(d.Scopes) > 0 || d.Profile != "" || d.Plain) {
		err = errParameter // what a key is good for is in the answer
	}
	q := i.questionOf(d, err)
	return q, q.err
}

// authorize tells whether the account may ask about keys of an organization. Without one, it is to be about all of
// them, or about those of the account's own namespace: then that becomes the organization. A refusal names the
// organization that the right is missing for. That tells nothing: it is the one that was asked for, or the account's
// own namespace.
func (i *Introspection) authorize(ctx context.Context, account *tokenreview.Account, d *Demand) *reply {
	may := func(namespace string) (bool, *reply) {
		allowed, err := i.accounts.May(ctx, account, tokenreview.Right{
			Verb: "create", Resource: "introspections", Namespace: namespace,
		})
		if err != nil {
			return false, i.unavailable(err)
		}
		i.available() // and not sooner: who asks may be remembered while nobody says what they may
		return allowed, nil
	}
	// "" is all namespaces: who may ask about any organization need not name one.
	if allowed, refused := may(d.Organization); allowed || refused != nil {
		return refused
	}
	if d.Organization == "" {
		d.Organization = account.Namespace
		if allowed, refused := may(d.Organization); allowed || refused != nil {
			return refused
		}
	}
	p := unauthorized
	p.message = account.Username + " may not create introspections.letmepost.dev in " + d.Organization +
		": grant it there or in all namespaces, or name another organization in the query."
	p.challenge = `Bearer realm="letmepost", error="insufficient_scope"`
	return &p
}

// tokenOf reads the form. Parameters that are not known are ignored (RFC 6749, section 3.2).
func tokenOf(w http.ResponseWriter, r *http.Request) (string, *reply) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return "", mistaken(http.StatusUnsupportedMediaType, "The body is to be application/x-www-form-urlencoded.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return "", mistaken(http.StatusRequestEntityTooLarge, "The body is too long for the form of a key.")
		}
		return "", mistaken(http.StatusBadRequest, "The body can't be read.")
	}
	token, ok := tokenIn(string(body))
	if !ok {
		return "", mistaken(http.StatusBadRequest, "The form is to have one token.")
	}
	return token, nil
}

// tokenIn is the token of a form: exactly one, and not empty.
func tokenIn(form string) (string, bool) {
	values, err := url.ParseQuery(form)
	if err != nil || len(values["token"]) != 1 || values.Get("token") == "" {
		return "", false
	}
	return values.Get("token"), true
}

// inspect looks at the key. What is not good, not known, or of another organization, has one answer. Whose it is
// counts last: of a good key of another organization no more is said than of one that nobody has.
func (i *Introspection) inspect(ctx context.Context, q *question, token string) (introspected, *reply) {
	var admitted admission.Admitted
	now := i.o.Clock.Now()
	err := q.Admission.Inspect(ctx, now, token, &admitted)
	minted := admitted.KeyMintedAt()
	if cut := admitted.End(); err == nil {
		err = cut // the answer may go out only if the key is good at this moment
	}
	who := admitted.Caller()
	switch refusal := q.Admission.Of(err); {
	case err == nil && (q.Organization == "" || q.Organization == who.Organization.Name):
		return describe(who, minted), nil
	case err == nil:
		return introspected{}, nil
	case refusal != nil && refusal.Code == admission.Unauthenticated:
		i.answers.audit(q, refusal, who, []string{"Bearer " + token}, now)
		return introspected{}, nil
	default: // this process can't say
		p := unavailable
		return introspected{}, &p
	}
}

// unavailable is the answer while the apiserver can't be asked who asks. The log has it once for as long as that lasts,
// and again after somebody was answered from what is remembered of them.
func (i *Introspection) unavailable(err error) *reply {
	i.mu.Lock()
	defer i.mu.Unlock()
	// That whoever asked has gone says nothing of the apiserver.
	if !errors.Is(err, context.Canceled) && i.complaint.Due(err.Error(), i.o.Clock.Now()) {
		i.log.Error("can't ask the apiserver who asks for introspections; is gate.introspection.enabled set?", "error", err)
	}
	p := unavailable
	return &p
}

// available ends the complaint. The next time that the apiserver can't be asked is in the log again.
func (i *Introspection) available() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.complaint.Clear()
}

// unproven is the answer to whoever has not shown who it is. why is what the challenge says of the token that was
// shown. Without one that counts it says nothing (RFC 6750, section 3.1).
func unproven(why string) *reply {
	p := unauthenticated
	p.message = "Show a token of your ServiceAccount with the audience " + tokenreview.Audience + "."
	p.challenge = `Bearer realm="letmepost"` + why
	return &p
}

// mistaken is the answer to a request that is not one of RFC 7662.
func mistaken(status int, message string) *reply {
	p := senseless
	p.status, p.message = status, message
	return &p
}
