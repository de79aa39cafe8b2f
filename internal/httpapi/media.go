// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// medium is an uploaded file as the API shows it.
type medium struct {
	ID          string    `json:"id" doc:"Refer to the file by it: {\"kind\": \"image\", \"mediaId\": …}."`
	URL         string    `json:"url" format:"uri" doc:"Where the file's bytes are, for a key that reaches it."`
	ContentType string    `json:"contentType" doc:"What the file is, by its own bytes."`
	SizeBytes   int64     `json:"sizeBytes"`
	SHA256      string    `json:"sha256" doc:"In hex."`
	ProfileID   *string   `json:"profileId" doc:"The profile that it belongs to; null: the organization alone."`
	CreatedAt   time.Time `json:"createdAt"`
}

func (a *API) mediumOf(r *endpoint.Request, m store.Media) medium {
	base := a.config.PublicURL
	switch {
	case base != "":
	case r.HTTP().TLS != nil:
		base = "https://" + r.HTTP().Host
	default:
		base = "http://" + r.HTTP().Host
	}
	return medium{
		ID:          m.ID,
		URL:         strings.TrimRight(base, "/") + "/v1/media/" + m.ID + "/content",
		ContentType: m.ContentType,
		SizeBytes:   m.SizeBytes,
		SHA256:      m.SHA256,
		ProfileID:   stringOrNull(m.ProfileID),
		CreatedAt:   m.CreatedAt,
	}
}

var errMediaInUse = problem.NewConflict("media.in_use", "A post that is still to be published needs this file.",
	"Cancel the post, or wait until it is published.")

func (a *API) listMedia(r *endpoint.Request) (endpoint.Page[medium], error) {
	var view *store.View
	return endpoint.Listed[store.Media, medium]{
		Position: func(m store.Media) store.Position { return store.Position{At: m.CreatedAt, ID: m.ID} },
		Show:     func(m store.Media) medium { return a.mediumOf(r, m) },
	}.Rows(r, func(query url.Values) (err error) {
		view, err = a.viewOfQuery(r, query)
		return err
	}, func(page store.Page) ([]store.Media, bool, error) { return view.Medias(r.Context(), page) })
}

func (a *API) getMedia(r *endpoint.Request) (medium, error) {
	m, err := r.View().Media(r.Context(), r.Param())
	if err != nil {
		return medium{}, orNotFound(err, posting.ErrNoMedia)
	}
	return a.mediumOf(r, m), nil
}

// mediaContent sends a file's bytes. A browser that is shown the address downloads it, and runs nothing of it.
func (a *API) mediaContent(r *endpoint.Request, w io.Writer) error {
	view := r.View()
	m, err := view.Media(r.Context(), r.Param())
	if err != nil {
		return orNotFound(err, posting.ErrNoMedia)
	}
	file, err := a.config.Library.Get(r.Context(), view.BlobKey(m.ID))
	if errors.Is(err, media.ErrNotFound) {
		return posting.ErrNoMedia // it was deleted since
	}
	if err != nil {
		return err
	}
	defer file.Close()
	r.SetFile(m.ContentType, m.SizeBytes)
	_, err = io.Copy(deadlinePerWrite{w, r.Connection(), a.config.Clock.Now}, file)
	return err
}

// deleteMedia removes the row first: bytes without a row are swept up later, a row without bytes would be a lie.
func (a *API) deleteMedia(r *endpoint.Request, _ endpoint.Nothing) (deleted, error) {
	gone, err := write.Commit(r.Context(), r.Operation(), endpoint.Answer(r, endpoint.OK(sameDeleted)),
		func(_ context.Context, tx *store.Tx) (deleted, error) {
			return deleted{r.Param(), true}, tx.DeleteMedia(r.Param())
		})
	switch {
	case errors.Is(err, store.ErrState):
		return gone, errMediaInUse
	case err != nil:
		return gone, orNotFound(err, posting.ErrNoMedia)
	}
	a.deleteBlob(context.WithoutCancel(r.Context()), r, r.View().BlobKey(r.Param()))
	return gone, nil
}

// uploadMedia streams a file into the library and then adds its row. The file of a request that was answered before is
// only looked at: nothing is stored twice.
func (a *API) uploadMedia(r *endpoint.Request) (medium, error) {
	query, err := r.ReadQuery()
	if err != nil {
		return medium{}, err
	}
	var named *string
	if query.Has(profileParam.Name) {
		id := query.Get(profileParam.Name)
		named = &id
	}
	profileID, err := a.profileFor(r, named)
	if err != nil {
		return medium{}, err
	}
	part, err := a.filePart(r)
	if err != nil {
		return medium{}, err
	}
	if r.Answered() {
		return medium{}, a.replayUpload(r, part)
	}
	m := store.Media{ID: a.newMediaID(), ProfileID: profileID}
	file, err := a.receive(r, r.View().BlobKey(m.ID), part)
	if err != nil {
		return medium{}, err
	}
	m.ContentType, m.SizeBytes, m.SHA256 = file.ContentType, file.SizeBytes, file.SHA256
	m.CreatedAt = a.now()
	r.SetContent(file.SHA256)
	return a.addMedium(r, m)
}

// receive puts the file of an upload into the library.
func (a *API) receive(r *endpoint.Request, key string, part *filePart) (media.File, error) {
	file, err := a.config.Library.Put(r.Context(), key, part)
	if err != nil {
		return file, fileProblem(err)
	}
	if err := part.end(); err != nil {
		a.dropBlob(r, key)
		return file, err
	}
	return file, nil
}

// addMedium adds the row of a file that is in the library.
func (a *API) addMedium(r *endpoint.Request, m store.Media) (medium, error) {
	created := func(m store.Media) (int, medium) { return http.StatusCreated, a.mediumOf(r, m) }
	tried := false
	_, err := write.Commit(r.Context(), r.Operation(), endpoint.Answer(r, created),
		func(_ context.Context, tx *store.Tx) (store.Media, error) {
			tried = true
			return m, tx.AddMedia(m)
		})
	// While the database is away, what was tried may have been committed all the same. Then the row must find its bytes;
	// if there is none, they are swept up later.
	if doubtful := tried && errors.Is(err, store.ErrUnavailable); err != nil && !doubtful {
		a.dropBlob(r, r.View().BlobKey(m.ID))
	}
	return a.mediumOf(r, m), orNotFound(err, posting.ErrNoProfile)
}

// replayUpload answers an upload with what was answered before, if the file is the same.
func (a *API) replayUpload(r *endpoint.Request, part *filePart) error {
	file, err := a.config.Library.Look(part)
	if err != nil {
		return fileProblem(err)
	}
	if err := part.end(); err != nil {
		return err
	}
	r.SetContent(file.SHA256)
	return r.Replay()
}

// dropWithin bounds the removal of a file whose request has failed, and perhaps its caller gone.
const dropWithin = 5 * time.Second

// dropBlob removes a file that has got no row.
func (a *API) dropBlob(r *endpoint.Request, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), dropWithin)
	defer cancel()
	a.deleteBlob(ctx, r, key)
}

// deleteBlob removes a file. If that fails, the upkeep of package publish removes it a day later.
func (a *API) deleteBlob(ctx context.Context, r *endpoint.Request, key string) {
	if err := a.config.Library.Delete(ctx, key); err != nil {
		a.config.Logger.WarnContext(ctx, "delete a media file; it will be swept up", "requestId", r.ID(), "error", err)
	}
}

// newMediaID returns "med_" and 22 characters of 0-9A-Za-z: 131 random bits.
func (a *API) newMediaID() string {
	id := []byte("med_0000000000000000000000")
	if err := key.FillBase62(a.config.Random, id[len("med_"):]); err != nil {
		panic(fmt.Errorf("random bits for a media id: %w", err))
	}
	return string(id)
}
