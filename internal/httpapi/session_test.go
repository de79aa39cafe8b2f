// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

const sessionToken = "somebody-is-signed-in"

// somebody is signed in, and may do anything in the organization of authntest; package session has real ones.
type somebody struct {
	asked []admission.Need
	meant []string
	chose bool // the organization is their active one
	none  bool // nobody can tell
}

func (s *somebody) Find(_ context.Context, shown admission.Credentials, n admission.Need) (authn.Session, error) {
	s.asked, s.meant = append(s.asked, n), append(s.meant, shown.Organization)
	switch {
	case s.none:
		return nil, admission.ErrUndecided
	case shown.Session != sessionToken:
		return nil, authn.Unknown
	case shown.Organization == "" && !s.chose:
		return nil, admission.ErrNoneChosen
	case shown.Organization != "" && shown.Organization != authntest.Namespace:
		return nil, admission.ErrNoOrganization
	}
	return person{}, nil
}

type person struct{}

func (person) Refusal(time.Time) error { return nil }

func (person) Caller() caller.Caller {
	return caller.Caller{
		Organization: caller.Organization{ID: authntest.OrganizationID, Name: authntest.Namespace},
		Environment:  key.Live, Scopes: caller.AllScopes, Meter: new(rate.Meter),
		Actor: caller.PersonActor("ann@example.com", now.AddDate(1, 0, 0)),
	}
}

// TestSessionOnReads goes through all routes: a person who is signed in reads what a key of the organization reads, in
// the same shapes, if RBAC lets them; and changes nothing.
func TestSessionOnReads(t *testing.T) {
	who := &somebody{}
	p := newProvoker(t)
	profile := authntest.Profile()
	p.profile = string(profile.UID)
	org, orgText := live(t)
	pinned, _ := live(t, authntest.PinnedTo(profile), authntest.ExpiringAt(now.AddDate(1, 0, 0)))
	p.works = newFixture(t, []any{profile, org, pinned}, func(c *parts) {
		c.Library = smallLibrary(t)
		c.Admission.Sessions = who
		c.SessionToken = func(r *http.Request) string {
			cookie, err := r.Cookie("session")
			if err != nil {
				return ""
			}
			return cookie.Value
		}
	})
	signedIn := func(s sent) sent { s.key = ""; return s.with("Cookie", "session="+sessionToken) }
	in := func(s sent, organization string) sent {
		mark := "?"
		if strings.Contains(s.target, "?") {
			mark = "&"
		}
		s.target += mark + "organization=" + organization
		return s
	}
	reads := 0
	for i := range routes {
		r := &routes[i]
		if r.Access == admission.Anyone {
			continue
		}
		name := r.Method + " " + r.Path
		s := p.successOf(t, r, orgText)
		if r.Access == admission.KeyOnly {
			before := len(who.asked)
			checkStatus(t, name+" by who is signed in", p.works.send(signedIn(s)), http.StatusUnauthorized)
			if len(who.asked) != before {
				t.Errorf("%s: a session was looked for", name)
			}
			continue
		}
		reads++
		who.chose = true
		byKey, bySession := p.works.send(s), p.works.send(signedIn(s))
		if checkStatus(t, name+" by who is signed in", bySession, http.StatusOK); byKey.Body.String() != bySession.Body.String() {
			t.Errorf("%s: a key is told\n%s\nwho is signed in\n%s", name, byKey.Body, bySession.Body)
		}
		resource, verb := strings.Split(r.Path, "/")[2], "list"
		if strings.Contains(r.Path, "{") {
			verb = "get"
		}
		need := who.asked[len(who.asked)-1]
		if need.Verb != verb || need.Resource != strings.ReplaceAll(resource, "-", "") {
			t.Errorf("%s needs %s of %s", name, need.Verb, need.Resource)
		}
		who.chose = false
		for _, c := range []struct {
			reason string
			sent   sent
			status int
			rule   string // "": it is not looked at
		}{
			{"without an organization", signedIn(s), http.StatusBadRequest, "organization"},
			{"in the one named", in(signedIn(s), authntest.Namespace), http.StatusOK, ""},
			{"in one that is none of theirs", in(signedIn(s), "globex"), http.StatusNotFound, "organization"},
			{"in none", in(signedIn(s), ""), http.StatusBadRequest, "organization"},
			{"in two", in(in(signedIn(s), authntest.Namespace), "globex"), http.StatusBadRequest, "organization"},
			{"with what is unknown beside it", in(signedIn(s), authntest.Namespace+"&nope=1"), http.StatusBadRequest, "nope"},
			{"by a key that names one", in(s, authntest.Namespace), http.StatusBadRequest, "organization"},
			{"by a wrong key beside the session", signedIn(s).with("Authorization", "Bearer wrong"), http.StatusUnauthorized, ""},
			{"by a key beside the session", signedIn(s).with("Authorization", "Bearer "+orgText), http.StatusOK, ""},
			{"by another session", s.anonymous().with("Cookie", "session=other"), http.StatusUnauthorized, ""},
		} {
			w := p.works.send(c.sent)
			checkStatus(t, name+" "+c.reason, w, c.status)
			if c.rule != "" && !strings.Contains(w.Body.String(), `"rule":"`+c.rule+`"`) {
				t.Errorf("%s %s: %s", name, c.reason, w.Body)
			}
		}
		who.none = true
		checkStatus(t, name+" while nobody can tell", p.works.send(signedIn(s)), http.StatusServiceUnavailable)
		who.none = false
	}
	if reads == 0 {
		t.Error("no read takes a session")
	}
}

func (s sent) anonymous() sent { s.key = ""; return s }
