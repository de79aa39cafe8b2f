// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn"
)

// profile is a Profile as the API shows it.
type profile struct {
	ID        string    `json:"id" doc:"UID of the Profile."`
	Name      string    `json:"name" doc:"Its display name."`
	Slug      string    `json:"slug" doc:"Its resource name."`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

func profileOf(p *authn.Profile) profile {
	return profile{
		ID:        string(p.ID),
		Name:      p.DisplayName,
		Slug:      p.Name,
		CreatedAt: p.CreatedAt.UTC(),
		UpdatedAt: p.UpdatedAt.UTC(),
	}
}

func (a *API) listProfiles(r *request) (page[profile], error) {
	return paginate(r, a.config.Directory.Profiles(r.caller()), profilePosition, profileOf)
}

func profilePosition(p *authn.Profile) position { return position{p.CreatedAt, string(p.ID)} }

// getProfile looks only among what the caller may see. So a profile of somebody else is not found in the same way, and
// after the same search, as one that never was.
func (a *API) getProfile(r *request) (profile, error) {
	visible := a.config.Directory.Profiles(r.caller())
	i := slices.IndexFunc(visible, func(p *authn.Profile) bool { return string(p.ID) == r.param })
	if i < 0 {
		return profile{}, errNoProfile
	}
	return profileOf(visible[i]), nil
}
