// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/session"
)

// maxForm is how large a form may be: enough for the longest token of a cluster and a page of boxes to tick.
const maxForm = 64 << 10

// maxCalls is how many requests to the apiserver a page costs at most, also if nothing is known from before. Where
// several keys are looked at before they are revoked, each is one. Somebody waits for them, most often one after the
// other, and for up to ten seconds each (session.askTimeout). A test counts those of every page.
const maxCalls = 3

// request is one request on its way to a screen. It is one goroutine's. Screens that ask for several things side by
// side (forEach, key, overview) let others read it meanwhile: nothing of it but calls changes then.
type request struct {
	dashboard *Dashboard
	http      *http.Request
	writer    http.ResponseWriter
	id        string
	screen    string    // its path, as http.ServeMux has it: addresses have names in them, and whatever people type
	now       time.Time // when it came: asked for once, so that all of a page goes by the same moment

	token    string             // of the session; "": there is none
	event    string             // of the audit log; "": a form was sent
	username string             // of whoever has shown that they are somebody; "": nobody has
	person   *session.Person    // nil: nobody is signed in
	admitted admission.Admitted // the zero one unless somebody is
	form     url.Values         // of a POST
	calls    atomic.Int64       // to the apiserver, as yet
}

// affords tells whether a page may ask the apiserver for what stands beside what it is about, when it asks it so many
// things more.
func (r *request) affords(more int64) bool { return r.calls.Load()+more < maxCalls }

// Context ends when the request does, or the person's session, or when this replica can't be sure of what it knows.
func (r *request) Context() context.Context {
	if r.person == nil {
		return r.http.Context()
	}
	return r.admitted.Context()
}

// Organization is the active one.
func (r *request) Organization() caller.Organization { return r.person.Organization }

// Caller is the person, as rooms below know them.
func (r *request) Caller() *caller.Caller { return r.admitted.Caller() }

// Address says where the request comes from, as admission.Origin.
func (r *request) Address() netip.Addr { return r.dashboard.config.ClientAddress(r.http) }

// may asks whether the person has a right in the active organization: an error that says what is missing, or nil.
func (r *request) may(verb, resource string) error {
	right := session.Right{Verb: verb, Resource: resource, Namespace: r.Organization().Name}
	switch allowed, err := r.person.Cluster.May(r.Context(), r.now, right); {
	case err != nil:
		return err
	case !allowed:
		return &forbiddenError{right}
	}
	return nil
}

// serve makes a handler of a screen.
func (d *Dashboard) serve(s screen) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		r := &request{dashboard: d, writer: w, id: d.config.NewRequestID(), screen: s.Path, now: d.config.Clock.Now()}
		// All of this is in the request's own context, because admission and the session are asked in that: what it takes to
		// let somebody in counts among the calls of the page, and whether it is a use of the session is noted there.
		ctx := session.CountCalls(hr.Context(), &r.calls)
		if askedAgain(hr) {
			ctx = session.Unattended(ctx)
		}
		r.http = hr.WithContext(ctx)
		w.Header().Set("X-Request-Id", r.id)
		v, err := r.run(s)
		if err != nil {
			v = r.problem(err)
		}
		r.audit(s, v)
		d.answer(r, v)
	})
}

// eventTexts are the messages of what the audit log has.
var eventTexts = map[string]string{
	"form.sent": "Form sent", "session.began": "Signed in", "session.ended": "Signed out",
}

// audit says who has signed in or out, or sent another form, and what came of it: of those whom the cluster knows, so
// that nobody else writes lines here. What they typed is not in it.
func (r *request) audit(s screen, v view) {
	if s.Method != http.MethodPost && r.event == "" || r.username == "" || r.dashboard.config.Audit == nil {
		return
	}
	organization := ""
	if r.person != nil {
		organization = r.Organization().Name
	}
	event := cmp.Or(r.event, "form.sent")
	r.dashboard.config.Audit.Info(eventTexts[event], "event", event, "requestId", r.id, "person", r.username,
		"organization", organization, "screen", s.Path, "status", cmp.Or(v.Status, http.StatusOK),
		"client", r.Address().String())
}

// run finds out who it is, reads the form, and shows the screen. A panic becomes an error, so that somebody sees a page
// with the request's id.
func (r *request) run(s screen) (v view, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		// Whatever the screen came to is thrown away if the session ended meanwhile, or if this replica can't be sure of it
		// any more: the person may not be who is to see it. It stands here so that it is asked after a panic as well, since a
		// request that was let in has to be ended.
		if cut := r.admitted.End(); cut != nil {
			v, err = view{}, cut
		}
	}()
	if s.Access != anyone {
		if err := r.admit(); err != nil {
			return view{}, err
		}
		// Not only before the first choice: one that was deleted since, or made again under its name, is not theirs any more
		// (session.Manager.Find).
		if s.Access == inOrganization && r.person.Organization.ID == "" {
			if r.http.Method != http.MethodGet { // where a form was sent to, there may be no page
				return goTo("/organizations")
			}
			return goTo("/organizations?next=" + url.QueryEscape(r.here()))
		}
	}
	if r.http.Method == http.MethodPost {
		// After admit: of whoever is not let in, nothing is read. ParseForm leaves a body alone that is no form, so that
		// handOver reads its JSON within the same bound.
		r.http.Body = http.MaxBytesReader(r.writer, r.http.Body, maxForm)
		if err := r.http.ParseForm(); err != nil {
			return view{}, errors.Join(errBadForm, err)
		}
		// Not Form, which has the address's query as well: a link must not add to what somebody sends.
		r.form = r.http.PostForm
		if s.OfPage && !r.isOpen(r.form) {
			return view{}, errOtherOrganization
		}
	}
	return s.Show(r)
}

// organizationField is where a form or an address has the id of the organization that it is of. Which one is open is
// the session's: in another window, or for somebody else who was sent the address, it may be another one.
const organizationField = "organization"

// isOpen tells whether the active organization is the one that is meant.
func (r *request) isOpen(meant url.Values) bool {
	return meant.Get(organizationField) == r.Organization().ID
}

// here is where the request leads back to when its person has signed in or chosen an organization. A key that somebody
// has typed into the search stays in no address: the list itself would have taken it out. Nor does it say any more that
// the page had asked for itself: whoever comes back is there.
func (r *request) here() string {
	u := *r.http.URL
	query := u.Query()
	typed := strings.TrimSpace(query.Get("q"))
	if _, err := r.dashboard.config.KeyFormat.Parse(typed); err == nil {
		query.Set("q", r.dashboard.config.KeyFormat.Hint(typed))
		u.RawQuery = query.Encode()
	}
	if query.Has(againField) {
		query.Del(againField)
		u.RawQuery = query.Encode()
	}
	return u.RequestURI()
}

// admit lets in whoever is signed in, in the order that holds for all callers. A key is not looked at: it would be
// whoever made the browser send it that decides.
func (r *request) admit() error {
	if r.token = r.dashboard.sessionToken(r.http); r.token == "" {
		return errSignedOut
	}
	credentials := admission.Credentials{Session: r.token, From: r}
	// No right is asked for here: each screen needs another one, and asks for it by may or has the apiserver decide.
	need := admission.Need{Access: admission.KeyOrSession}
	if err := r.dashboard.config.Admission.Admit(r.http.Context(), r.now, credentials, need, &r.admitted); err != nil {
		return err
	}
	r.person, _ = r.admitted.Session().(*session.Person)
	if r.person == nil {
		return errSignedOut
	}
	r.username = r.person.Username
	return nil
}
