// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/internal/session"
)

// handoverScreens are how a program of a person's, such as the plugin of kubectl, has their browser signed in: it sends
// the credential and gets a code, which the browser shows. The code goes through an address, where others may see it,
// and so it is good once, for a minute, and only by the button of a page that says who one becomes by it.
func (d *Dashboard) handoverScreens() []screen {
	return []screen{
		{Method: http.MethodPost, Path: "/handover", Access: anyone, Show: d.handOver},
		{Method: http.MethodGet, Path: "/handover", Access: anyone, Show: d.handedOver},
		{Method: http.MethodPost, Path: "/handover/sign-in", Access: anyone, Show: d.takeOver},
	}
}

// handover is what a program sends, and handedOver what it is told; docs/dashboard.md has both.
type (
	handover struct {
		Token string `json:"token"`
	}
	handedOver struct {
		Path      string    `json:"path"` // to have the browser open, at this server
		ExpiresAt time.Time `json:"expiresAt"`
	}
	handoverProblem struct {
		Error string `json:"error"`
	}
)

// handOver answers a program, not a browser: no cookie is looked at or set. The check of the origin lets it through
// because programs send neither Origin nor Sec-Fetch-Site; or, as the plugin of kubectl does for the sake of private,
// a Sec-Fetch-Site that says it is of this origin.
func (d *Dashboard) handOver(r *request) (view, error) {
	var sent handover
	switch {
	case !private(r.http):
		return d.tellProgram(http.StatusForbidden, "signin.insecure"), nil
	case r.http.Header.Get("Content-Type") != "application/json": // what no form of any page can send
		return d.tellProgram(http.StatusUnsupportedMediaType, "handover.json"), nil
	case json.NewDecoder(r.http.Body).Decode(&sent) != nil: // whose error may hold some of it
		return d.tellProgram(http.StatusBadRequest, "handover.json"), nil
	}
	code, until, err := d.config.Sessions.HandOver(r.http.Context(), sent.Token)
	if isUnknown(err) {
		err = d.config.Admission.Failed(r.now, r)
		if err == nil {
			return d.tellProgram(http.StatusUnauthorized, "signin.failed"), nil
		}
	}
	if err != nil {
		v := r.problem(err)
		return d.tellProgram(v.Status, v.Title), nil
	}
	path := Base + "/handover?" + url.Values{"code": {code}}.Encode()
	return view{JSON: handedOver{path, until}, Status: http.StatusCreated}, nil
}

// tellProgram answers in words that a person can act on: text is the key of what is wrong, and with Next behind it of
// what to do. Each text that is used here needs both.
func (d *Dashboard) tellProgram(status int, text string) view {
	return view{JSON: handoverProblem{d.pages.text(text) + " " + d.pages.text(text+"Next")}, Status: status}
}

// isUnknown tells whether somebody has shown what makes them nobody: it may have been a guess. Callers count it
// against the address (Admission.Failed). That the apiserver can't be asked is no such thing.
func isUnknown(err error) bool {
	return apierrors.IsUnauthorized(err) || errors.Is(err, session.ErrCredential) || errors.Is(err, session.ErrHandover)
}

// handoverData is what the page of a code shows.
type handoverData struct {
	Code   string
	As     string // whom one becomes
	Before string // who is signed in here, and is not then; ""
}

// handedOver asks, and signs nobody in: whoever was led here by somebody else's link sees whose session it would be.
func (d *Dashboard) handedOver(r *request) (view, error) {
	code := r.http.URL.Query().Get("code")
	as, err := d.config.Sessions.HandedOver(r.http.Context(), code)
	if err != nil {
		return d.noHandover(r, err)
	}
	data := handoverData{Code: code, As: as}
	if token := d.sessionToken(r.http); token != "" {
		data.Before = d.config.Sessions.Username(r.http.Context(), token)
	}
	return view{Page: "handover", Title: "handover.title", Data: data}, nil
}

// takeOver signs in by a code, and uses it up: a link alone never comes here, as it is a form that the page of the
// code has.
func (d *Dashboard) takeOver(r *request) (view, error) {
	if !private(r.http) { // the browser would not keep the cookie, and the code would be gone
		return view{
			Page: "signin", Title: "signin.title", Status: http.StatusForbidden, Data: signInData{Next: "/", Insecure: true},
		}, nil
	}
	token, person, err := d.config.Sessions.TakeOver(r.http.Context(), r.form.Get("code"))
	if err != nil {
		return d.noHandover(r, err)
	}
	d.enter(r, token, person)
	return goTo("/")
}

// noHandover is the page for a code that is no good. It is counted against the address, as a wrong token is.
func (d *Dashboard) noHandover(r *request, err error) (view, error) {
	if !isUnknown(err) {
		return view{}, err
	}
	if err := d.config.Admission.Failed(r.now, r); err != nil {
		return view{}, err
	}
	return view{Page: "handover", Title: "handover.title", Status: http.StatusNotFound, Data: handoverData{}}, nil
}
