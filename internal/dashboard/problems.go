// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/internal/store"
)

var (
	// No session is shown. It is no problem to be told: whoever gets it is asked to sign in.
	errSignedOut   = errors.New("signed out")
	errNotFound    = errors.New("there is no such page")
	errCrossOrigin = errors.New("the request was made by another site")
	// It lacks what our own forms have, or is larger than any of them (maxForm).
	errBadForm = errors.New("the form can't be read")
	errRunning = errors.New("the form was sent before, and that is not done yet")

	// See organizationField. Nothing is done of it: what is named there is not what the person has looked at.
	errOtherOrganization = errors.New("another organization is open by now")
	// It has another UID than what the person has looked at.
	errMadeAgain = errors.New("there is another object of this name by now")
)

// What tells the page for signing in why somebody sees it again who was signed in.
const (
	ended           = "session"
	endedByProvider = "provider"
)

// forbiddenError is a right that RBAC does not give. Its text is for logs: the person is told by pages.mayNot.
type forbiddenError struct{ right session.Right }

func (e *forbiddenError) Error() string {
	return "may not " + e.right.Verb + " " + e.right.Resource + ".letmepost.dev in " + e.right.Namespace
}

// mayNot says to the person which right they lack, and so which one to ask for.
func (p *pages) mayNot(lacks session.Right) string {
	return p.text("problem.mayNot", lacks.Verb, lacks.Resource, lacks.Namespace)
}

// trouble is a page that says what went wrong and what to do.
type trouble struct {
	Heading string // key of a text
	Said    string // in the words of whoever said no; "": nothing is to be added
	ID      string // of the request
}

// kinds of errors, and how each is told. The first that an error is of counts. An error that is of none is a failure
// of ours: it is logged, and nobody is shown its words.
var kinds = []struct {
	is      func(error) bool
	status  int
	heading string
}{
	{refusedAs(admission.RateLimited), http.StatusTooManyRequests, "problem.tooMany"},
	{refusedAs(admission.Unavailable), http.StatusServiceUnavailable, "problem.unavailable"},
	{isError(session.ErrBusy), http.StatusServiceUnavailable, "problem.busy"},
	{isError(session.ErrNotTaken), http.StatusServiceUnavailable, "problem.notTaken"},
	{isError(oidc.ErrUnavailable), http.StatusServiceUnavailable, "problem.provider"},
	{isError(errCrossOrigin), http.StatusForbidden, "problem.crossOrigin"},
	{isError(errBadForm), http.StatusBadRequest, "problem.badForm"},
	{isError(errRunning), http.StatusConflict, "problem.running"},
	{isError(errOtherOrganization), http.StatusConflict, "problem.otherOrganization"},
	{isError(errMadeAgain), http.StatusConflict, "problem.conflict"},
	{isError(store.ErrNotFound), http.StatusNotFound, "problem.notFound"},
	{isError(store.ErrUnavailable), http.StatusServiceUnavailable, "problem.database"},
	{isProblem(problem.NotFound), http.StatusNotFound, "problem.notFound"},
	{isProblem(problem.Unavailable, problem.Upstream), http.StatusServiceUnavailable, "problem.refused"},
	{isProblem(problem.RateLimited), http.StatusTooManyRequests, "problem.refused"},
	{isProblem(problem.Forbidden), http.StatusForbidden, "problem.refused"},
	{isProblem(problem.Conflict), http.StatusConflict, "problem.refused"},
	{isProblem(problem.Invalid, problem.TooLarge, problem.Unsupported), http.StatusUnprocessableEntity, "problem.refused"},
	{isError(errNotFound), http.StatusNotFound, "problem.notFound"},
	{apierrors.IsNotFound, http.StatusNotFound, "problem.notFound"},
	{isForbidden, http.StatusForbidden, "problem.forbidden"},
	{apierrors.IsForbidden, http.StatusForbidden, "problem.forbidden"},
	{apierrors.IsConflict, http.StatusConflict, "problem.conflict"},
	{apierrors.IsAlreadyExists, http.StatusConflict, "problem.conflict"},
	{apierrors.IsInvalid, http.StatusUnprocessableEntity, "problem.invalid"},
	{apierrors.IsBadRequest, http.StatusUnprocessableEntity, "problem.invalid"},
}

func isError(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func refusedAs(code admission.Code) func(error) bool {
	return func(err error) bool {
		var r *admission.Refusal
		return errors.As(err, &r) && r.Code == code
	}
}

// isProblem tells whether a room below has found something wrong of one of these kinds, and has words for it.
func isProblem(kinds ...problem.Kind) func(error) bool {
	return func(err error) bool {
		var p *problem.Problem
		return errors.As(err, &p) && slices.Contains(kinds, p.Kind)
	}
}

func isForbidden(err error) bool { return errors.As(err, new(*forbiddenError)) }

// problem is the page of an error. Whoever is not signed in is asked to, and led back to where they were going. It
// may be called by a screen that shows the status of an error among other things (revoke).
func (r *request) problem(err error) view {
	refusal := r.dashboard.config.Admission.Of(err)
	if refusal != nil {
		err = refusal // also of what ended the request while it ran
	}
	// Unauthorized is what the apiserver says of the credential, in the midst of a page: what their rights lack, it calls
	// Forbidden. Of a credential that is renewed it is no end, which request.run finds out first (session.ErrNotTaken).
	if errors.Is(err, errSignedOut) || apierrors.IsUnauthorized(err) ||
		refusal != nil && refusal.Code == admission.Unauthenticated {
		v, _ := goTo(r.toSignIn(refusal))
		return v
	}
	// The store has no words for people, and posting has them.
	var quota *store.QuotaError
	if errors.As(err, &quota) {
		err = posting.ErrQuota(quota)
	}
	said := wordsOf(err)
	if forbidden := (*forbiddenError)(nil); errors.As(err, &forbidden) {
		said = r.dashboard.pages.mayNot(forbidden.right)
	}
	for _, k := range kinds {
		if k.is(err) {
			return r.trouble(k.status, k.heading, said)
		}
	}
	r.dashboard.config.Logger.Error("A page failed", "requestId", r.id, "screen", r.screen, "error", err)
	return r.trouble(http.StatusBadGateway, "problem.failed", "")
}

// toSignIn is where somebody signs in, who is led back from there; they may have been signed in before.
func (r *request) toSignIn(refusal *admission.Refusal) string {
	how := url.Values{}
	// A form can't be gone back to: its address would be asked for without what was typed.
	if r.http.Method == http.MethodGet {
		how.Set("next", r.here())
	}
	switch {
	case refusal != nil && refusal.Reason == admission.NotRenewed:
		how.Set("ended", endedByProvider)
	case r.token != "":
		how.Set("ended", ended)
	}
	return strings.TrimSuffix("/sign-in?"+how.Encode(), "?")
}

func (r *request) trouble(status int, heading, said string) view {
	return view{Page: "problem", Title: heading, Status: status, Data: trouble{Heading: heading, Said: said, ID: r.id}}
}

// mostOfMessage is how much is shown of what the apiserver says, in bytes: an admission webhook may say anything.
const mostOfMessage = 2048

// wordsOf are what whoever said no says to the person: the apiserver, or a room below. "": there are none beyond the
// heading.
func wordsOf(err error) string {
	var wrong *problem.Problem
	if errors.As(err, &wrong) && wrong.Kind != problem.NotFound { // whose words are for programs: they name routes
		return strings.TrimSpace(wrong.Message + "\n" + wrong.Remediation)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return ""
	}
	// Of a name that nothing can have, session.Cluster leaves the name out of the apiserver's sentence.
	if d := status.Status().Details; apierrors.IsNotFound(err) && (d == nil || d.Name == "") {
		return ""
	}
	return problem.Excerpt(status.Status().Message, mostOfMessage)
}
