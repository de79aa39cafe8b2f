// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"maps"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// whoami describes the key of a request. Clients ask for it more than for all else, and nothing of it needs the
// database: it is what is measured when the price of admission is (make bench). Every member is always there, so that a
// client needs no case for one that is missing.
type whoami struct {
	Organization organizationRef   `json:"organization"`
	Profile      *profileRef       `json:"profile" doc:"The profile that the key is pinned to; null: it reaches the whole organization."`
	Environment  string            `json:"environment" enum:"live,test"`
	Scopes       []string          `json:"scopes" doc:"What the key may do; those of a domain are its owner's own."`
	Claims       map[string]string `json:"claims" doc:"What the key's owner has services told of whoever has it, text by name."`
	Key          keyRef            `json:"key"`
	ExpiresAt    *time.Time        `json:"expiresAt" doc:"From this moment on the key is refused; null: never."`
}

// organizationRef is a namespace. Its id and not its name is what to store: a namespace that is deleted and made again
// is another organization.
type organizationRef struct {
	ID   string `json:"id" doc:"UID of the namespace."`
	Name string `json:"name" doc:"Name of the namespace."`
}

// profileRef is a Profile, with the name that people gave it. The name may change, and the id does not.
type profileRef struct {
	ID   string `json:"id" doc:"UID of the Profile."`
	Name string `json:"name" doc:"Its display name."`
}

// keyRef is the key, by what is known of it here: the process has never had the key itself but for this request.
type keyRef struct {
	ID   string `json:"id" doc:"UID of the ApiKey."`
	Name string `json:"name" doc:"Its resource name."`
	Hint string `json:"hint" doc:"What may be shown of the key: its prefix, an ellipsis, and its last four characters if the server ever saw them."`
}

// appendWhoami is of keys alone (its route is KeyOnly), so Actor is one.
func (a *API) appendWhoami(r *endpoint.Request, b []byte) []byte {
	c := r.Caller()
	w := whoami{
		Organization: organizationRef{ID: c.Organization.ID, Name: c.Organization.Name},
		Environment:  string(c.Environment),
		Scopes:       c.Scopes.Names(),
		Claims:       c.Claims.Map(),
		Key:          keyRef{ID: c.Actor.ID, Name: c.Actor.Name},
		ExpiresAt:    timeOrNull(c.Actor.ExpiresAt),
	}
	if p := c.Profile; p != nil {
		w.Profile = &profileRef{ID: p.ID, Name: p.DisplayName}
	}
	return w.appendWith(b, whoamiParts{
		scopes: c.Scopes.JSON(),
		prefix: a.config.KeyFormat.Prefix(c.Environment),
		// Four characters of 38: enough to tell one's own keys apart, and of no help to guess one.
		last4: c.Actor.Last4(),
	})
}

// whoamiParts are what of a whoami need not be written anew, or looked at as a whole.
type whoamiParts struct {
	// scopes are w.Scopes in JSON. Most keys have one of a few sets, and to write six names anew was a third of what it
	// takes to write w.
	scopes string
	// prefix and last4 are the parts of w.Key.Hint. As one text, its ellipsis would have each character of it decoded.
	prefix, last4 string
}

// AppendJSON is what encoding/json does with w, which takes a third of such a request's time. A field that is added to
// the shape has to be added here: a test compares the bytes of the two.
func (w *whoami) AppendJSON(b []byte) []byte { return w.appendWith(b, whoamiParts{}) }

// appendWith writes what k has in place of what w has of the same; the zero k has nothing.
func (w *whoami) appendWith(b []byte, k whoamiParts) []byte {
	b = append(b, `{"organization":`...)
	b = appendPair(b, w.Organization.ID, w.Organization.Name)
	b = append(b, `},"profile":`...)
	if w.Profile == nil {
		b = append(b, `null`...)
	} else {
		b = append(appendPair(b, w.Profile.ID, w.Profile.Name), '}')
	}
	b = append(b, `,"environment":`...)
	b = endpoint.AppendString(b, w.Environment)
	b = append(b, `,"scopes":`...)
	if k.scopes != "" {
		b = append(b, k.scopes...)
	} else {
		b = appendStrings(b, w.Scopes)
	}
	b = append(b, `,"claims":{`...)
	if len(w.Claims) > 0 { // most have none, and to sort none allocates
		b = appendClaims(b, w.Claims)
	}
	b = append(b, `},"key":`...)
	b = appendPair(b, w.Key.ID, w.Key.Name)
	b = append(b, `,"hint":"`...)
	if k.prefix != "" {
		b = endpoint.AppendCharacters(b, k.prefix)
		b = endpoint.AppendCharacters(append(b, key.HintGap...), k.last4)
	} else {
		b = endpoint.AppendCharacters(b, w.Key.Hint)
	}
	b = endpoint.AppendTimeOrNull(append(b, `"},"expiresAt":`...), w.ExpiresAt)
	return append(b, '}')
}

// appendPair appends an object that begins with an id and a name, and leaves it open: organization, profile and key do.
func appendPair(b []byte, id, name string) []byte {
	b = append(b, `{"id":`...)
	b = endpoint.AppendString(b, id)
	b = append(b, `,"name":`...)
	return endpoint.AppendString(b, name)
}

// appendStrings appends an array.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = endpoint.AppendString(b, s)
	}
	return append(b, ']')
}

// appendClaims appends the members of an object, in encoding/json's order.
func appendClaims(b []byte, claims map[string]string) []byte {
	for i, name := range slices.Sorted(maps.Keys(claims)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(endpoint.AppendString(b, name), ':')
		b = endpoint.AppendString(b, claims[name])
	}
	return b
}
