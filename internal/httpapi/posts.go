// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// post is one text for one account as the API shows it.
type post struct {
	ID          string            `json:"id"`
	ProfileID   *string           `json:"profileId" doc:"The profile of its account; null: the organization alone."`
	AccountID   *string           `json:"accountId" doc:"null once the account is disconnected."`
	Account     *postAccount      `json:"account" doc:"null once the account is disconnected."`
	Platform    string            `json:"platform" enum:"bluesky,linkedin"`
	Status      string            `json:"status" enum:"queued,publishing,published,failed,rejected,canceled" doc:"failed: it may go better another time; rejected: not unless something is changed."`
	Text        string            `json:"text"`
	MediaRefs   []store.MediaRef  `json:"mediaRefs"`
	ScheduledAt *time.Time        `json:"scheduledAt" doc:"null: it was to be published at once."`
	PublishedAt *time.Time        `json:"publishedAt"`
	PlatformURI *string           `json:"platformUri" doc:"Where it is, in the platform's terms."`
	PlatformCID *string           `json:"platformCid"`
	Error       *platform.Failure `json:"error" doc:"Why it failed or was rejected."`
	Sandbox     bool              `json:"sandbox" doc:"It reaches no platform: it belongs to the test environment."`
	CreatedAt   time.Time         `json:"createdAt"`
	UpdatedAt   time.Time         `json:"updatedAt"`
}

type postAccount struct {
	ID                string  `json:"id"`
	Platform          string  `json:"platform" enum:"bluesky,linkedin"`
	PlatformAccountID string  `json:"platformAccountId"`
	DisplayName       *string `json:"displayName"`
}

// postDetail is a post with what was tried.
type postDetail struct {
	post
	Attempts []attempt `json:"attempts" doc:"Oldest first."`
}

type attempt struct {
	ID               string          `json:"id"`
	AttemptNumber    int             `json:"attemptNumber" doc:"From 1."`
	StartedAt        time.Time       `json:"startedAt"`
	FinishedAt       *time.Time      `json:"finishedAt" doc:"null while it runs."`
	Succeeded        bool            `json:"succeeded"`
	ErrorCode        *string         `json:"errorCode"`
	ErrorMessage     *string         `json:"errorMessage"`
	PlatformResponse json.RawMessage `json:"platformResponse" doc:"What the platform said, if it said anything."`
}

func (a *API) postOf(p store.Post) post {
	shown := post{
		ID:          p.ID,
		ProfileID:   stringOrNull(p.ProfileID),
		AccountID:   stringOrNull(p.AccountID),
		Platform:    string(p.Platform),
		Status:      string(p.Status),
		Text:        p.Text,
		MediaRefs:   p.Media,
		ScheduledAt: timeOrNull(p.ScheduledAt),
		PublishedAt: timeOrNull(p.PublishedAt),
		PlatformURI: stringOrNull(p.Receipt.URI),
		PlatformCID: stringOrNull(p.Receipt.CID),
		Error:       p.Failure,
		Sandbox:     a.config.Environment == key.Test,
		CreatedAt:   p.CreatedAt,
		UpdatedAt:   p.UpdatedAt,
	}
	if shown.MediaRefs == nil {
		shown.MediaRefs = []store.MediaRef{}
	}
	if ref := p.Account; ref != nil {
		shown.Account = &postAccount{ref.ID, string(ref.Platform), ref.PlatformAccountID, stringOrNull(ref.DisplayName)}
	}
	return shown
}

func attemptOf(t store.Attempt) attempt {
	shown := attempt{
		ID:            t.ID,
		AttemptNumber: t.Number,
		StartedAt:     t.StartedAt,
		FinishedAt:    timeOrNull(t.FinishedAt),
		Succeeded:     t.Failure == nil && !t.FinishedAt.IsZero(),
	}
	if f := t.Failure; f != nil {
		shown.ErrorCode, shown.ErrorMessage, shown.PlatformResponse = &f.Code, &f.Message, f.PlatformResponse
	}
	return shown
}

var errNoPost = &problem{
	status: http.StatusNotFound, code: codeNotFound,
	message:     "There is no post with this id that the key reaches.",
	remediation: "GET /v1/posts lists the posts that the key reaches.",
}

// errPostState is for a post in a state in which a thing can't be done to it.
func errPostState(rule, message, remediation string) *problem {
	return &problem{
		status: http.StatusConflict, code: codeValidationFailed, rule: rule, message: message, remediation: remediation,
	}
}

var (
	errNotCancelable = errPostState(
		"post.status",
		"The post is not queued any more.",
		"Only queued posts can be canceled.",
	)
	errNotEditable = errPostState("post.status", "The post is not queued any more, or its time has come.",
		"Only posts that are still to come can be changed.")
	errNotRetryable = errPostState("post.retry.status", "The post has not failed, or its account is disconnected.",
		"Only posts that are failed, rejected or canceled can be tried again.")
)

// Values of the filters.
var (
	platformNames = catalog.All.Names()
	postStatuses  = []string{"queued", "publishing", "published", "failed", "rejected", "canceled"}
)

// Values of the filters that are the reference's and that no post here ever has. Asking for them is no mistake: there
// are none.
var (
	otherPlatforms = []string{"facebook", "instagram", "pinterest", "threads", "tiktok", "twitter"}
	otherStatuses  = []string{"validated"}
)

var postFilters = []parameter{
	profileParam,
	{name: "platform", description: "Only posts for these platforms.", values: platformNames, list: true},
	{name: "status", description: "Only posts with these statuses.", values: postStatuses, list: true},
	{name: "errorCode", description: "Only posts that ended with these codes.", list: true},
	{name: "q", description: "Only posts with this in their text, at most 200 characters, in upper or lower case."},
	{name: "after", description: "Only posts created at this time or later.", format: "date-time"},
	{name: "before", description: "Only posts created before this time.", format: "date-time"},
}

func (a *API) listPosts(r *request) (page[post], error) {
	query, err := r.query()
	if err != nil {
		return page[post]{}, err
	}
	p, err := r.storePage(query)
	if err != nil {
		return page[post]{}, err
	}
	filter, err := postFilter(query)
	if err != nil {
		return page[post]{}, err
	}
	view, err := a.viewOfQuery(r, query)
	if err != nil {
		return page[post]{}, err
	}
	posts, more, err := view.Posts(r.context(), filter, p)
	if err != nil {
		return page[post]{}, err
	}
	where := func(p store.Post) position { return position{p.CreatedAt, p.ID} }
	return pageOf(posts, more, where, a.postOf), nil
}

func postFilter(query url.Values) (f store.PostFilter, err error) {
	if f.Platforms, err = listOf(query, "platform", slices.Concat(platformNames, otherPlatforms)); err != nil {
		return f, err
	}
	if f.Statuses, err = listOf(query, "status", slices.Concat(postStatuses, otherStatuses)); err != nil {
		return f, err
	}
	if f.ErrorCodes, err = listOf(query, "errorCode", nil); err != nil {
		return f, err
	}
	if f.Query, err = textOf(query, "q"); err != nil {
		return f, err
	}
	if f.After, err = timeOf(query, "after"); err != nil {
		return f, err
	}
	f.Before, err = timeOf(query, "before")
	return f, err
}

func (a *API) getPost(r *request) (*postDetail, error) {
	p, err := a.view(r).Post(r.context(), r.param)
	if err != nil {
		return nil, orNotFound(err, errNoPost)
	}
	attempts, err := a.view(r).Attempts(r.context(), p.ID)
	if err != nil {
		return nil, err
	}
	detail := &postDetail{a.postOf(p), make([]attempt, 0, len(attempts))}
	for _, t := range attempts {
		detail.Attempts = append(detail.Attempts, attemptOf(t))
	}
	return detail, nil
}

// editPost is the body of a change of a post.
type editPost struct {
	ScheduledAt *time.Time    `json:"scheduledAt,omitempty" doc:"At least a second from now."`
	Text        *string       `json:"text,omitempty"`
	Media       *[]mediaInput `json:"media,omitempty"`
}

var errEditEmpty = errInvalid("body", "The request changes nothing.", "Send scheduledAt, text or media.")

// apply changes p as the store is to change it.
func (in *editPost) apply(p *store.Post) (store.Edit, error) {
	e := store.Edit{Text: in.Text, ScheduledAt: in.ScheduledAt}
	if e.Text != nil {
		p.Text = *e.Text
	}
	if in.Media == nil {
		return e, nil
	}
	refs, err := toRefs("media", *in.Media)
	e.Media, p.Media = &refs, refs
	return e, err
}

// planEdit turns a request into the change that it asks for. What the post would be is checked as a whole.
func (a *API) planEdit(r *request, in editPost) (store.Edit, error) {
	if in.ScheduledAt == nil && in.Text == nil && in.Media == nil {
		return store.Edit{}, errEditEmpty
	}
	view := a.view(r)
	p, err := view.Post(r.context(), r.param)
	if err != nil {
		return store.Edit{}, orNotFound(err, errNoPost)
	}
	if err := a.checkSchedule(in.ScheduledAt); err != nil {
		return store.Edit{}, err
	}
	e, err := in.apply(&p)
	if err != nil {
		return store.Edit{}, err
	}
	find := newFinder(view)
	if in.Media == nil && len(p.Media) > 0 { // what the edit does not name stays
		if err := find.know(r.context(), a.config.Store.Work(), p); err != nil {
			return store.Edit{}, err
		}
	}
	return e, a.preflight(r, find, p, "")
}

func (a *API) editPost(r *request, in editPost) (post, error) {
	e, err := a.planEdit(r, in)
	if err != nil {
		return post{}, err
	}
	edited, err := commit(a, r, func(ctx context.Context, tx *store.Tx) (post, error) {
		edited, err := tx.EditPost(r.param, e)
		if err == nil && e.ScheduledAt != nil {
			err = a.config.Publisher.Enqueue(ctx, tx, []store.Post{edited})
		}
		return a.postOf(edited), err
	})
	if errors.Is(err, store.ErrState) {
		return edited, errNotEditable
	}
	return edited, orNotFound(err, errNoPost)
}

// canceled is what becomes of a post that is deleted: it stays, as a record.
type canceled struct {
	ID     string `json:"id"`
	Status string `json:"status" enum:"canceled"`
}

func (a *API) cancelPost(r *request, _ nothing) (canceled, error) {
	gone, err := commit(a, r, func(_ context.Context, tx *store.Tx) (canceled, error) {
		p, err := tx.CancelPost(r.param)
		return canceled{p.ID, string(p.Status)}, err
	})
	if errors.Is(err, store.ErrState) {
		return gone, errNotCancelable
	}
	return gone, orNotFound(err, errNoPost)
}

// retryPost is the body of a request to publish again what has failed.
type retryPost struct {
	ScheduledAt *time.Time `json:"scheduledAt,omitempty" doc:"At least a second from now; without it, at once."`
}

// queued is a post that waits to be published again.
type queued struct {
	ID          string     `json:"id"`
	Status      string     `json:"status" enum:"queued"`
	ScheduledAt *time.Time `json:"scheduledAt" doc:"null: at once."`
}

func (a *API) retryPost(r *request, in retryPost) (queued, error) {
	if err := a.checkSchedule(in.ScheduledAt); err != nil {
		return queued{}, err
	}
	var at time.Time
	if in.ScheduledAt != nil {
		at = *in.ScheduledAt
	}
	again, err := commit(a, r, func(ctx context.Context, tx *store.Tx) (queued, error) {
		p, err := tx.RequeuePost(r.param, string(r.caller().Key.ID()), at)
		if err == nil {
			err = a.config.Publisher.Enqueue(ctx, tx, []store.Post{p})
		}
		return queued{p.ID, string(p.Status), timeOrNull(p.ScheduledAt)}, err
	})
	if errors.Is(err, store.ErrState) {
		return again, errNotRetryable
	}
	return again, orNotFound(err, errNoPost)
}
