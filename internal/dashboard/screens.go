// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"slices"
)

// access says who is shown a screen. The zero value is the narrowest: a screen that says nothing is shown to the
// fewest.
type access uint8

const (
	inOrganization access = iota // the zero value: who is signed in, and has chosen an organization
	signedIn                     // who is signed in
	anyone
)

// screen is one page or one action of the dashboard.
type screen struct {
	Method string
	Path   string // below Base, as http.ServeMux has it
	Access access
	// OfPage: its form says of which organization the page was, and is refused where another one is open by now. It is of
	// those that would do something in any: what has an id of its own is not found in another one.
	OfPage bool
	Show   func(*request) (view, error)
}

// screens is all there is: one table for the server and for the tests that go through all of them.
func (d *Dashboard) screens() []screen {
	return slices.Concat(
		d.personScreens(), d.handoverScreens(), d.oidcScreens(), d.overviewScreens(), d.keysScreens(), d.revokeScreens(),
		d.mintScreens(), d.rotateScreens(), d.profilesScreens(), d.accountsScreens(), d.connectScreens(), d.postsScreens(),
	)
}

func notFound(*request) (view, error) { return view{}, errNotFound }

// view is what a screen comes to: a page, or where to go on.
type view struct {
	// Page is a template, which is called with Data; Title is the key of a text.
	Page, Title string
	Data        any
	// JSON is the answer to a program; nil: it is a page.
	JSON   any
	Status int // 0: 200
	// Redirect is a path below Base to go on at; "": stay. After a form that changed something, nobody stays: to load the
	// page again must not do it again.
	Redirect string
	// Notice is the key of a text that the page there says of what was done; "": nothing. See notice.go.
	Notice string
	// Leave is where to go on elsewhere, which a screen has made itself; "": nowhere.
	Leave string
}

// goTo sends the browser on.
func goTo(path string) (view, error) { return view{Redirect: path, Status: http.StatusSeeOther}, nil }
