// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"errors"
	"net/http"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// connectScreens are about how an account is connected, for the first time or again: that is the same, and it keeps its
// id. No account can be called "-".
func (d *Dashboard) connectScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/accounts/-/connect/{platform}", Show: d.connectForm},
		{Method: http.MethodPost, Path: "/accounts/-/connect/{platform}", OfPage: true, Show: d.connect},
		// A browser comes back here from its platform, by way of the API's callback. That it changes something though it is
		// no form is what the state in its address is for: it is good once, and for who has begun alone.
		{Method: http.MethodGet, Path: "/accounts/-/connect/{platform}/returned", Show: d.connectReturned},
	}
}

// connectData is the form.
type connectData struct {
	Offer    connecting.Offer
	Profiles []*caller.Profile
	Profile  string // id of the one that it is for; "": the whole organization
	// Fields are the platform's. None of them has a value again that opens an account.
	Fields []connectField
	Once   string // id of the form, see change
	Wrong  string // why it did not work, in the platform's words or ours; ""
	Next   string // what to do about that; ""
	// Leave is where the browser is to go on, at the platform; "": nowhere.
	Leave string
}

// ReturnWithin is how long the browser has there, in words.
func (connectData) ReturnWithin() string { return connection.ReturnWithinWords }

// connectField is a field of a platform's, and what was typed. Of what opens an account, nothing is shown again.
type connectField struct {
	platform.Field
	Value string
}

// connectForm takes the Profile from its address: the link on an account's page has that of the account, which keeps
// its id only if it is connected again for the same one.
func (d *Dashboard) connectForm(r *request) (view, error) {
	if err := r.may("create", "accounts"); err != nil {
		return view{}, err
	}
	to, err := d.config.Connecting.Connectable(r.http.PathValue("platform"))
	if err != nil {
		return view{}, err
	}
	return d.connectView(r, to, connectData{Profile: cut(r.http.URL.Query().Get("profile"), maxNamed)}, 0), nil
}

// connectView shows the form, with what was typed. It has a new id each time: what was refused may be sent again, and
// is not taken for done.
func (d *Dashboard) connectView(r *request, to platform.Platform, data connectData, status int) view {
	data.Profiles = d.config.Directory.Profiles(r.Caller())
	data.Once = d.config.NewRequestID()
	for _, o := range d.config.Connecting.Offers() {
		if o.Name == to.Name {
			data.Offer = o
		}
	}
	fields := to.Fields
	if len(fields) == 0 { // in a browser alone
		data.Offer.Title = to.Title
	}
	for _, f := range fields {
		shown := connectField{Field: f}
		// r.form is nil where nobody has sent one yet, and then nothing was typed.
		if f.Type != platform.TypePassword {
			shown.Value = cut(r.form.Get("field."+f.Name), connecting.MaxFilledIn)
		}
		data.Fields = append(data.Fields, shown)
	}
	return view{Page: "connect", Title: "connect.title", Data: data, Status: status}
}

// connect connects an account by what was typed, or sends the browser to the platform.
func (d *Dashboard) connect(r *request) (view, error) {
	if err := r.may("create", "accounts"); err != nil {
		return view{}, err
	}
	to, err := d.config.Connecting.Connectable(r.http.PathValue("platform"))
	if err != nil {
		return view{}, err
	}
	data := connectData{Profile: r.form.Get("profile")}
	// The id comes with the form: one of another organization, or of none, must not come into a row.
	if data.Profile != "" && r.Caller().FindProfile(d.config.Directory, data.Profile) == nil {
		data.Profile = ""
		return d.notConnected(r, to, data, posting.ErrNoProfile)
	}
	filledIn, wrong := d.filledIn(r, to)
	switch {
	// Before what is missing is told: to be sent to the platform takes no password here, as it asks for that itself.
	case r.form.Get("method") == platform.ByOAuth, len(to.Fields) == 0:
		if data.Leave, err = d.leave(r, to, data.Profile, filledIn); err != nil {
			return d.notConnected(r, to, data, err)
		}
		return d.connectView(r, to, data, 0), nil
	case wrong != "":
		data.Wrong = wrong
		return d.connectView(r, to, data, http.StatusUnprocessableEntity), nil
	}
	var got connecting.Connected
	err = r.change(func(op *write.Operation) (err error) {
		got, err = d.config.Connecting.Complete(r.Context(), op, to, data.Profile, filledIn, done)
		return err
	})
	if err != nil {
		return d.notConnected(r, to, data, err)
	}
	return connected(got)
}

// connected goes on to the accounts; by way of what the platform noticed on connecting, which is told only now, as it
// is kept nowhere. Whoever sends the form again is told no more than that the account is connected.
func connected(got connecting.Connected) (view, error) {
	if len(got.Warnings) == 0 {
		return told("/accounts", "notice.connected")
	}
	return view{Page: "connected", Title: "connected.title", Data: got}, nil
}

// notConnected shows the form with why it did not work, if that is somebody's to mend who looks at it. Whatever else
// it is, it is told on a page of its own (problems.go).
func (d *Dashboard) notConnected(r *request, to platform.Platform, data connectData, err error) (view, error) {
	var refused *problem.Problem
	switch {
	case errors.Is(err, posting.ErrNoProfile): // whose words are for programs
		data.Wrong = d.pages.text("connect.noProfile")
	case errors.As(err, &refused) && refused.Kind != problem.Unavailable:
		data.Wrong, data.Next = refused.Message, refused.Remediation
	default:
		return view{}, err
	}
	return d.connectView(r, to, data, http.StatusUnprocessableEntity), nil
}

// filledIn is what was typed of what the platform asks for; wrong, what of it can't be. Nothing but the platform's
// fields is read, whatever else is sent.
func (d *Dashboard) filledIn(r *request, to platform.Platform) (filledIn map[string]string, wrong string) {
	filledIn = map[string]string{}
	for _, f := range to.Fields {
		value := r.form.Get("field." + f.Name)
		switch {
		case len(value) > connecting.MaxFilledIn:
			wrong = d.pages.text("connect.tooLong", f.Label)
		case value != "":
			filledIn[f.Name] = value
		case f.Required && wrong == "":
			wrong = d.pages.text("connect.missing", f.Label)
		}
	}
	return filledIn, wrong
}

// leave begins a connection in the browser. The person follows a link to the platform: a form of this page can't lead
// anywhere else, by its Content-Security-Policy.
func (d *Dashboard) leave(
	r *request, to platform.Platform, profileID string, filledIn map[string]string,
) (address string, err error) {
	// The form has the fields of both ways. What is for the other one, such as a password, is not handed on: the platform
	// asks for its own.
	for _, f := range to.Fields {
		if !f.BeforeBrowser {
			delete(filledIn, f.Name)
		}
	}
	// Nothing is claimed by the form's id: to begin once more harms nobody, and the answer is for this browser alone.
	op := d.config.Writes.Start(r.rows(), r.id)
	none := func(platform.Begun) (store.Stored, error) { return store.Stored{}, nil }
	begun, err := d.config.Connecting.Begin(r.Context(), r.Caller(), &op, to, connecting.Wish{
		ProfileID: profileID, Method: platform.ByOAuth, FilledIn: filledIn,
	}, none)
	if err != nil {
		return "", err
	}
	if begun.AuthorizationURL == nil {
		return "", connecting.ErrNotEnabled
	}
	return begun.AuthorizationURL.String(), nil
}

// connectReturned connects the account that the browser has come back from. It is who is signed in now that must have
// begun, in the organization that is open now, and they must still be allowed to.
func (d *Dashboard) connectReturned(r *request) (view, error) {
	if err := r.may("create", "accounts"); err != nil {
		return view{}, err
	}
	to, err := d.config.Connecting.Connectable(r.http.PathValue("platform"))
	if err != nil {
		return view{}, err
	}
	var got connecting.Connected
	begun, err := d.takeBegun(r, to)
	if err == nil {
		// There is no form here, whose id could be claimed. Once is what takeBegun makes sure of.
		op := d.config.Writes.Start(r.rows(), r.id)
		got, err = d.config.Connecting.Return(r.Context(), &op, to, begun, r.http.URL.Query())
	}
	if err != nil {
		return d.notConnected(r, to, connectData{Profile: begun.ProfileID}, err)
	}
	return connected(got)
}

// takeBegun finds what the person has begun, whose browser is back. What somebody else has begun is nobody's from then
// on, and told alike.
func (d *Dashboard) takeBegun(r *request, to platform.Platform) (connection.Begun, error) {
	begun, err := d.config.Connecting.Take(r.Context(), to.Name, r.http.URL.Query().Get("state"))
	if errors.Is(err, connecting.ErrNoneBegun) {
		if limited := d.config.Admission.Failed(r.now, r); limited != nil { // who does it often is guessing
			return begun, limited
		}
	}
	switch {
	case err != nil:
		return begun, err
	case begun.Actor != r.Caller().Actor.Ref(), begun.OrganizationID != r.Organization().ID:
		return connection.Begun{}, connecting.ErrNoneBegun
	// It was there when they began, and may have been deleted while the browser was away.
	case begun.ProfileID != "" && r.Caller().FindProfile(d.config.Directory, begun.ProfileID) == nil:
		return connection.Begun{}, posting.ErrNoProfile
	}
	return begun, nil
}
