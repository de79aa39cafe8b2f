// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import "github.com/letmepost/letmepost-operator/internal/caller"

// View is what one caller reaches of the database. It can be used by any number of goroutines.
type View struct {
	db *DB
	scope
}

// scope is which rows a caller reaches. Every row carries a real organization, so the zero value reaches none: to
// forget to admit somebody is to show them nothing.
type scope struct {
	organization, environment string
	profile                   string // "": all of them
	actor                     string // caller.Actor.Ref, which is what the columns named key_id hold
}

// View returns what a caller reaches. The zero Caller reaches nothing.
func (db *DB) View(c *caller.Caller) *View {
	if c.Nobody() {
		return &View{db: db}
	}
	return &View{db: db, scope: scope{
		organization: c.Organization.ID,
		environment:  string(c.Environment),
		profile:      c.ProfileID(),
		actor:        c.Actor.Ref(),
	}}
}

// Within narrows a view to one profile. A view that is narrowed to two reaches nothing.
func (v *View) Within(profileID string) *View {
	if !isID(profileID) || !v.includes(profileID) {
		return &View{db: v.db}
	}
	narrow := *v
	narrow.profile = profileID
	return &narrow
}

// empty tells whether no row can be reached.
func (s scope) empty() bool { return s.organization == "" }

// includes tells whether a row of a profile would be reached. Statements that write a profile have no condition for it
// and are asked this first.
func (s scope) includes(profileID string) bool {
	return !s.empty() && (s.profile == "" || s.profile == profileID)
}
