// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package caller

import "slices"

// Directory holds the profiles there are to see for one caller, newest first (creation time, then id): nothing that the
// caller may not see is in what it returns. The slice is shared and must not be changed.
type Directory interface {
	Profiles(*Caller) []*Profile
}

// DefaultProfile is the resource name of the profile that things belong to which are made without naming one.
const DefaultProfile = "default"

// FindProfile returns the profile with this id, nil without it. It looks only among what the caller may see: so a
// profile of somebody else is not found in the same way, and after the same search, as one that never was.
func (c *Caller) FindProfile(in Directory, id string) *Profile {
	visible := in.Profiles(c)
	i := slices.IndexFunc(visible, func(p *Profile) bool { return p.ID == id })
	if i < 0 {
		return nil
	}
	return visible[i]
}

// HomeProfileID returns the id of the profile that something new of the caller's belongs to unless one is named: their
// own, else the organization's profile "default". Without that one it is "", and the thing is the organization's alone.
func (c *Caller) HomeProfileID(in Directory) string {
	if c.Profile != nil {
		return c.Profile.ID
	}
	for _, p := range in.Profiles(c) {
		if p.Name == DefaultProfile {
			return p.ID
		}
	}
	return ""
}
