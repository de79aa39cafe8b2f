// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// createPosts is the body of a request to publish.
type createPosts struct {
	Targets      []target      `json:"targets" minItems:"1" maxItems:"25" doc:"Where it goes: one post is made for each."`
	Text         string        `json:"text,omitempty" doc:"The text of targets that have none of their own."`
	Media        []mediaInput  `json:"media,omitempty" doc:"The media of targets that have none of their own."`
	FirstComment *firstComment `json:"firstComment,omitempty" doc:"That of targets that have none of their own."`
	PublishNow   *bool         `json:"publishNow,omitempty" doc:"What happens without scheduledAt anyway."`
	ScheduledAt  *time.Time    `json:"scheduledAt,omitempty" doc:"When to publish, at least a second from now; without it, at once."`
	ProfileID    *string       `json:"profileId,omitempty" doc:"Only accounts of this profile are meant."`
}

// target is one account that a post goes to.
type target struct {
	AccountID    *string           `json:"accountId,omitempty" doc:"This, or platform, or both."`
	Platform     *platform.Name    `json:"platform,omitempty" doc:"Enough if the key reaches one account of it."`
	Text         *string           `json:"text,omitempty"`
	Media        *[]mediaInput     `json:"media,omitempty"`
	FirstComment *firstComment     `json:"firstComment,omitempty"`
	Options      *platform.Options `json:"options,omitempty" doc:"What only this platform knows."`
}

type firstComment struct {
	Text string `json:"text" doc:"A reply that is published after the post."`
}

// mediaInput is a file of a post.
type mediaInput struct {
	Kind    string `json:"kind" enum:"image,video"`
	AltText string `json:"altText,omitempty"`
	MediaID string `json:"mediaId,omitempty" doc:"Of POST /v1/media."`

	URL         string `json:"url,omitempty" doc:"Not taken yet: upload the file."`
	BytesBase64 string `json:"bytesBase64,omitempty" doc:"Not taken yet: upload the file."`
}

// batch is what became of a request to publish.
type batch struct {
	ID          string              `json:"id"`
	Status      posting.BatchStatus `json:"status"`
	CreatedAt   time.Time           `json:"createdAt"`
	ScheduledAt *time.Time          `json:"scheduledAt,omitempty"`
	Results     []targetResult      `json:"results" doc:"In the order of targets."`
}

type targetResult struct {
	AccountID       string             `json:"accountId"`
	Platform        platform.Name      `json:"platform"`
	PostID          string             `json:"postId"`
	Status          store.Status       `json:"status"`
	URI             string             `json:"uri,omitempty"`
	CID             string             `json:"cid,omitempty"`
	FirstCommentURI string             `json:"firstCommentUri,omitempty"`
	FirstCommentCID string             `json:"firstCommentCid,omitempty"`
	Warnings        []platform.Warning `json:"warnings,omitempty"`
	Error           *platform.Failure  `json:"error,omitempty"`
}

// draft is the body as package posting has it.
func (in *createPosts) draft() posting.Draft {
	d := posting.Draft{
		Text: in.Text, Media: mediaOf(in.Media), FirstComment: in.FirstComment.text(),
		PublishNow: in.PublishNow, ScheduledAt: in.ScheduledAt, ProfileID: in.ProfileID,
		Targets: make([]posting.Target, 0, len(in.Targets)),
	}
	for _, t := range in.Targets {
		target := posting.Target{
			AccountID: t.AccountID, Platform: t.Platform, Text: t.Text,
			FirstComment: t.FirstComment.text(), Options: t.Options,
		}
		if t.Media != nil {
			own := mediaOf(*t.Media)
			target.Media = &own
		}
		d.Targets = append(d.Targets, target)
	}
	return d
}

// text is that of a comment; nil: there is none.
func (c *firstComment) text() *string {
	if c == nil {
		return nil
	}
	return &c.Text
}

func mediaOf(items []mediaInput) []posting.Media {
	media := make([]posting.Media, 0, len(items))
	for _, m := range items {
		media = append(media, posting.Media(m))
	}
	return media
}

func (a *API) createPosts(r *endpoint.Request, in createPosts) (batch, error) {
	b, err := a.posting.Create(r.Context(), r.Caller(), r.Operation(), in.draft(), endpoint.Answer(r, batchAnswer))
	return batchOf(b), err
}

func batchAnswer(b posting.Batch) (int, batch) {
	if b.Scheduled {
		return http.StatusAccepted, batchOf(b)
	}
	return http.StatusOK, batchOf(b)
}

// batchOf shows the posts of one request.
func batchOf(b posting.Batch) batch {
	shown := batch{Status: b.Status(), Results: make([]targetResult, 0, len(b.Posts))}
	for _, p := range b.Posts {
		shown.ID, shown.CreatedAt, shown.ScheduledAt = p.BatchID, p.CreatedAt.UTC(), timeOrNull(p.ScheduledAt)
		shown.Results = append(shown.Results, targetResult{
			AccountID: p.AccountID, Platform: p.Platform, PostID: p.ID, Status: p.Status,
			URI: p.Receipt.URI, CID: p.Receipt.CID,
			FirstCommentURI: p.Receipt.FirstCommentURI, FirstCommentCID: p.Receipt.FirstCommentCID,
			Warnings: p.Receipt.Warnings, Error: p.Failure,
		})
	}
	return shown
}

// post is one text for one account as the API shows it.
type post struct {
	ID          string            `json:"id"`
	ProfileID   *string           `json:"profileId" doc:"The profile of its account; null: the organization alone."`
	AccountID   *string           `json:"accountId" doc:"null once the account is disconnected."`
	Account     *postAccount      `json:"account" doc:"null once the account is disconnected."`
	Platform    platform.Name     `json:"platform"`
	Status      store.Status      `json:"status" doc:"failed: it may go better another time; rejected: not unless something is changed."`
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
	ID                string        `json:"id"`
	Platform          platform.Name `json:"platform"`
	PlatformAccountID string        `json:"platformAccountId"`
	DisplayName       *string       `json:"displayName"`
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
		Platform:    p.Platform,
		Status:      p.Status,
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
		shown.Account = &postAccount{ref.ID, ref.Platform, ref.PlatformAccountID, stringOrNull(ref.DisplayName)}
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

// Values of the filters, and of what is shown.
var (
	platformNames = catalog.All.Names()
	postStatuses  = texts(
		store.Queued, store.Publishing, store.Published, store.Failed, store.Rejected, store.Canceled,
	)
	batchStatuses = texts(posting.BatchStatuses...)
)

func texts[T ~string](values ...T) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return list
}

// Values of the filters that are the reference's and that no post here ever has. Asking for them is no mistake: there
// are none.
var (
	otherPlatforms = []string{"facebook", "instagram", "pinterest", "threads", "tiktok", "twitter"}
	otherStatuses  = []string{"validated"}
)

var postFilters = []endpoint.Parameter{
	profileParam,
	{Name: "platform", Description: "Only posts for these platforms.", Values: platformNames, List: true},
	{Name: "status", Description: "Only posts with these statuses.", Values: postStatuses, List: true},
	{Name: "errorCode", Description: "Only posts that ended with these codes.", List: true},
	{Name: "q", Description: "Only posts with this in their text, at most 200 characters, in upper or lower case."},
	{Name: "after", Description: "Only posts created at this time or later.", Format: "date-time"},
	{Name: "before", Description: "Only posts created before this time.", Format: "date-time"},
}

func (a *API) listPosts(r *endpoint.Request) (endpoint.Page[post], error) {
	var filter store.PostFilter
	var view *store.View
	return postList(a).Rows(r, func(query url.Values) (err error) {
		if filter, err = postFilter(query); err != nil {
			return err
		}
		view, err = a.viewOfQuery(r, query)
		return err
	}, func(page store.Page) ([]store.Post, bool, error) { return view.Posts(r.Context(), filter, page) })
}

func postList(a *API) endpoint.Listed[store.Post, post] {
	return endpoint.Listed[store.Post, post]{
		Position: func(p store.Post) store.Position { return store.Position{At: p.CreatedAt, ID: p.ID} },
		Show:     a.postOf,
	}
}

func postFilter(query url.Values) (f store.PostFilter, err error) {
	if f.Platforms, err = endpoint.ListParam(query, "platform", slices.Concat(platformNames, otherPlatforms)); err != nil {
		return f, err
	}
	if f.Statuses, err = endpoint.ListParam(query, "status", slices.Concat(postStatuses, otherStatuses)); err != nil {
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

func (a *API) getPost(r *endpoint.Request) (*postDetail, error) {
	p, err := r.View().Post(r.Context(), r.Param())
	if err != nil {
		return nil, orNotFound(err, posting.ErrNoPost)
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

// editPost is the body of a change of a post.
type editPost struct {
	ScheduledAt *time.Time    `json:"scheduledAt,omitempty" doc:"At least a second from now."`
	Text        *string       `json:"text,omitempty"`
	Media       *[]mediaInput `json:"media,omitempty"`
}

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

// canceled is what becomes of a post that is deleted: it stays, as a record.
type canceled struct {
	ID     string `json:"id"`
	Status string `json:"status" enum:"canceled"`
}

func canceledOf(p store.Post) canceled { return canceled{p.ID, string(p.Status)} }

func (a *API) cancelPost(r *endpoint.Request, _ endpoint.Nothing) (canceled, error) {
	p, err := a.posting.Cancel(r.Context(), r.Operation(), r.Param(), endpoint.Answer(r, endpoint.OK(canceledOf)))
	return canceledOf(p), err
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

func queuedOf(p store.Post) queued { return queued{p.ID, string(p.Status), timeOrNull(p.ScheduledAt)} }

func (a *API) retryPost(r *endpoint.Request, in retryPost) (queued, error) {
	p, err := a.posting.Retry(r.Context(), r.Caller(), r.Operation(), r.Param(), in.ScheduledAt,
		endpoint.Answer(r, endpoint.OK(queuedOf)))
	return queuedOf(p), err
}
