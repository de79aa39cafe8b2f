// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"errors"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/session"
)

var (
	errSignedOut   = errors.New("signed out")
	errNotFound    = errors.New("there is no such page")
	errCrossOrigin = errors.New("the request was made by another site")
	errBadForm     = errors.New("the form can't be read")
)

// forbiddenError is a right that RBAC does not give.
type forbiddenError struct{ right session.Right }

func (e *forbiddenError) Error() string {
	return "may not " + e.right.Verb + " " + e.right.Resource + ".letmepost.dev in " + e.right.Namespace
}

// trouble is a page that says what went wrong and what to do.
type trouble struct {
	Heading string // key of a text
	Said    string // in the words of whoever said no; "": nothing is to be added
	Command string // that an admin may run; ""
	ID      string // of the request
}

// kinds of errors, and how each is told. The first that an error is of counts.
var kinds = []struct {
	is      func(error) bool
	status  int
	heading string
}{
	{refusedAs(admission.RateLimited), http.StatusTooManyRequests, "problem.tooMany"},
	{refusedAs(admission.Unavailable), http.StatusServiceUnavailable, "problem.unavailable"},
	{isError(errCrossOrigin), http.StatusForbidden, "problem.crossOrigin"},
	{isError(errBadForm), http.StatusBadRequest, "problem.badForm"},
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

func isForbidden(err error) bool { return errors.As(err, new(*forbiddenError)) }

// problem is the page of an error. Whoever is not signed in is asked to, and led back to where they were going.
func (r *request) problem(err error) view {
	refusal := r.dashboard.config.Admission.Of(err)
	if refusal != nil {
		err = refusal // also of what ended the request while it ran
	}
	if errors.Is(err, errSignedOut) || apierrors.IsUnauthorized(err) ||
		refusal != nil && refusal.Code == admission.Unauthenticated {
		to := "/sign-in"
		if r.http.Method == http.MethodGet {
			to += "?next=" + url.QueryEscape(r.http.URL.RequestURI())
		}
		v, _ := goTo(to)
		return v
	}
	for _, k := range kinds {
		if k.is(err) {
			return r.trouble(k.status, k.heading, wordsOf(err))
		}
	}
	r.dashboard.config.Logger.Error("A page failed", "requestId", r.id, "path", r.http.URL.Path, "error", err)
	return r.trouble(http.StatusBadGateway, "problem.failed", "")
}

func (r *request) trouble(status int, heading, said string) view {
	return view{Page: "problem", Title: heading, Status: status, Data: trouble{Heading: heading, Said: said, ID: r.id}}
}

// wordsOf are what whoever said no says to the person: the apiserver, or RBAC by this page. They are bounded: an
// admission webhook may say anything.
func wordsOf(err error) string {
	const most = 2048
	var forbidden *forbiddenError
	if errors.As(err, &forbidden) {
		return "You " + forbidden.Error() + "."
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return ""
	}
	message := status.Status().Message
	if len(message) > most {
		message = message[:most] + "…"
	}
	return message
}
