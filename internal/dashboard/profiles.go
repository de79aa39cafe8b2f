// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// profilesScreens are about what keys can be pinned to. No Profile can be called "-".
func (d *Dashboard) profilesScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/profiles", Show: d.profiles},
		{Method: http.MethodGet, Path: "/profiles/-/new", Show: d.newProfile},
		{Method: http.MethodPost, Path: "/profiles/-/new", OfPage: true, Show: d.createProfile},
		{Method: http.MethodGet, Path: "/profiles/{name}", Show: d.profile},
		{Method: http.MethodGet, Path: "/profiles/{name}/delete", Show: d.profileToDelete},
		{Method: http.MethodPost, Path: "/profiles/{name}/delete", Show: d.deleteProfile},
	}
}

// profilesOnPage bounds the list. Whoever has more finds one by its name.
const profilesOnPage = 200

type profilesData struct {
	Query     string
	Profiles  []profileRow
	More      int  // how many are not shown
	Any       bool // there are some, found or not
	Creatable bool // the person may make one
}

// profileRow is one line of the list.
type profileRow struct {
	*caller.Profile
	Keys int
}

// profiles lists them from memory, and so as this replica knows them: one that was made a moment ago may not be there.
func (d *Dashboard) profiles(r *request) (view, error) {
	if err := r.may("list", "profiles"); err != nil {
		return view{}, err
	}
	// By UIDs: keys that are bound to an earlier Profile of this name are none of this one's.
	keys := map[types.UID]int{}
	for _, k := range d.config.Directory.Keys(r.Caller()) {
		keys[k.ProfileID()]++
	}
	query := r.http.URL.Query()
	data := profilesData{Query: cut(query.Get("q"), endpoint.MaxText)}
	var err error
	if data.Creatable, err = r.offers("create", "profiles"); err != nil {
		return view{}, err
	}
	for _, p := range d.config.Directory.Profiles(r.Caller()) {
		data.Any = true
		wanted := strings.ToLower(data.Query)
		switch {
		case !strings.Contains(p.Name, wanted) && !strings.Contains(strings.ToLower(p.DisplayName), wanted):
		case len(data.Profiles) == profilesOnPage:
			data.More++
		default:
			data.Profiles = append(data.Profiles, profileRow{p, keys[types.UID(p.ID)]})
		}
	}
	return view{Page: "profiles", Title: "profiles.title", Data: data}, nil
}

// profileData is what the page of one Profile shows, and the one that asks whether it is to be deleted. Unlike those
// of a profileRow, its keys are counted by the controller.
type profileData struct {
	*v1alpha1.Profile
	// Keys that are bound to it: whether they are served or not, all of them are refused for good when it goes.
	Keys int32
	// What hangs on it in the database; nil: the person may not see it.
	Accounts, Queued, Media *store.Count
	// Deletable tells that the person may delete Profiles.
	Deletable bool
}

// profile asks the apiserver, as the person: what they may not get, they are not shown. Of what hangs on it, the page
// has what is queued; the page that deletes it has all.
func (d *Dashboard) profile(r *request) (view, error) {
	p, err := r.person.Cluster.Profile(r.Context(), r.Organization().Name, r.http.PathValue("name"))
	if err != nil {
		return view{}, err
	}
	data := profileData{Profile: p, Keys: p.Status.Keys}
	of := r.rows().Within(string(p.UID))
	if data.Queued, err = r.counted("posts", of.CountQueued); err != nil {
		return view{}, err
	}
	if data.Deletable, err = r.offers("delete", "profiles"); err != nil {
		return view{}, err
	}
	return view{Page: "profile", Title: "profile.title", Data: data}, nil
}

// profileToDelete shows what hangs on a Profile before it is deleted. Each count takes a right of its own, and is
// left out without it: what is not shown may still be there.
func (d *Dashboard) profileToDelete(r *request) (view, error) {
	p, err := r.person.Cluster.Profile(r.Context(), r.Organization().Name, r.http.PathValue("name"))
	if err != nil {
		return view{}, err
	}
	data := profileData{Profile: p, Keys: p.Status.Keys}
	of := r.rows().Within(string(p.UID))
	for _, what := range []struct {
		resource string
		count    func(context.Context) (store.Count, error)
		to       **store.Count
	}{
		{"accounts", of.CountAccounts, &data.Accounts},
		{"posts", of.CountQueued, &data.Queued},
		{"media", of.CountMedia, &data.Media},
	} {
		if *what.to, err = r.counted(what.resource, what.count); err != nil {
			return view{}, err
		}
	}
	return view{Page: "profile-delete", Title: "profileDelete.title", Data: data}, nil
}

// counted counts what the person may list; nil: they may not. It goes by offers, as all numbers do: that is one request
// for all kinds of a namespace, where may would be one for each, and a page that counts three would be over maxCalls.
func (r *request) counted(resource string, count func(context.Context) (store.Count, error)) (*store.Count, error) {
	if allowed, err := r.offers("list", resource); !allowed {
		return nil, err
	}
	n, err := count(r.Context())
	return &n, err
}

// deleteProfile deletes the Profile that was looked at, and no other that has its name by now.
func (d *Dashboard) deleteProfile(r *request) (view, error) {
	name, id := r.http.PathValue("name"), types.UID(r.form.Get("uid"))
	if id == "" {
		return view{}, errBadForm
	}
	if err := r.person.Cluster.DeleteProfile(r.Context(), r.Organization().Name, name, id); err != nil {
		return view{}, err
	}
	return told("/profiles", "notice.profileDeleted")
}

// profileForm is what somebody has typed. MaxKeyLifetime and Window are durations as Go writes them, such as 720h.
type profileForm struct {
	Name, DisplayName, Description, MaxKeyLifetime, Requests, Window string

	Wrong map[string]string // by the field of the form; "": of none of them
	Fine  bool              // it was checked, and the cluster would take it
}

// newProfile asks for the right before the form is filled in: to be refused after that helps nobody.
func (d *Dashboard) newProfile(r *request) (view, error) {
	if err := r.may("create", "profiles"); err != nil {
		return view{}, err
	}
	return profileFormView(profileForm{}, 0), nil
}

// profileFormView shows the form with what was typed; status 0: 200.
func profileFormView(f profileForm, status int) view {
	return view{Page: "profile-new", Title: "profileNew.title", Data: f, Status: status}
}

// createProfile creates what was typed, or only has the cluster check it. What is wrong is told in the apiserver's own
// words, each at its field; what can't even be sent, because it is no number or no duration, in ours.
func (d *Dashboard) createProfile(r *request) (view, error) {
	f := profileForm{
		Name: r.form.Get("name"), DisplayName: r.form.Get("displayName"), Description: r.form.Get("description"),
		MaxKeyLifetime: r.form.Get("maxKeyLifetime"), Requests: r.form.Get("requests"), Window: r.form.Get("window"),
		Wrong: map[string]string{},
	}
	p := f.profile(r.Organization().Name, d.pages.text)
	if len(f.Wrong) > 0 {
		return profileFormView(f, http.StatusUnprocessableEntity), nil
	}
	// A dry run has the same checks as the creation, those of admission policies among them.
	check := r.form.Get("check") != ""
	// Unlike other forms, this one has no id. A Profile's name is unique: sent twice it makes one, and the second answer
	// says that there is one of this name.
	made, err := r.person.Cluster.CreateProfile(r.Context(), p, check)
	switch {
	case apierrors.IsInvalid(err), apierrors.IsAlreadyExists(err), apierrors.IsBadRequest(err):
		f.Wrong = wrongFields(err, profileFields)
		return profileFormView(f, http.StatusUnprocessableEntity), nil
	case err != nil:
		return view{}, err
	case check:
		f.Fine = true
		return profileFormView(f, 0), nil
	}
	return told("/profiles/"+url.PathEscape(made.Name), "notice.profileMade")
}

// profileFields are the fields of a Profile, with those of the form. The longest that the apiserver names counts
// (fieldOf); of a rate that is wrong as a whole, the window says so.
var profileFields = map[string]string{
	"metadata.name": "name", "spec.displayName": "displayName", "spec.description": "description",
	"spec.maxKeyLifetime": "maxKeyLifetime", "spec.defaultRateLimit.requests": "requests",
	"spec.defaultRateLimit.window": "window", "spec.defaultRateLimit": "window",
}

// profile makes of what was typed what is sent. What can't be read is put into f.Wrong, and then nothing is sent.
func (f *profileForm) profile(namespace string, text func(string, ...any) string) *v1alpha1.Profile {
	p := &v1alpha1.Profile{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: strings.TrimSpace(f.Name)},
		Spec: v1alpha1.ProfileSpec{
			DisplayName: strings.TrimSpace(f.DisplayName), Description: strings.TrimSpace(f.Description),
		},
	}
	duration := func(field, typed string) *metav1.Duration {
		of, err := time.ParseDuration(strings.TrimSpace(typed))
		if err != nil {
			f.Wrong[field] = text("profileNew.noDuration")
		}
		return &metav1.Duration{Duration: of}
	}
	if p.Name == "" {
		f.Wrong["name"] = text("profileNew.noName")
	}
	if strings.TrimSpace(f.MaxKeyLifetime) != "" {
		p.Spec.MaxKeyLifetime = duration("maxKeyLifetime", f.MaxKeyLifetime)
	}
	if strings.TrimSpace(f.Requests+f.Window) != "" {
		requests, err := strconv.ParseInt(strings.TrimSpace(f.Requests), 10, 32)
		if err != nil {
			f.Wrong["requests"] = text("profileNew.noNumber")
		}
		p.Spec.DefaultRateLimit = &v1alpha1.RateLimit{Requests: int32(requests), Window: *duration("window", f.Window)}
	}
	return p
}

// wrongFields is what the apiserver says of an object, by the fields of a form. What is about none of them, or is said
// by an admission policy, stands at "". It is bounded: it may repeat what was typed.
func wrongFields(err error, fields map[string]string) map[string]string {
	const most = 512
	wrong := map[string]string{}
	add := func(field, message string) {
		if message = strings.ToValidUTF8(cut(message, most), ""); wrong[field] != "" {
			message = wrong[field] + " " + message
		}
		if len(wrong[field]) < most {
			wrong[field] = message
		}
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil && apierrors.IsInvalid(err) {
		for _, c := range status.Status().Details.Causes {
			add(fieldOf(c.Field, fields), c.Message)
		}
	}
	if len(wrong) == 0 {
		add("", wordsOf(err))
	}
	return wrong
}
