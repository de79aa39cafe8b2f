// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/url"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// profile is a Profile as the API shows it. The reference has name and slug for what Kubernetes calls display name and
// name: to find it by kubectl, take the slug.
type profile struct {
	ID        string    `json:"id" doc:"UID of the Profile."`
	Name      string    `json:"name" doc:"Its display name."`
	Slug      string    `json:"slug" doc:"Its resource name."`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// profileOf shows a profile. Times of Kubernetes come in the process' time zone.
func profileOf(p *caller.Profile) profile {
	return profile{
		ID:        p.ID,
		Name:      p.DisplayName,
		Slug:      p.Name,
		CreatedAt: p.CreatedAt.UTC(),
		UpdatedAt: p.UpdatedAt.UTC(),
	}
}

// listProfiles lists from memory. A key that is pinned to a profile sees that one alone. Profiles of both environments
// are the same: an organization has one set of them.
func (a *API) listProfiles(r *endpoint.Request) (endpoint.Page[profile], error) {
	return endpoint.Listed[*caller.Profile, profile]{
		Position: func(p *caller.Profile) store.Position { return store.Position{At: p.CreatedAt, ID: p.ID} },
		Show:     profileOf,
		Size:     func(p *caller.Profile) int { return shortItem + len(p.Name) + len(p.DisplayName) },
	}.Items(r, a.config.Directory.Profiles(r.Caller()))
}

// getProfile answers from the index, as listProfiles does.
func (a *API) getProfile(r *endpoint.Request) (profile, error) {
	p, err := a.findProfile(r, r.Param())
	if err != nil {
		return profile{}, err
	}
	return profileOf(p), nil
}

// findProfile returns the profile with an id that the caller has named, if the caller may see it. One that belongs to
// somebody else, and one that never was, are the same mistake: 404, wherever it is named. The Caller looks, since it
// knows whether it is confined to a profile; the Directory only lists.
func (a *API) findProfile(r *endpoint.Request, id string) (*caller.Profile, error) {
	p := r.Caller().FindProfile(a.config.Directory, id)
	if p == nil {
		return nil, posting.ErrNoProfile
	}
	return p, nil
}

// profileFor returns the id of the profile that something new belongs to: the one that is named, or else the caller's
// home (see caller.HomeProfileID). named is nil if none is; "" is a name, of no profile.
func (a *API) profileFor(r *endpoint.Request, named *string) (string, error) {
	if named == nil {
		return r.Caller().HomeProfileID(a.config.Directory), nil
	}
	p, err := a.findProfile(r, *named)
	if err != nil {
		return "", err
	}
	return p.ID, nil
}

// viewOfQuery is what the caller reaches, narrowed to the profile that the parameter profileId names, if there is one.
// An empty profileId is one that does not exist, and not none: a script whose variable is not set must not list
// everything. A key that is pinned may name its own profile, which changes nothing.
func (a *API) viewOfQuery(r *endpoint.Request, query url.Values) (*store.View, error) {
	if !query.Has(profileParam.Name) {
		return r.View(), nil
	}
	p, err := a.findProfile(r, query.Get(profileParam.Name))
	if err != nil {
		return nil, err
	}
	return r.View().Within(p.ID), nil
}

// profileParam is of all lists of what belongs to a profile. It narrows and never widens: a key that is pinned to
// another profile gets a 404.
var profileParam = endpoint.Parameter{Name: "profileId", Description: "Only what belongs to this profile."}
