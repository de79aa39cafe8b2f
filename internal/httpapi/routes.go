// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// access says who may call a route.
type access uint8

const (
	// keyOnly: a Bearer key. It is the zero value: a route that does not say who may call it is closed. Every write is so.
	keyOnly access = iota
	// keyOrSession: a Bearer key or the session of the dashboard. If there is an Authorization header, it decides.
	keyOrSession
	// anyone: no credentials are asked for, or looked at.
	anyone
)

// route is one method of one path. The OpenAPI document is made of the same value that requests are answered by.
type route struct {
	method  string
	path    string // may hold one parameter, as its last segment or the one before it
	access  access
	scope   v1alpha1.Scope // that the key must have; "": every key may
	id      string         // operationId, which is the name of the method in generated clients
	summary string
	detail  string      // the rest of the description; may be ""
	paged   bool        // takes limit and cursor
	whole   bool        // without limit, all there is: up to wholeLimit
	query   []parameter // others that it takes
	success []int       // statuses of a success; nil: 200
	refuses []int       // error statuses of its own, beside those that follow from access, path, paged and that it writes
	cache   string      // Cache-Control of a success; "" is no-store
	endpoint

	served prometheus.Counter // successes with this very method; set in the router's copy, unless there are none
}

// pageSize is the limit of a listing without one. Clients of the reference expect all accounts, all keys and all
// profiles in one answer, and know of no second page of them.
func (t *route) pageSize() int {
	if t.whole {
		return wholeLimit
	}
	return defaultLimit
}

// routes is all there is.
var routes = slices.Concat(keyRoutes, accountRoutes, mediaRoutes, postRoutes, serverRoutes)

var postRoutes = []route{
	{
		method: http.MethodPost, path: "/v1/posts", id: "createPosts", scope: v1alpha1.ScopePostsWrite,
		summary: "Publish",
		detail: "One post for each target, at once (200) or later (202). Everything is checked before anything is stored. A target that " +
			"its platform does not take is no error of the request: results tells what became of each.",
		success: []int{http.StatusOK, http.StatusAccepted}, refuses: []int{http.StatusNotFound},
		endpoint: writes((*API).createPosts),
	},
	{
		method: http.MethodGet, path: "/v1/posts", id: "listPosts", access: keyOrSession, scope: v1alpha1.ScopePostsRead,
		summary: "List posts",
		detail:  "The posts that the key reaches, newest first.",
		paged:   true, query: postFilters, refuses: []int{http.StatusNotFound},
		endpoint: returns((*API).listPosts),
	},
	{
		method: http.MethodGet, path: "/v1/posts/{id}", id: "getPost", access: keyOrSession, scope: v1alpha1.ScopePostsRead,
		summary:  "Get a post",
		detail:   "With every attempt to publish it.",
		endpoint: returns((*API).getPost),
	},
	{
		method: http.MethodPatch, path: "/v1/posts/{id}", id: "editPost", scope: v1alpha1.ScopePostsWrite,
		summary:  "Change a post that is still to come",
		endpoint: writes((*API).editPost),
	},
	{
		method: http.MethodDelete, path: "/v1/posts/{id}", id: "cancelPost", scope: v1alpha1.ScopePostsWrite,
		summary:  "Cancel a queued post",
		detail:   "It stays on record, with the status canceled.",
		endpoint: writes((*API).cancelPost),
	},
	{
		method: http.MethodPost, path: "/v1/posts/{id}/retry", id: "retryPost", scope: v1alpha1.ScopePostsWrite,
		summary:  "Publish again what has failed",
		detail:   "A post that is failed, rejected or canceled is queued again, for at once or for scheduledAt.",
		endpoint: writes((*API).retryPost),
	},
}

var mediaRoutes = []route{
	{
		method: http.MethodPost, path: "/v1/media", id: "uploadMedia", scope: v1alpha1.ScopeMediaWrite,
		summary: "Upload an image or a video",
		detail:  "As multipart/form-data with one part, named file. What it is, its own bytes tell.",
		query:   []parameter{{name: "profileId", description: "The profile that the file is to belong to."}},
		success: []int{http.StatusCreated}, refuses: []int{http.StatusNotFound},
		endpoint: uploads((*API).uploadMedia),
	},
	{
		method: http.MethodGet, path: "/v1/media", id: "listMedia", access: keyOrSession, scope: v1alpha1.ScopeMediaRead,
		summary: "List media",
		detail:  "The files that the key reaches, newest first.",
		paged:   true, query: []parameter{profileParam}, refuses: []int{http.StatusNotFound},
		endpoint: returns((*API).listMedia),
	},
	{
		method: http.MethodGet, path: "/v1/media/{id}", id: "getMedia", access: keyOrSession, scope: v1alpha1.ScopeMediaRead,
		summary:  "Get a media file's description",
		endpoint: returns((*API).getMedia),
	},
	{
		method: http.MethodGet, path: "/v1/media/{id}/content", id: "getMediaContent", access: keyOrSession, scope: v1alpha1.ScopeMediaRead,
		summary:  "Get a media file's bytes",
		endpoint: streams("", (*API).mediaContent),
	},
	{
		method: http.MethodDelete, path: "/v1/media/{id}", id: "deleteMedia", scope: v1alpha1.ScopeMediaWrite,
		summary:  "Delete a media file",
		detail:   "Refused while a post that is still to be published needs it.",
		endpoint: writes((*API).deleteMedia),
	},
}

var accountRoutes = []route{
	{
		method: http.MethodGet, path: "/v1/accounts", id: "listAccounts", access: keyOrSession, scope: v1alpha1.ScopeAccountsRead,
		summary: "List accounts",
		detail:  "The connected accounts that the key reaches, newest first.",
		paged:   true, whole: true, query: []parameter{profileParam}, refuses: []int{http.StatusNotFound},
		endpoint: returns((*API).listAccounts),
	},
	{
		method: http.MethodGet, path: "/v1/accounts/{id}", id: "getAccount", access: keyOrSession, scope: v1alpha1.ScopeAccountsRead,
		summary:  "Get an account",
		endpoint: returns((*API).getAccount),
	},
	{
		method: http.MethodDelete, path: "/v1/accounts/{id}", id: "disconnectAccount", scope: v1alpha1.ScopeAccountsWrite,
		summary:  "Disconnect an account",
		detail:   "Its queued posts are canceled. What it has published stays on record.",
		endpoint: writes((*API).disconnectAccount),
	},
	{
		method: http.MethodPost, path: "/v1/accounts/connect/{platform}", id: "connectAccount", scope: v1alpha1.ScopeAccountsWrite,
		summary:  "Begin to connect an account",
		detail:   "Tells what the platform asks for.",
		refuses:  []int{http.StatusNotFound},
		endpoint: writes((*API).connectAccount),
	},
	{
		method: http.MethodPost, path: "/v1/accounts/connect/{platform}/complete", id: "completeConnection", scope: v1alpha1.ScopeAccountsWrite,
		summary: "Connect an account",
		detail: "With what the platform asks for, and optionally profileId. 201 for a new account; 200 for one that was connected " +
			"before, whose credentials are renewed.",
		success: []int{http.StatusOK, http.StatusCreated}, refuses: []int{http.StatusNotFound, http.StatusBadGateway},
		endpoint: writes((*API).completeConnection),
	},
}

// keyRoutes are about the caller's key and what it is one of.
var keyRoutes = []route{
	{
		method: http.MethodGet, path: "/v1/whoami", id: "whoami", access: keyOnly,
		summary:  "Who the key is",
		detail:   "The organization, profile, environment, scopes and expiry of the key that the request was made with.",
		endpoint: returns((*API).whoami),
	},
	{
		method: http.MethodGet, path: "/v1/profiles", id: "listProfiles", access: keyOrSession, paged: true, whole: true,
		summary:  "List profiles",
		detail:   "The profiles that the key reaches, newest first: those of its organization, or its own if it is pinned to one.",
		endpoint: returns((*API).listProfiles),
	},
	{
		method: http.MethodGet, path: "/v1/profiles/{id}", id: "getProfile", access: keyOrSession,
		summary:  "Get a profile",
		endpoint: returns((*API).getProfile),
	},
	{
		method: http.MethodGet, path: "/v1/api-keys", id: "listApiKeys", access: keyOrSession, paged: true, whole: true,
		summary: "List API keys",
		detail: "The keys that the key reaches, newest first, of both environments: those of its organization, or those pinned to " +
			"its profile if it is pinned to one. Expired keys are listed until they are deleted.",
		endpoint: returns((*API).listKeys),
	},
	{
		method: http.MethodPost, path: "/v1/api-keys", id: "createApiKey", access: keyOnly,
		summary:  "Create an API key: not with an API key",
		detail:   "Always refused. Keys are ApiKey resources: create them with kubectl, or in the dashboard.",
		refuses:  []int{http.StatusForbidden},
		endpoint: refusesAll(errKeysCannotManageKeys),
	},
	{
		method: http.MethodDelete, path: "/v1/api-keys/{id}", id: "revokeApiKey", access: keyOnly,
		summary:  "Revoke an API key: not with an API key",
		detail:   "Always refused, whether the key exists or not. Revoke a key by deleting its ApiKey resource, or in the dashboard.",
		refuses:  []int{http.StatusForbidden},
		endpoint: refusesAll(errKeysCannotManageKeys),
	},
}

// serverRoutes need no key.
var serverRoutes = []route{
	{
		method: http.MethodGet, path: "/v1/openapi.json", id: "openapi", access: anyone,
		summary:  "This document",
		cache:    "public, max-age=300",
		endpoint: returns((*API).openAPI),
	},
	{
		method: http.MethodGet, path: "/healthz", id: "healthz", access: anyone,
		summary:  "Is the process alive?",
		endpoint: returns((*API).healthz),
	},
	{
		method: http.MethodGet, path: "/readyz", id: "readyz", access: anyone,
		summary:  "Should requests be sent to this replica?",
		detail:   "503 until the keys have been loaded, and from the moment the process is told to stop.",
		refuses:  []int{http.StatusServiceUnavailable},
		endpoint: returns((*API).readyz),
	},
}
