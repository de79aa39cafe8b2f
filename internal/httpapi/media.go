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
	"github.com/letmepost/letmepost-operator/internal/wire"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// medium is an uploaded file as the API shows it. SHA256 is there to tell whether what arrived is what was sent.
type medium struct {
	ID          string    `json:"id" doc:"Refer to the file by it: {\"kind\": \"image\", \"mediaId\": …}."`
	URL         string    `json:"url" format:"uri" doc:"Where the file's bytes are, for a key that reaches it."`
	ContentType string    `json:"contentType" doc:"What the file is, by its own bytes."`
	SizeBytes   int64     `json:"sizeBytes"`
	SHA256      string    `json:"sha256" doc:"In hex."`
	ProfileID   *string   `json:"profileId" doc:"The profile that it belongs to; null: the organization alone."`
	CreatedAt   time.Time `json:"createdAt"`
}

// mediumOf shows a file. Its URL is absolute, as the reference's is, so it needs to be known where callers reach this
// API: behind a proxy that ends TLS, the Host they ask for is right and the scheme is not, and PublicURL says it.
func (a *API) mediumOf(r *endpoint.Request, m store.Media) medium {
	// The Host header is the caller's own word, and goes back to no one but that caller.
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

// errMediaInUse protects posts that are still to come. What was published has its copy at the platform. It is said only
// of posts that the caller reaches: see DeleteMedia of package store.
var errMediaInUse = problem.NewConflict("media.in_use", "A post that is still to be published needs this file.",
	"Cancel the post, or wait until it is published.")

// listMedia shows rows, and does not look whether their bytes are there: that would be one request to the storage for
// each.
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

// getMedia answers from the row alone, as listMedia does.
func (a *API) getMedia(r *endpoint.Request) (medium, error) {
	m, err := r.View().Media(r.Context(), r.Param())
	if err != nil {
		return medium{}, posting.OrNotFound(err, posting.ErrNoMedia)
	}
	return a.mediumOf(r, m), nil
}

// mediaContent sends a file's bytes. A browser that is shown the address downloads it, and runs nothing of it. Its
// length goes out in the header: a connection that breaks in the middle must not look like a shorter file. It is the
// only response that is not complete before its first byte, so a revocation in the middle resets the stream.
func (a *API) mediaContent(r *endpoint.Request, w io.Writer) error {
	view := r.View()
	m, err := view.Media(r.Context(), r.Param())
	if err != nil {
		return posting.OrNotFound(err, posting.ErrNoMedia)
	}
	// By the view's own key, of organization and environment: an id alone leads to no bytes.
	file, err := a.config.Library.Get(r.Context(), view.BlobKey(m.ID))
	if errors.Is(err, media.ErrNotFound) {
		return posting.ErrNoMedia // it was deleted since its row was read
	}
	if err != nil {
		return err
	}
	defer file.Close()
	// Type and size are the row's: they were taken from the bytes when these were stored, and bytes never change.
	r.SetFile(m.ContentType, m.SizeBytes)
	_, err = io.Copy(deadlinePerWrite{w, r, a.config.Clock.Now}, file)
	return err
}

// deleteMedia removes the row first: bytes without a row are swept up later, while a row without bytes would be a file
// that can be listed, chosen for a post, and not published. A second request finds nothing and says so; whoever is not
// sure that the first one arrived sends an Idempotency-Key.
func (a *API) deleteMedia(r *endpoint.Request, _ endpoint.Nothing) (deleted, error) {
	// Set in the transaction, which may run more than once; the last run counts, and is the one that was committed.
	needed := false // by a post that the caller does not reach
	show := func(gone deleted) deleted { return gone }
	gone, err := write.Commit(r.Context(), r.Operation(), endpoint.Answer(r, endpoint.OK(show)),
		func(_ context.Context, tx *store.Tx) (gone deleted, err error) {
			needed, err = tx.DeleteMedia(r.Param())
			return deletedOf(r.Param()), err
		})
	switch {
	case errors.Is(err, store.ErrState):
		return gone, errMediaInUse
	case err != nil:
		return gone, posting.OrNotFound(err, posting.ErrNoMedia)
	case needed:
		return gone, nil
	}
	// Whether the caller still waits or not: the row is gone, so nobody could ask for it again.
	a.dropBlob(r, r.View().BlobKey(r.Param()))
	return gone, nil
}

// uploadMedia streams a file into the library and then adds its row. In this order, because bytes without a row are
// swept up, and a row without bytes would be an answer that is not true.
//
// If the Idempotency-Key was answered before, the file that comes this time is read only to see whether it is the same.
// Nothing of it is stored.
func (a *API) uploadMedia(r *endpoint.Request) (medium, error) {
	// Nothing is decompressed, and a form that is compressed would be said to be broken.
	if err := wire.CheckEncoding(r.HTTP().Header); err != nil {
		return medium{}, err
	}
	var named *string
	if query := r.Query(); query.Has(profileParam.Name) {
		id := query.Get(profileParam.Name)
		named = &id
	}
	if _, err := a.profileFor(r, named); err != nil {
		return medium{}, err
	}
	// After all that can be wrong without it: nobody should send a large file to be told of a typing error.
	part, err := a.filePart(r)
	if err != nil {
		return medium{}, err
	}
	// The form's fields before the file have been read, so a profile that is wrong there is told before the file is taken.
	if _, err := a.profileOf(r, named, part); err != nil {
		return medium{}, err
	}
	if r.Answered() {
		return medium{}, a.replayUpload(r, part)
	}
	file, done, err := a.roomFor(r, part)
	if err != nil {
		return medium{}, err
	}
	defer done()
	// The id comes before the bytes, whose place in the library is named after it: two uploads never share one.
	m := store.Media{ID: a.newMediaID()}
	got, err := a.receive(r, r.View().BlobKey(m.ID), part, file)
	if err != nil {
		return medium{}, err
	}
	// Once more, and for good: a field behind the file counts as one before it does.
	if m.ProfileID, err = a.profileOf(r, named, part); err != nil {
		a.dropBlob(r, r.View().BlobKey(m.ID))
		return medium{}, err
	}
	m.ContentType, m.SizeBytes, m.SHA256 = got.ContentType, got.SizeBytes, got.SHA256
	// When it is there, not when its upload began: listings are in the order of commits, nearly.
	m.CreatedAt = a.now()
	r.SetContent(contentOf(got, part)) // before the commit, which stores it with the answer
	return a.addMedium(r, m)
}

// profileOf is the profile that an upload names, in its query (named) or in its form, as far as that has been read: a
// field may follow the file. It is asked as often as more of the form has been read. Named in both places it is
// refused, since the two may differ.
func (a *API) profileOf(r *endpoint.Request, named *string, part *filePart) (string, error) {
	if part.profileID == nil {
		return a.profileFor(r, named)
	}
	if named != nil {
		return "", errProfileTwice
	}
	return a.profileFor(r, part.profileID)
}

// contentOf tells an upload from others: its file, and its field. It takes the place of the body's hash, which
// boundaries make another one each time that the same form is sent. The query is hashed with it.
func contentOf(file media.File, part *filePart) string {
	if part.profileID == nil {
		return file.SHA256
	}
	return file.SHA256 + "\x00" + *part.profileID
}

// receive puts the file of an upload, which is read from a bounded part, into the library. What follows the file is
// read before the row is added: a request with two files is refused as one, and leaves nothing.
func (a *API) receive(r *endpoint.Request, key string, part *filePart, bounded io.Reader) (media.File, error) {
	file, err := a.config.Library.Put(r.Context(), key, bounded)
	if err != nil {
		return file, fileProblem(err)
	}
	if err := part.end(); err != nil {
		a.dropBlob(r, key)
		return file, err
	}
	return file, nil
}

// addMedium adds the row of a file that is in the library, or removes the file again.
func (a *API) addMedium(r *endpoint.Request, m store.Media) (medium, error) {
	created := func(m store.Media) (int, medium) { return http.StatusCreated, a.mediumOf(r, m) }
	// An outage before that is the common one, and would otherwise leave each file of each try to be swept.
	tried := false // a transaction has begun; without one, nothing can have been committed
	_, err := write.Commit(r.Context(), r.Operation(), endpoint.Answer(r, created),
		func(_ context.Context, tx *store.Tx) (store.Media, error) {
			tried = true
			return m, tx.AddMedia(m)
		})
	// If the database went away in the middle, the row may have been committed all the same, and needs the bytes. If it
	// was not, they are swept up later.
	if mayBeThere := tried && errors.Is(err, store.ErrUnavailable); err != nil && !mayBeThere {
		a.dropBlob(r, r.View().BlobKey(m.ID))
	}
	return a.mediumOf(r, m), posting.OrNotFound(err, posting.ErrNoProfile)
}

// replayUpload answers an upload with what was answered before, if the file is the same. All of it is read for that: a
// file that only begins like the first one is another one. A file that is another one is a conflict, as another body is
// for all other writes.
func (a *API) replayUpload(r *endpoint.Request, part *filePart) error {
	file, err := a.config.Library.Look(part)
	if err != nil {
		return fileProblem(err)
	}
	if err := part.end(); err != nil {
		return err
	}
	r.SetContent(contentOf(file, part))
	return r.Replay()
}

// dropWithin bounds the removal of a file, for which its caller waits, or has gone: a store may never answer.
const dropWithin = 5 * time.Second

// dropBlob removes a file that has no row, or none any more. Not in the request's context, which may have ended: that
// is often why.
func (a *API) dropBlob(r *endpoint.Request, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), dropWithin)
	defer cancel()
	a.deleteBlob(ctx, r, key)
}

// deleteBlob removes a file. If that fails, the upkeep of package publish removes it a day later. The caller is told of
// no error: what they asked for is done. The log has the request's id, by which an operator finds what was answered.
func (a *API) deleteBlob(ctx context.Context, r *endpoint.Request, key string) {
	if err := a.config.Library.Delete(ctx, key); err != nil {
		a.config.Logger.WarnContext(ctx, "delete a media file; it will be swept up", "requestId", r.ID(), "error", err)
	}
}

// newMediaID returns "med_" and 22 characters of 0-9A-Za-z: 131 random bits. It says what it is, unlike the UUIDs of
// other things, because the reference's do.
func (a *API) newMediaID() string {
	id := []byte("med_0000000000000000000000")
	if err := key.FillBase62(a.config.Random, id[len("med_"):]); err != nil {
		panic(fmt.Errorf("random bits for a media id: %w", err)) // crypto/rand never fails; a weaker id would be worse
	}
	return string(id)
}
