// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"slices"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/posting"
)

// routes is all there is: one table for requests, the OpenAPI document and the reference. It has their order, too.
//
// A row that names no Access takes keys alone. Writes name none on purpose: a browser sends a session's cookie with
// whatever another site makes it send. Statuses are listed as far as they don't follow from the row by themselves; what
// a client sees of a row (its path, its operationId, its statuses) is for good once it is released.
//
// Scope is what a key needs for a row, and Resource what a person must be allowed in their organization by RBAC. A
// row that a session opens names both, unless any key may ask for it.
func (a *API) routes() []endpoint.Route {
	return slices.Concat(
		a.keyRoutes(), a.accountRoutes(), a.mediaRoutes(), a.postRoutes(), a.leakRoutes(), a.serverRoutes(),
	)
}

// postRoutes are about posts, by whose ids callers follow what becomes of them.
func (a *API) postRoutes() []endpoint.Route {
	return []endpoint.Route{
		{
			Method: http.MethodPost, Path: "/v1/posts", ID: "createPosts", Scope: v1alpha1.ScopePostsWrite,
			Summary: "Publish",
			Detail: "One post for each target, at once (200) or later (202). Everything is checked before anything is " +
				"stored. A target that its platform does not take is no error of the request: results tells what became " +
				"of each.",
			Success: []int{http.StatusOK, http.StatusAccepted}, Refuses: []int{http.StatusNotFound},
			// Posts are out before they are answered: to be cut off then by the server's own time for a response would leave
			// a caller who does not know what was published.
			AnswerWithin: posting.AnswerWithin,
			ClaimLate:    true,
			Endpoint:     endpoint.Writes(a.createPosts),
		},
		{
			Method: http.MethodGet, Path: "/v1/posts", ID: "listPosts",
			Access: admission.KeyOrSession, Scope: v1alpha1.ScopePostsRead, Resource: "posts",
			Summary: "List posts",
			Detail:  "The posts that the key reaches, newest first.",
			// 404 is for a profile that is not there, as for all lists with profileId: an empty list would hide a mistake.
			Paged: true, Query: postFilters, Refuses: []int{http.StatusNotFound},
			Endpoint: endpoint.Returns(a.listPosts),
		},
		{
			Method: http.MethodGet, Path: "/v1/posts/{id}", ID: "getPost",
			Access: admission.KeyOrSession, Scope: v1alpha1.ScopePostsRead, Resource: "posts",
			Summary:  "Get a post",
			Detail:   "With every attempt to publish it.",
			Endpoint: endpoint.Returns(a.getPost),
		},
		{
			Method: http.MethodPatch, Path: "/v1/posts/{id}", ID: "editPost", Scope: v1alpha1.ScopePostsWrite,
			Summary:  "Change a post that is still to come",
			Endpoint: endpoint.Writes(a.editPost),
		},
		{
			Method: http.MethodDelete, Path: "/v1/posts/{id}", ID: "cancelPost", Scope: v1alpha1.ScopePostsWrite,
			Summary: "Cancel a queued post",
			// A DELETE for what can be undone: it is the reference's, and what DELETE means is up to the resource.
			Detail: "It stays on record, with the status canceled. If it is not known whether the platform has it, the " +
				"platform is asked first: a post that is there becomes published, and the answer is 409.",
			Endpoint: endpoint.Writes(a.cancelPost),
		},
		{
			Method: http.MethodPost, Path: "/v1/posts/{id}/retry", ID: "retryPost", Scope: v1alpha1.ScopePostsWrite,
			Summary:  "Publish again what has failed",
			Detail:   "A post that is failed, rejected or canceled is queued again, for at once or for scheduledAt.",
			Endpoint: endpoint.Writes(a.retryPost),
		},
	}
}

// mediaRoutes are about uploaded files. A file comes first and a post names it: an upload may take minutes, and should
// be sent again by itself if it fails. The bytes have a path of their own, so that a client that only lists pays for
// none.
func (a *API) mediaRoutes() []endpoint.Route {
	return []endpoint.Route{
		{
			Method: http.MethodPost, Path: "/v1/media", ID: "uploadMedia", Scope: v1alpha1.ScopeMediaWrite,
			Summary: "Upload an image or a video",
			Detail: "As multipart/form-data, with the file as the part named file. What it is, its own bytes tell. " +
				"profileId may be in the query or a field of the form, before the file or after it.",
			Query: []endpoint.Parameter{{Name: "profileId", Description: "The profile that the file is to belong to."}},
			// A file may be of a profile, whose id is in query or form; the 404 is for that.
			Success: []int{http.StatusCreated}, Refuses: []int{http.StatusNotFound},
			Endpoint: endpoint.Uploads(a.uploadMedia),
		},
		{
			Method: http.MethodGet, Path: "/v1/media", ID: "listMedia",
			Access: admission.KeyOrSession, Scope: v1alpha1.ScopeMediaRead, Resource: "media",
			Summary: "List media",
			Detail:  "The files that the key reaches, newest first.",
			Paged:   true, Query: []endpoint.Parameter{profileParam}, Refuses: []int{http.StatusNotFound},
			Endpoint: endpoint.Returns(a.listMedia),
		},
		{
			Method: http.MethodGet, Path: "/v1/media/{id}", ID: "getMedia",
			Access: admission.KeyOrSession, Scope: v1alpha1.ScopeMediaRead, Resource: "media",
			Summary:  "Get a media file's description",
			Endpoint: endpoint.Returns(a.getMedia),
		},
		{
			Method: http.MethodGet, Path: "/v1/media/{id}/content", ID: "getMediaContent",
			Access: admission.KeyOrSession, Scope: v1alpha1.ScopeMediaRead, Resource: "media",
			Summary: "Get a media file's bytes",
			// Streamed: a file is never in memory as a whole.
			Endpoint: endpoint.Streams("", a.mediaContent), // each file has a type of its own
		},
		{
			Method: http.MethodDelete, Path: "/v1/media/{id}", ID: "deleteMedia", Scope: v1alpha1.ScopeMediaWrite,
			Summary:  "Delete a media file",
			Detail:   "Refused while a post that is still to be published needs it.",
			Endpoint: endpoint.Writes(a.deleteMedia),
		},
	}
}

// accountRoutes are about connected accounts. To connect one takes two requests, because what a platform asks for, it
// says itself: a client shows the fields of the first answer, and sends them with the second request. Connecting is a
// write although nothing is stored by the first request: it may have a platform begin something.
func (a *API) accountRoutes() []endpoint.Route {
	return []endpoint.Route{
		{
			Method: http.MethodGet, Path: "/v1/accounts", ID: "listAccounts",
			Access: admission.KeyOrSession, Scope: v1alpha1.ScopeAccountsRead, Resource: "accounts",
			Summary: "List accounts",
			Detail:  "The connected accounts that the key reaches, newest first.",
			// Unpaged, as profiles and keys are: see endpoint.Route, and who expects it.
			Paged: true, Unpaged: true, Query: []endpoint.Parameter{profileParam, stateParam},
			Refuses:  []int{http.StatusNotFound},
			Endpoint: endpoint.Returns(a.listAccounts),
		},
		{
			Method: http.MethodGet, Path: "/v1/accounts/{id}", ID: "getAccount",
			Access: admission.KeyOrSession, Scope: v1alpha1.ScopeAccountsRead, Resource: "accounts",
			Summary:  "Get an account",
			Endpoint: endpoint.Returns(a.getAccount),
		},
		{
			Method: http.MethodDelete, Path: "/v1/accounts/{id}", ID: "disconnectAccount", Scope: v1alpha1.ScopeAccountsWrite,
			Summary:  "Disconnect an account",
			Detail:   "Its queued posts are canceled. What it has published stays on record.",
			Endpoint: endpoint.Writes(a.disconnectAccount),
		},
		{
			Method: http.MethodPost, Path: "/v1/accounts/connect/{platform}", ID: "connectAccount",
			Scope:       v1alpha1.ScopeAccountsWrite,
			Summary:     "Begin to connect an account",
			Detail:      "Tells what the platform asks for.",
			ParamValues: platformNames,
			Refuses:     []int{http.StatusNotFound}, // the profile that it is to belong to
			Endpoint:    endpoint.Writes(a.connectAccount),
		},
		{
			Method: http.MethodPost, Path: "/v1/accounts/connect/{platform}/complete", ID: "completeConnection",
			Scope:   v1alpha1.ScopeAccountsWrite,
			Summary: "Connect an account",
			Detail: "With what the platform asks for, and optionally profileId. 201 for a new account; 200 for one that " +
				"was connected before, whose credentials are renewed.",
			ParamValues: platformNames,
			Success:     []int{http.StatusOK, http.StatusCreated}, Refuses: []int{http.StatusNotFound, http.StatusBadGateway},
			Endpoint: endpoint.Writes(a.completeConnection),
		},
		{
			Method: http.MethodGet, Path: "/v1/accounts/oauth/{platform}/callback", ID: "connectionReturned",
			Access:  admission.Anyone, // a browser has no key: the state that it brings leads to whoever began
			Summary: "Where a platform sends the browser back to",
			Detail: "For browsers alone, once for each connection that has begun with an authorizationUrl. They go on to " +
				"returnTo, with connected=ACCOUNT_ID or connect_error=CODE, or see a page that says what came of it.",
			ParamValues: platformNames,
			Success:     []int{http.StatusOK, http.StatusFound},
			Refuses: []int{
				http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusBadGateway,
				http.StatusServiceUnavailable,
			},
			Endpoint: endpoint.Shows(a.connectionReturned),
		},
		{
			Method: http.MethodGet, Path: "/v1/accounts/oauth/{platform}/client-metadata.json", ID: "clientMetadata",
			Access:  admission.Anyone, // platforms fetch it, of which anybody may be one
			Summary: "What platforms are told of this server",
			Detail: "For platforms that know this server by the address of this document and not by a registration, as the " +
				"AT Protocol has it: accounts of bluesky are connected in a browser only if their own server reaches it.",
			ParamValues: platformNames,
			Cache:       "public, max-age=300", // nobody's data; the public URL changes with a restart alone
			Refuses:     []int{http.StatusForbidden, http.StatusNotFound},
			Endpoint:    endpoint.Returns(a.clientMetadata),
		},
	}
}

// keyRoutes are about the caller's key and what it is one of. They need no scope: a key may always learn what it is,
// and a client asks first thing, to say what it can't do.
func (a *API) keyRoutes() []endpoint.Route {
	return []endpoint.Route{
		{
			// Of keys alone: all that it says is a key's. The dashboard knows by itself who is signed in.
			Method: http.MethodGet, Path: "/v1/whoami", ID: "whoami", Access: admission.KeyOnly,
			Summary:  "Who the key is",
			Detail:   "The organization, profile, environment, scopes and expiry of the key that the request was made with.",
			Endpoint: endpoint.Appends[whoami](a.appendWhoami),
		},
		{
			Method: http.MethodGet, Path: "/v1/profiles", ID: "listProfiles",
			Access: admission.KeyOrSession, Resource: "profiles", Paged: true, Unpaged: true,
			Summary: "List profiles",
			Detail: "The profiles that the key reaches, newest first: those of its organization, or its own if it is " +
				"pinned to one.",
			Endpoint: endpoint.Returns(a.listProfiles),
		},
		{
			Method: http.MethodGet, Path: "/v1/profiles/{id}", ID: "getProfile",
			Access: admission.KeyOrSession, Resource: "profiles",
			Summary:  "Get a profile",
			Endpoint: endpoint.Returns(a.getProfile),
		},
		{
			Method: http.MethodGet, Path: "/v1/api-keys", ID: "listApiKeys",
			Access: admission.KeyOrSession, Resource: "apikeys", Paged: true, Unpaged: true,
			Summary: "List API keys",
			Detail: "The keys that the key reaches, newest first, of both environments: those of its organization, or " +
				"those pinned to its profile if it is pinned to one. Expired keys are listed until they are deleted.",
			Endpoint: endpoint.Returns(a.listKeys),
		},
		{
			Method: http.MethodPost, Path: "/v1/api-keys", ID: "createApiKey", Access: admission.KeyOnly,
			Summary: "Create an API key: not with an API key",
			// It is here so that whoever looks for it finds out how it is done, and so that trying is in the audit log.
			Detail:   "Always refused. Keys are ApiKey resources: create them with kubectl, or in the dashboard.",
			Refuses:  []int{http.StatusForbidden},
			Endpoint: endpoint.RefusesAll(errKeysCannotManageKeys),
		},
		{
			// A key that could revoke keys would let whoever has one take the others out of service. The id is not looked at, so
			// nobody finds out which there are.
			Method: http.MethodDelete, Path: "/v1/api-keys/{id}", ID: "revokeApiKey", Access: admission.KeyOnly,
			Summary: "Revoke an API key: not with an API key",
			Detail: "Always refused, whether the key exists or not. Revoke a key by deleting its ApiKey resource, or in " +
				"the dashboard.",
			Refuses:  []int{http.StatusForbidden},
			Endpoint: endpoint.RefusesAll(errKeysCannotManageKeys),
		},
	}
}

// leakRoutes end keys, for whoever holds them. They need no key besides the one that is reported. Nor is there an
// Idempotency-Key: to report a key again changes nothing.
func (a *API) leakRoutes() []endpoint.Route {
	return []endpoint.Route{{
		Method: http.MethodPost, Path: leak.Path, ID: "reportLeakedKey", Access: admission.Anyone,
		Summary: "Report a key that has leaked",
		Detail: "Whoever holds a key may end it: it is refused at once, everywhere and for good. As JSON, or as a form " +
			"with the key as its token (RFC 7009). The answer is the same whether there is such a key or not.",
		Refuses: []int{
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
			http.StatusTooManyRequests, http.StatusServiceUnavailable,
		},
		Endpoint: endpoint.Reads[leak.KeyReport](a.leaked),
	}}
}

// serverRoutes need no key: kubelets and load balancers have none, and a client is generated before there is one.
func (a *API) serverRoutes() []endpoint.Route {
	return []endpoint.Route{
		{
			Method: http.MethodGet, Path: "/v1/openapi.json", ID: "openapi", Access: admission.Anyone,
			Summary: "This document",
			// A proxy may keep it, as there is nobody's data in it. Five minutes: a client that is generated after a release
			// should see that release.
			Cache:    "public, max-age=300", // the same for everyone, until the next release
			Endpoint: endpoint.Returns(a.openAPI),
		},
		{
			// Outside of /v1, with the names that Kubernetes' own components have for them.
			Method: http.MethodGet, Path: "/healthz", ID: "healthz", Access: admission.Anyone,
			Summary:  "Is the process alive?",
			Endpoint: endpoint.Returns(a.healthz),
		},
		{
			Method: http.MethodGet, Path: "/readyz", ID: "readyz", Access: admission.Anyone,
			Summary:  "Should requests be sent to this replica?",
			Detail:   "503 until the keys have been loaded, and from the moment the process is told to stop.",
			Refuses:  []int{http.StatusServiceUnavailable},
			Endpoint: endpoint.Returns(a.readyz),
		},
	}
}
