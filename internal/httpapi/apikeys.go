// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"time"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// apiKey is an ApiKey as the API shows it: what people tell keys apart by, and nothing that helps to guess one. The
// hash is not in it, although it could not be turned back: whoever has it can recognise the key elsewhere. What it
// shows is the index's, and so no older than what this replica decides by.
type apiKey struct {
	ID         string     `json:"id" doc:"UID of the ApiKey."`
	Name       string     `json:"name" doc:"Its resource name."`
	Prefix     string     `json:"prefix" doc:"What the key begins with, such as lmp_live_. It tells the environment."`
	Last4      *string    `json:"last4" doc:"The key's last four characters; null for a key brought by its hash, which the server has never seen."`
	Scopes     []string   `json:"scopes" doc:"What the key may do."`
	ProfileID  *string    `json:"profileId" doc:"The profile that the key is pinned to; null: it reaches the whole organization."`
	CreatedAt  time.Time  `json:"createdAt"`
	LastUsedAt *time.Time `json:"lastUsedAt" doc:"When the API last accepted the key, on any replica, to the minute; a use shows within about a minute. null: never, or it is a key of the other environment, whose API knows."`
	ExpiresAt  *time.Time `json:"expiresAt" doc:"From this moment on the key is refused; null: never."`
}

// listKeys lists from memory, as listProfiles does: what is listed is what this replica goes by. So a key that was
// minted a moment ago may not be there yet. Those of the other environment are, because the two belong to one
// organization. Keys without a hash are not in the index, and so not in the list.
func (a *API) listKeys(r *endpoint.Request) (endpoint.Page[apiKey], error) {
	page, err := endpoint.Listed[*authn.Key, apiKey]{
		Position: func(k *authn.Key) store.Position { return store.Position{At: k.CreatedAt(), ID: string(k.ID())} },
		Show:     a.apiKeyOf,
		Size:     func(k *authn.Key) int { return shortItem + len(k.Name()) + k.Scopes.Length() },
	}.Items(r, a.config.Directory.Keys(r.Caller()))
	if err == nil {
		a.showLastUse(r, page.Data)
	}
	return page, err
}

// shortItem is about how long a key or a profile is as JSON, without the texts that somebody wrote.
const shortItem = 350

// lastUseWithin bounds how long a list of keys waits for the database, which it could do without.
const lastUseWithin = 2 * time.Second

// showLastUse adds what other replicas, and this one before it was started, have seen of keys. While the database is
// away, the list stays what it is: which keys there are is worth more to whoever asks then than when they were used.
func (a *API) showLastUse(r *endpoint.Request, keys []apiKey) {
	if a.config.Uses == nil || len(keys) == 0 {
		return
	}
	ids := make([]string, len(keys))
	for i := range keys {
		ids[i] = keys[i].ID
	}
	ctx, cancel := context.WithTimeout(r.Context(), lastUseWithin)
	defer cancel()
	last, err := a.config.Uses.LastUsed(ctx, r.Caller(), ids...)
	if err != nil {
		a.config.Logger.Warn("keys are listed with what this replica knows of their use", "error", err)
	}
	for i := range keys {
		if at, ok := last[keys[i].ID]; ok {
			keys[i].LastUsedAt = timeOrNull(at)
		}
	}
}

// apiKeyOf shows a key as this replica knows it.
func (a *API) apiKeyOf(k *authn.Key) apiKey {
	return apiKey{
		ID:     string(k.ID()),
		Name:   k.Name(),
		Prefix: a.config.KeyFormat.Prefix(k.Environment()),
		// Of a key that was brought by its hash, nobody here has ever seen the end.
		Last4:      stringOrNull(k.Last4()),
		Scopes:     k.Scopes.Names(),
		ProfileID:  stringOrNull(string(k.ProfileID())),
		CreatedAt:  k.CreatedAt().UTC(),
		LastUsedAt: timeOrNull(k.LastUsedAt()),
		ExpiresAt:  timeOrNull(k.ExpiresAt()),
	}
}

// errKeysCannotManageKeys is what whoever has a leaked key must not get round: a key that could make keys would outlive
// its own revocation. It is in the audit log as a refusal, since trying it may be a sign of that.
var errKeysCannotManageKeys = &problem.Problem{
	Kind: problem.Forbidden, Code: problem.CodeUnauthorized, Class: admission.ClassKeyManagement,
	Message: "An API key can neither create nor revoke API keys.",
	Remediation: "Create a key with `kubectl apply` of an ApiKey, or in the dashboard; " +
		"revoke it with `kubectl delete apikeys.letmepost.dev NAME`, or in the dashboard.",
}
