// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"encoding/json"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
)

// introspected is what a service is told of a key (RFC 7662, section 2.2). The zero one is of every key that is not
// good. The names of its members are for good, and docs/guard.md lists them. What a key need not have is left out,
// and is never null.
type introspected struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope"`      // with spaces between them
	ClientID  string `json:"client_id"`  // namespace/name of the ApiKey
	TokenType string `json:"token_type"` // of RFC 6750
	Expires   int64  `json:"exp,omitempty"`
	Issued    int64  `json:"iat,omitempty"`
	Subject   string `json:"sub"` // the ApiKey's UID, which no other key ever has

	// Members of our own, by the names that Envoy's dynamic metadata has.
	Organization   string `json:"organization"`
	OrganizationID string `json:"organization_id"`
	Profile        string `json:"profile,omitempty"`
	ProfileID      string `json:"profile_id,omitempty"`
	Environment    string `json:"environment"`
	Key            string `json:"key"`
	KeyID          string `json:"key_id"`

	Claims map[string]string `json:"claims,omitempty"` // what the key's owner has services told of whoever has it
}

// notActive is all that is said of a key that is not good. No other member may tell why (RFC 7662, section 2.2), so
// that of another's key nobody learns more than that it opens nothing for them.
const notActive = `{"active":false}`

// describe is what there is to say of a key that is good. There is no iss and no aud: nobody has signed it, and whom it
// is for is what its scopes say.
func describe(who *caller.Caller, minted time.Time) introspected {
	said := introspected{
		Active: true, Scope: who.Scopes.String(), ClientID: who.Organization.Name + "/" + who.Actor.Name,
		TokenType: "Bearer", Expires: seconds(who.Actor.ExpiresAt), Issued: seconds(minted), Subject: who.Actor.ID,
		Organization: who.Organization.Name, OrganizationID: who.Organization.ID, Environment: string(who.Environment),
		Key: who.Actor.Name, KeyID: who.Actor.ID,
	}
	if who.Claims != (caller.Claims{}) {
		said.Claims = who.Claims.Map()
	}
	if who.Profile != nil {
		said.Profile, said.ProfileID = who.Profile.Name, who.Profile.ID
	}
	return said
}

// seconds is a time as RFC 7519 writes it; 0: there is none. The zero time is far below 0.
func seconds(t time.Time) int64 {
	return max(0, t.Unix())
}

func (s introspected) encode() []byte {
	if !s.Active {
		return []byte(notActive)
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // texts and numbers
	}
	return text
}
