// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/url"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// profile is a Profile as the API shows it.
type profile struct {
	ID        string    `json:"id" doc:"UID of the Profile."`
	Name      string    `json:"name" doc:"Its display name."`
	Slug      string    `json:"slug" doc:"Its resource name."`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

func profileOf(p *caller.Profile) profile {
	return profile{
		ID:        p.ID,
		Name:      p.DisplayName,
		Slug:      p.Name,
		CreatedAt: p.CreatedAt.UTC(),
		UpdatedAt: p.UpdatedAt.UTC(),
	}
}

func (a *API) listProfiles(r *request) (page[profile], error) {
	return paginate(r, a.config.Directory.Profiles(r.caller()), profilePosition, profileOf)
}

func profilePosition(p *caller.Profile) position { return position{p.CreatedAt, p.ID} }

func (a *API) getProfile(r *request) (profile, error) {
	p, err := a.reachedProfile(r, r.param)
	if err != nil {
		return profile{}, err
	}
	return profileOf(p), nil
}

// reachedProfile looks only among what the caller may see. So a profile of somebody else is not found in the same way,
// and after the same search, as one that never was.
func (a *API) reachedProfile(r *request, id string) (*caller.Profile, error) {
	visible := a.config.Directory.Profiles(r.caller())
	i := slices.IndexFunc(visible, func(p *caller.Profile) bool { return p.ID == id })
	if i < 0 {
		return nil, errNoProfile
	}
	return visible[i], nil
}

// defaultProfile is the slug of the profile that things belong to which are made without one.
const defaultProfile = "default"

// profileFor returns the id of the profile that something new belongs to: the one that is named, else that of the key,
// else the organization's profile "default". Without that one it is "", and the thing is the organization's alone.
func (a *API) profileFor(r *request, named *string) (string, error) {
	caller := r.caller()
	switch {
	case named != nil:
		p, err := a.reachedProfile(r, *named)
		if err != nil {
			return "", err
		}
		return p.ID, nil
	case caller.Profile != nil:
		return caller.Profile.ID, nil
	}
	for _, p := range a.config.Directory.Profiles(caller) {
		if p.Name == defaultProfile {
			return p.ID, nil
		}
	}
	return "", nil
}

// viewWithin is view, narrowed to the profile that is named, if one is.
func (a *API) viewWithin(r *request, named *string) (*store.View, error) {
	if named == nil {
		return a.view(r), nil
	}
	p, err := a.reachedProfile(r, *named)
	if err != nil {
		return nil, err
	}
	return a.view(r).Within(p.ID), nil
}

// viewOfQuery is viewWithin, of the parameter profileId.
func (a *API) viewOfQuery(r *request, query url.Values) (*store.View, error) {
	if !query.Has(profileParam.name) {
		return a.view(r), nil
	}
	named := query.Get(profileParam.name)
	return a.viewWithin(r, &named)
}

var profileParam = parameter{name: "profileId", description: "Only what belongs to this profile."}
