// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// post is one text for one account as the API shows it. A field that has no value is null and present, so that a client
// can tell "none" from "not told". AppendJSON has the same fields in the same order; a test compares the two. Who made
// a post, and what of it is the server's own business (its batch's place, its attempt's id), is not shown.
type post struct {
	ID          string            `json:"id"`
	ProfileID   *string           `json:"profileId" doc:"The profile of its account; null: the organization alone."`
	AccountID   *string           `json:"accountId" doc:"null once the account is disconnected."`
	Account     *postAccount      `json:"account" doc:"null once the account is disconnected."`
	Platform    platform.Name     `json:"platform"`
	Status      store.Status      `json:"status" doc:"failed: it may go better another time; rejected: not unless something is changed."`
	Text        string            `json:"text"`
	MediaRefs   []mediaRef        `json:"mediaRefs"`
	ScheduledAt *time.Time        `json:"scheduledAt" doc:"null: it was to be published at once."`
	PublishedAt *time.Time        `json:"publishedAt"`
	PlatformURI *string           `json:"platformUri" doc:"Where it is, in the platform's terms."`
	PlatformCID *string           `json:"platformCid"`
	Error       *platform.Failure `json:"error" doc:"Why it failed or was rejected."`
	Sandbox     bool              `json:"sandbox" doc:"It reaches no platform: it belongs to the test environment."`
	CreatedAt   time.Time         `json:"createdAt"`
	UpdatedAt   time.Time         `json:"updatedAt"`
}

// postAccount is as much of an account as a list of posts needs, so that a client does not ask for each. What else
// there is of an account is asked for by its id.
type postAccount struct {
	ID                string        `json:"id"`
	Platform          platform.Name `json:"platform"`
	PlatformAccountID string        `json:"platformAccountId"`
	DisplayName       *string       `json:"displayName"`
}

// mediaRef is a file of a post.
type mediaRef struct {
	Kind    string  `json:"kind"`
	MediaID *string `json:"mediaId" doc:"null: the key, which is pinned to a profile, does not reach the file, or it has been deleted."`
	AltText string  `json:"altText,omitempty"`
}

// mediaRefsOf shows a post's files. None are an empty list and not null.
func mediaRefsOf(media []store.MediaRef) []mediaRef {
	refs := make([]mediaRef, 0, len(media))
	for _, m := range media {
		refs = append(refs, mediaRef{m.Kind, stringOrNull(m.MediaID), m.AltText})
	}
	return refs
}

// postDetail is a post with what was tried. A list shows posts without that: it would be a query for each.
type postDetail struct {
	post
	Attempts []attempt `json:"attempts" doc:"Oldest first."`
}

// attempt is one try to publish a post. They are kept, one row each: after a retry it still shows what went wrong
// before.
type attempt struct {
	ID               string          `json:"id"`
	AttemptNumber    int             `json:"attemptNumber" doc:"From 1."`
	StartedAt        time.Time       `json:"startedAt"`
	FinishedAt       *time.Time      `json:"finishedAt" doc:"null while it runs."`
	Succeeded        bool            `json:"succeeded"`
	ErrorCode        *string         `json:"errorCode"`
	ErrorRule        *string         `json:"errorRule" doc:"The rule that was broken, where there is one: what a post stays queued for is told here alone."`
	ErrorMessage     *string         `json:"errorMessage"`
	PlatformResponse json.RawMessage `json:"platformResponse" doc:"What the platform said, if it said anything."`
}

// postOf shows a post. It needs the API for Sandbox, which is a property of the environment and not of the post.
// Nothing in it depends on the request, so a list, an answer to a write and a stored answer all look the same.
func (a *API) postOf(p store.Post) post {
	shown := post{
		ID:          p.ID,
		ProfileID:   stringOrNull(p.ProfileID),
		AccountID:   stringOrNull(p.AccountID),
		Platform:    p.Platform,
		Status:      p.Status,
		Text:        p.Text,
		MediaRefs:   mediaRefsOf(p.Media),
		ScheduledAt: timeOrNull(p.ScheduledAt),
		PublishedAt: timeOrNull(p.PublishedAt),
		PlatformURI: stringOrNull(p.Receipt.URI),
		PlatformCID: stringOrNull(p.Receipt.CID),
		Error:       p.Failure,
		Sandbox:     a.config.Environment == key.Test,
		CreatedAt:   p.CreatedAt,
		UpdatedAt:   p.UpdatedAt,
	}
	if ref := p.Account; ref != nil { // a disconnected account takes its name along
		shown.Account = &postAccount{ref.ID, ref.Platform, ref.PlatformAccountID, stringOrNull(ref.DisplayName)}
	}
	return shown
}

// attemptOf shows an attempt. One that still runs has neither failed nor succeeded. What the platform said is shown as
// it came, so that a client can look for what its codes do not say.
func attemptOf(t store.Attempt) attempt {
	shown := attempt{
		ID:            t.ID,
		AttemptNumber: t.Number,
		StartedAt:     t.StartedAt,
		FinishedAt:    timeOrNull(t.FinishedAt),
		Succeeded:     t.Failure == nil && !t.FinishedAt.IsZero(),
	}
	if f := t.Failure; f != nil {
		shown.ErrorCode, shown.ErrorRule = &f.Code, stringOrNull(f.Rule)
		shown.ErrorMessage, shown.PlatformResponse = &f.Message, f.PlatformResponse
	}
	return shown
}

// Values of the filters, and of what is shown. Platforms and statuses of batches come from the rooms that own them: one
// that is added there is in the document without anybody thinking of it.
var (
	// Of all platforms, and not of those that are enabled: posts of one that was switched off are still there to be
	// listed.
	platformNames = catalog.All.Names()
	postStatuses  = texts(
		store.Queued, store.Publishing, store.Published, store.Failed, store.Rejected, store.Canceled,
	)
	batchStatuses = texts(posting.BatchStatuses...)
	// connectionStates stand beside them, as values of an enum.
	connectionStates = texts(connection.States...)
)

// texts are values as the document and the query string have them.
func texts[T ~string](values ...T) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return list
}

// Values of the filters that are the reference's and that no post here ever has. Its SDK asks for them, which is no
// mistake: there are none. They are not in the document, where they would be an offer.
var (
	otherPlatforms = []string{"facebook", "instagram", "pinterest", "threads", "tiktok", "twitter"}
	otherStatuses  = []string{"validated"}
)

// postFilters are the parameters as the document describes them; postFilter reads them. All of them narrow the list.
var postFilters = []endpoint.Parameter{
	profileParam,
	{Name: "platform", Description: "Only posts for these platforms.", Values: platformNames, List: true},
	{Name: "status", Description: "Only posts with these statuses.", Values: postStatuses, List: true},
	{Name: "errorCode", Description: "Only posts that ended with these codes.", List: true}, // any: see postFilter
	{Name: "q", Description: "Only posts with this in their text, at most 200 characters, in upper or lower case. " +
		"A page may have few posts or none and still a nextCursor: it has looked at as many as one page may."},
	{Name: "after", Description: "Only posts created at this time or later.", Format: "date-time"},
	{Name: "before", Description: "Only posts created before this time.", Format: "date-time"},
}

// listPosts checks the filters before the profile, as the parameters stand in the document: of several mistakes,
// callers are told the same one each time.
func (a *API) listPosts(r *endpoint.Request) (endpoint.Page[post], error) {
	var filter store.PostFilter
	var view *store.View
	var next store.Position
	return endpoint.Listed[store.Post, post]{
		Position: func(p store.Post) store.Position { return store.Position{At: p.CreatedAt, ID: p.ID} },
		Show:     a.postOf,
		Stopped:  func() store.Position { return next }, // a search may end a page anywhere
	}.Rows(r, func(query url.Values) (err error) {
		if filter, err = postFilter(query); err != nil {
			return err
		}
		view, err = a.viewOfQuery(r, query)
		return err
	}, func(page store.Page) (posts []store.Post, more bool, err error) {
		posts, next, err = a.search(r.Context(), view, filter, page)
		return posts, next != store.Position{}, err
	})
}

// DefaultSearchFor is as much again as the store takes for a page of a search that finds nothing.
const DefaultSearchFor = 10 * time.Millisecond

// search lists posts. What one look of the store is bounded by may end before the first post of a search; whoever
// searches for what is rare would then ask for page after page of nothing. So a search that has found nothing yet looks
// on, for as long as Config.SearchFor. Each look takes its place among those of the organization anew.
func (a *API) search(
	ctx context.Context, view *store.View, filter store.PostFilter, page store.Page,
) (posts []store.Post, next store.Position, err error) {
	within, cancel := context.WithTimeout(ctx, a.config.SearchFor)
	defer cancel()
	posts, next, err = view.Posts(ctx, filter, page)
	for err == nil && len(posts) == 0 && next != (store.Position{}) && within.Err() == nil {
		page.After = next
		found, after, err := view.Posts(ctx, filter, page) // not within: it ends by itself, and what it found is not lost
		if err != nil {
			break // the page so far is as good, and whoever asks for the next one is told
		}
		posts, next = found, after
	}
	return posts, next, err
}

// postFilter reads the parameters that narrow the list. errorCode may be anything: a platform's codes are its own.
func postFilter(query url.Values) (f store.PostFilter, err error) {
	// One after the other, so that the first mistake is the one that is told.
	if f.Platforms, err = endpoint.ListParam(query, "platform", platformNames, otherPlatforms...); err != nil {
		return f, err
	}
	if f.Statuses, err = endpoint.ListParam(query, "status", postStatuses, otherStatuses...); err != nil {
		return f, err
	}
	if f.ErrorCodes, err = endpoint.ListParam(query, "errorCode", nil); err != nil {
		return f, err
	}
	if f.Query, err = endpoint.TextParam(query, "q"); err != nil {
		return f, err
	}
	if f.After, err = endpoint.TimeParam(query, "after"); err != nil {
		return f, err
	}
	f.Before, err = endpoint.TimeParam(query, "before")
	return f, err
}

// getPost reads a post, then its attempts, and not both in one transaction: an attempt that begins in between may be
// shown with a post that is still queued, and the next request shows both as they are.
func (a *API) getPost(r *endpoint.Request) (*postDetail, error) {
	p, err := r.View().Post(r.Context(), r.Param())
	if err != nil {
		return nil, posting.OrNotFound(err, posting.ErrNoPost)
	}
	attempts, err := r.View().Attempts(r.Context(), p.ID)
	if err != nil {
		return nil, err
	}
	detail := &postDetail{a.postOf(p), make([]attempt, 0, len(attempts))}
	for _, t := range attempts {
		detail.Attempts = append(detail.Attempts, attemptOf(t))
	}
	return detail, nil
}

// editPost is the body of a change of a post. What is left out stays as it is. An account can't be changed: that would
// be another post, with other rules.
type editPost struct {
	ScheduledAt *time.Time    `json:"scheduledAt,omitempty" doc:"At least a second from now."`
	Text        *string       `json:"text,omitempty" maxBytes:"60000"`
	Media       *[]mediaInput `json:"media,omitempty"`
}

// editPost answers with the post as it is after the change, so that nobody has to ask for it. New media are looked up
// through the caller's view, as a new post's are.
func (a *API) editPost(r *endpoint.Request, in editPost) (post, error) {
	change := posting.Change{ScheduledAt: in.ScheduledAt, Text: in.Text}
	if in.Media != nil {
		media := mediaOf(*in.Media)
		change.Media = &media
	}
	p, err := a.posting.Edit(r.Context(), r.Caller(), r.Operation(), r.Param(), change,
		endpoint.Answer(r, endpoint.OK(a.postOf)))
	return a.postOf(p), err
}

// canceled is what becomes of a post that is deleted: it stays stored, so that it can be queued again.
type canceled struct {
	ID     string `json:"id"`
	Status string `json:"status" enum:"canceled,failed" doc:"failed: the platform may have it, which could not be found out. It is not sent any more."`
}

func canceledOf(p store.Post) canceled { return canceled{p.ID, string(p.Status)} }

// cancelPost is a DELETE that deletes nothing: what stays is how a client finds out why something was not published. A
// second request is a 409, but for one with the same Idempotency-Key: the post is not queued any more.
func (a *API) cancelPost(r *endpoint.Request, _ endpoint.Nothing) (canceled, error) {
	p, err := a.posting.Cancel(r.Context(), r.Caller(), r.Operation(), r.Param(),
		endpoint.Answer(r, endpoint.OK(canceledOf)))
	return canceledOf(p), err
}

// retryPost is the body of a request to publish again what has failed. The post is queued even without a time, so the
// answer does not wait for the platform, unlike that of POST /v1/posts.
type retryPost struct {
	ScheduledAt *time.Time `json:"scheduledAt,omitempty" doc:"At least a second from now; without it, at once."`
}

// queued is a post that waits to be published again. It is as little as the reference answers: GET has the rest.
// Whether the job has run by the time that a client reads this, only a GET can tell.
type queued struct {
	ID          string     `json:"id"`
	Status      string     `json:"status" enum:"queued"`
	ScheduledAt *time.Time `json:"scheduledAt" doc:"null: at once."`
}

func queuedOf(p store.Post) queued { return queued{p.ID, string(p.Status), timeOrNull(p.ScheduledAt)} }

// retryPost never runs by itself for a post whose outcome is unknown: whether it is there, somebody has to look. Each
// retry is another attempt of the same post, whose id stays.
func (a *API) retryPost(r *endpoint.Request, in retryPost) (queued, error) {
	p, err := a.posting.Retry(r.Context(), r.Caller(), r.Operation(), r.Param(), in.ScheduledAt,
		endpoint.Answer(r, endpoint.OK(queuedOf)))
	return queuedOf(p), err
}
