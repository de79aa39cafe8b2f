// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"path"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/internal/caller"
)

// personScreens are about who is signed in, and where they work.
func (d *Dashboard) personScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/sign-in", Access: anyone, Show: d.signInForm},
		{Method: http.MethodPost, Path: "/sign-in", Access: anyone, Show: d.signIn},
		{Method: http.MethodPost, Path: "/sign-out", Access: signedIn, Show: d.signOut},
		{Method: http.MethodGet, Path: "/organizations", Access: signedIn, Show: d.organizations},
		{Method: http.MethodPost, Path: "/organizations", Access: signedIn, Show: d.chooseOrganization},
	}
}

// signInData is what the page for signing in shows.
type signInData struct {
	Next   string
	Failed bool // the token is nobody's
}

func (d *Dashboard) signInForm(r *request) (view, error) {
	return view{Page: "signin", Title: "signin.title", Data: signInData{Next: next(r.http.URL.Query().Get("next"))}}, nil
}

func (d *Dashboard) signIn(r *request) (view, error) {
	token, _, err := d.config.Sessions.SignIn(r.http.Context(), strings.TrimSpace(r.form.Get("token")))
	if apierrors.IsUnauthorized(err) {
		if err := d.config.Admission.Failed(r.now, r); err != nil {
			return view{}, err
		}
		return view{
			Page: "signin", Title: "signin.title", Status: http.StatusUnauthorized,
			Data: signInData{Next: next(r.form.Get("next")), Failed: true},
		}, nil
	}
	if err != nil {
		return view{}, err
	}
	d.setCookie(r.writer, token)
	return goTo(next(r.form.Get("next")))
}

func (d *Dashboard) signOut(r *request) (view, error) {
	if err := d.config.Sessions.SignOut(r.Context(), r.token); err != nil {
		return view{}, err
	}
	d.setCookie(r.writer, "")
	return goTo("/sign-in")
}

// next is where somebody goes on after something: a path of the dashboard, below Base, whatever was asked for.
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

// maxOrganizations is how many are listed; others are typed in.
const maxOrganizations = 500

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
	namespaces, err := r.person.Cluster.Namespaces(r.Context(), maxOrganizations)
	switch {
	case err == nil:
		for _, n := range namespaces {
			data.Names = append(data.Names, n.Name)
		}
	case !apierrors.IsForbidden(err):
		return view{}, err
	}
	slices.Sort(data.Names)
	return view{Page: "organizations", Title: "organizations.title", Data: data, Status: status}, nil
}

// chooseOrganization makes the one named the active one, if the person may list its keys. One that is not there is told
// like one that is none of theirs.
func (d *Dashboard) chooseOrganization(r *request) (view, error) {
	name := r.form.Get("name")
	i := slices.IndexFunc(d.config.Organizations(), func(o caller.Organization) bool { return o.Name == name })
	if i < 0 {
		data := organizationsData{Next: next(r.form.Get("next")), Wrong: name}
		return d.organizationsView(r, data, http.StatusNotFound)
	}
	chosen := d.config.Organizations()[i]
	if err := d.config.Sessions.Choose(r.Context(), r.token, chosen); err != nil {
		return view{}, err
	}
	return goTo(next(r.form.Get("next")))
}
