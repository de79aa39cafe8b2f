// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"cmp"
	"errors"
	"net/http"
	"path"
	"strings"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/session"
)

// personScreens are about who is signed in, and where they work.
func (d *Dashboard) personScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/sign-in", Access: anyone, Show: d.signInForm},
		{Method: http.MethodPost, Path: "/sign-in", Access: anyone, Show: d.signIn},
		{Method: http.MethodPost, Path: "/sign-out", Access: anyone, Show: d.signOut},
		{Method: http.MethodGet, Path: "/organizations", Access: signedIn, Show: d.organizations},
		{Method: http.MethodPost, Path: "/organizations", Access: signedIn, Show: d.chooseOrganization},
	}
}

// signInData is what the page for signing in shows. Next is a path below Base.
type signInData struct {
	Next   string
	Failed bool // the token is nobody's
	// Provider is what people know the OpenID provider by; "": there is none.
	Provider string
	// Ended is why the session that they had is over: ended or endedByProvider; "": they had none.
	Ended string
	// Not says why they are not signed in by the provider; nil: nothing is known of that.
	Not *notSignedIn
	// Insecure tells that the browser would send the token in clear text, and would not keep the cookie.
	Insecure bool
}

// signInForm is also where somebody is led whose session is over (toSignIn), and told so.
func (d *Dashboard) signInForm(r *request) (view, error) {
	v := d.signInView(r, next(r.http.URL.Query().Get("next")))
	data, _ := v.Data.(signInData)
	// Nothing else that an address has is told: anybody may have made the link.
	switch why := r.http.URL.Query().Get("ended"); {
	case why == ended, why == endedByProvider && data.Provider != "":
		data.Ended = why
	}
	v.Data = data
	return v, nil
}

// signInView is the page for signing in, from which somebody goes on to a path.
func (d *Dashboard) signInView(r *request, to string) view {
	data := signInData{Next: to, Insecure: !private(r.http)}
	if d.config.Provider != nil {
		data.Provider = cmp.Or(d.config.ProviderName, d.config.Provider.Host())
	}
	return view{Page: "signin", Title: "signin.title", Data: data}
}

// signIn begins a session with a token that nobody has had before. The one that the browser has shown is over:
// whoever had put it there is not signed in as somebody else. It is counted against the address if it is nobody's
// (isUnknown).
func (d *Dashboard) signIn(r *request) (view, error) {
	// Before the apiserver is asked: the browser would not keep the cookie, and nobody would be signed in.
	if !private(r.http) {
		v := d.signInView(r, next(r.form.Get("next")))
		v.Status = http.StatusForbidden
		return v, nil
	}
	to := next(r.form.Get("next"))
	token, person, err := d.config.Sessions.SignIn(r.http.Context(), strings.TrimSpace(r.form.Get("token")))
	// Only then, and not before the apiserver is asked: as with keys, whoever guesses must not keep those from signing in
	// who share their address.
	if isUnknown(err) {
		if err := d.config.Admission.Failed(r.now, r); err != nil {
			return view{}, err
		}
		v := d.signInView(r, to)
		data, _ := v.Data.(signInData)
		data.Failed = true
		v.Status, v.Data = http.StatusUnauthorized, data
		return v, nil
	}
	if err != nil {
		return view{}, err
	}
	d.enter(r, token, person)
	return goTo(to)
}

// enter has the browser show a session that has just begun. The one that it has shown is over: here, and no earlier, so
// that whoever fails to sign in keeps the one that they have.
func (d *Dashboard) enter(r *request, token string, person *session.Person) {
	r.username, r.event = person.Username, "session.began"
	if old := d.sessionToken(r.http); old != "" {
		if err := d.config.Sessions.SignOut(r.http.Context(), old); err != nil {
			d.config.Logger.Warn("the session that a browser had before goes on until it ends by itself", "error", err)
		}
	}
	d.setCookie(r.writer, token)
}

// signOut works whoever shows the session, and while nobody is let in: to end it does no harm, and it ends the request
// too that somebody would have been let in with.
func (d *Dashboard) signOut(r *request) (view, error) {
	if token := d.sessionToken(r.http); token != "" {
		r.username, r.event = d.config.Sessions.Username(r.http.Context(), token), "session.ended"
		if err := d.config.Sessions.SignOut(r.Context(), token); err != nil {
			return view{}, err
		}
	}
	d.setCookie(r.writer, "")
	return told("/sign-in", "notice.signedOut")
}

// next is where somebody goes on after something: a path of the dashboard, below Base, whatever was asked for. A link
// to the page for signing in may be anybody's. Browsers take a backslash for a slash, so that one can begin another
// host; a line's end would begin another header; and a path that is not clean leads elsewhere than it seems.
func next(wanted string) string {
	rest, ok := strings.CutPrefix(wanted, Base)
	file, query, _ := strings.Cut(rest, "?")
	if !ok || !strings.HasPrefix(file, "/") || path.Clean(file) != file || strings.ContainsAny(file, "\\\r\n") {
		return "/"
	}
	if query != "" {
		return file + "?" + query
	}
	return file
}

type organizationsData struct {
	Next  string
	Names []string
	// Wrong is a name that was typed in, and is none that the person may see.
	Wrong string
}

func (d *Dashboard) organizations(r *request) (view, error) {
	return d.organizationsView(r, organizationsData{Next: next(r.http.URL.Query().Get("next"))}, 0)
}

func (d *Dashboard) organizationsView(r *request, data organizationsData, status int) (view, error) {
	list, err := d.config.Sessions.Organizations(r.Context(), r.person)
	if err != nil {
		return view{}, err
	}
	for _, o := range list {
		data.Names = append(data.Names, o.Name)
	}
	return view{Page: "organizations", Title: "organizations.title", Data: data, Status: status}, nil
}

// chooseOrganization makes the one named the active one, if the person may list its keys. One that is not there is told
// like one that is none of theirs.
func (d *Dashboard) chooseOrganization(r *request) (view, error) {
	name := r.form.Get("name")
	chosen, err := d.config.Sessions.Organization(r.Context(), r.person, name)
	if err == nil {
		err = d.mayWorkIn(r, chosen)
	}
	switch {
	case errors.Is(err, admission.ErrNoOrganization):
		data := organizationsData{Next: next(r.form.Get("next")), Wrong: name}
		return d.organizationsView(r, data, http.StatusNotFound)
	case err != nil:
		return view{}, err
	}
	if err := d.config.Sessions.Choose(r.Context(), r.token, chosen); err != nil {
		return view{}, err
	}
	return goTo(next(r.form.Get("next")))
}

// mayWorkIn tells whether somebody may choose an organization: whoever may list its keys. The error of others is
// admission.ErrNoOrganization, as if there were none. It decides nothing else: each page asks for its own rights.
func (d *Dashboard) mayWorkIn(r *request, o caller.Organization) error {
	right := session.Right{Verb: "list", Resource: "apikeys", Namespace: o.Name}
	may, err := r.person.Cluster.May(r.Context(), r.now, right)
	if err == nil && !may {
		err = admission.ErrNoOrganization
	}
	if err == nil { // so that it is known before they come to any page there
		_, err = r.person.Cluster.Offers(r.Context(), r.now, right)
	}
	return err
}
