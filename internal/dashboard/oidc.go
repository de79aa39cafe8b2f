// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/session"
)

// OIDCCallback is where browsers come back to from the OpenID provider. It is registered there.
const OIDCCallback = Base + "/oidc/callback"

// oidcScreens are the way to the OpenID provider and back. Both are links: a form of this page can't lead anywhere
// else, by its Content-Security-Policy, and who comes back brings what only their browser has.
func (d *Dashboard) oidcScreens() []screen {
	if d.config.Provider == nil {
		return nil
	}
	return []screen{
		{Method: http.MethodGet, Path: "/oidc/sign-in", Access: anyone, Show: d.beginSignIn},
		{Method: http.MethodGet, Path: strings.TrimPrefix(OIDCCallback, Base), Access: anyone, Show: d.finishSignIn},
	}
}

// notSignedIn says why somebody is not signed in, on the page where they can try again. A status of 400 is counted
// against the address, as is a token that the cluster does not know.
type notSignedIn struct {
	Heading string // key of a text
	Said    string // code of the provider's; ""
	Status  int
}

// beginSignIn leads to the provider. Another site can't do that to somebody, who would find themselves signed in.
func (d *Dashboard) beginSignIn(r *request) (view, error) {
	to := next(r.http.URL.Query().Get("next"))
	if site := r.http.Header.Get("Sec-Fetch-Site"); !private(r.http) || site == "cross-site" || site == "same-site" {
		return goTo("/sign-in?next=" + url.QueryEscape(Base+to))
	}
	begun, err := d.config.Provider.Begin(r.http.Context(), Base+to)
	if err != nil {
		return d.notSignedIn(r, to, err)
	}
	d.keepBegun(r, begun)
	return view{Leave: begun.URL}, nil
}

// finishSignIn begins a session for whoever the provider has sent back, and ends the one that the browser had.
//
// It changes something by a link: what another site could lead somebody to lacks the cookie that belongs to its
// state.
func (d *Dashboard) finishSignIn(r *request) (view, error) {
	query := r.http.URL.Query()
	kept := d.takeSignIn(r, query.Get("state"))
	tokens, to, err := d.config.Provider.Finish(r.http.Context(), kept, query)
	// The browser has kept it, and says what it likes: it leads to pages of the dashboard alone.
	to = next(to)
	if err != nil {
		return d.notSignedIn(r, to, err)
	}
	token, person, err := d.config.Sessions.SignInBy(r.http.Context(), tokens)
	if err != nil {
		return d.notSignedIn(r, to, err)
	}
	d.enter(r, token, person)
	return goTo(to)
}

// notSignedIn is the page for signing in, with what went wrong. What the log has of it is for whoever runs this server:
// the person can only try again.
func (d *Dashboard) notSignedIn(r *request, to string, err error) (view, error) {
	var denied *oidc.DeniedError
	var why notSignedIn
	switch {
	case errors.As(err, &denied) && denied.Code == "access_denied":
		why = notSignedIn{Heading: "oidc.denied", Status: http.StatusForbidden}
	case errors.As(err, &denied):
		why = notSignedIn{Heading: "oidc.error", Said: denied.Code, Status: http.StatusBadGateway}
	case errors.Is(err, oidc.ErrUnavailable):
		why = notSignedIn{Heading: "oidc.unavailable", Status: http.StatusServiceUnavailable}
	case errors.Is(err, oidc.ErrAnswer):
		why = notSignedIn{Heading: "oidc.answer", Status: http.StatusBadRequest}
	case apierrors.IsUnauthorized(err), errors.Is(err, session.ErrCredential):
		why = notSignedIn{Heading: "oidc.unknown", Status: http.StatusForbidden}
	default:
		return view{}, err
	}
	if why.Status == http.StatusBadRequest || why.Heading == "oidc.unknown" { // who does it often is guessing
		if limited := d.config.Admission.Failed(r.now, r); limited != nil {
			return view{}, limited
		}
	}
	// After the limit, so that whoever is guessing writes no more lines here than that lets through.
	d.config.Logger.Warn("Nobody is signed in by the OpenID provider", "requestId", r.id, "error", err)
	v := d.signInView(r, to)
	v.Status = why.Status
	data, _ := v.Data.(signInData)
	data.Not = &why
	v.Data = data
	return v, nil
}

// maxBegun is how many sign-ins one browser may have begun: in some tabs at once. Each is a cookie, which the browser
// sends with every request until it is over.
const maxBegun = 5

// begunCookie is the name of the cookie that keeps a sign-in. Each has its own, so that two tabs don't disturb each
// other. A part of the state is enough to tell them apart: that all of it is right, the provider's Finish finds out.
func (d *Dashboard) begunCookie(state string) string {
	return CookieName(d.config.Environment) + "-oidc-" + state[:min(len(state), 12)]
}

// keepBegun has the browser keep a sign-in until it comes back, and forget the ones of which there are too many.
func (d *Dashboard) keepBegun(r *request, b oidc.Begun) {
	var others []*http.Cookie
	for _, c := range r.http.Cookies() {
		if strings.HasPrefix(c.Name, d.begunCookie("")) {
			others = append(others, c)
		}
	}
	if len(others) >= maxBegun {
		slices.SortFunc(others, func(a, b *http.Cookie) int { return cmp.Compare(oidc.Until(a.Value), oidc.Until(b.Value)) })
		for _, c := range others[:len(others)-maxBegun+1] {
			d.setBegun(r, c.Name, "", -1)
		}
	}
	d.setBegun(r, d.begunCookie(b.State), b.Kept, int(b.Until.Sub(r.now).Seconds()))
}

// takeSignIn returns what the browser has kept of a sign-in, which is good once: "" if it has kept nothing, or two
// things.
func (d *Dashboard) takeSignIn(r *request, state string) string {
	name := d.begunCookie(state)
	kept := r.http.CookiesNamed(name)
	if len(kept) == 0 {
		return ""
	}
	d.setBegun(r, name, "", -1)
	if len(kept) > 1 {
		return ""
	}
	return kept[0].Value
}

// setBegun sets a cookie of a sign-in. It comes back with a link of another site, which the provider is.
func (d *Dashboard) setBegun(r *request, name, value string, maxAge int) {
	http.SetCookie(r.writer, &http.Cookie{
		Name: name, Value: value, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode, MaxAge: maxAge,
	})
}
