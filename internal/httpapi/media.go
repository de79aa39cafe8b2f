// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/store"
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

func (a *API) mediumOf(r *request, m store.Media) medium {
	base := a.config.PublicURL
	switch {
	case base != "":
	case r.http.TLS != nil:
		base = "https://" + r.http.Host
	default:
		base = "http://" + r.http.Host
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

var (
	errNoMedia = &problem{
		status: http.StatusNotFound, code: codeNotFound,
		message:     "There is no media file with this id that the key reaches.",
		remediation: "GET /v1/media lists the files that the key reaches.",
	}
	errMediaInUse = &problem{
		status: http.StatusConflict, code: codeValidationFailed, rule: "media.in_use",
		message:     "A post that is still to be published needs this file.",
		remediation: "Cancel the post, or wait until it is published.",
	}
	errMultipart = errInvalid("media.content_type", "The request's body is not declared to be multipart/form-data.",
		"Send the file as the part named file, such as with `curl -F file=@image.png`.")
	errMultipartBroken = errInvalid(
		"media.parse_failed",
		"The request's body is not well-formed multipart/form-data, or ended early.",
		"Send all of it.",
	)
	errFileMissing = errInvalid("media.missing_file", "The request's body has no part named file.",
		"Send the file as the part named file, such as with `curl -F file=@image.png`.")
	errFileSingle = errInvalid("media.single_file", "The request's body has more parts than one.",
		"Send one request for each file.")
	errFileSize = &problem{
		status: http.StatusRequestEntityTooLarge, code: codeValidationFailed, rule: "media.size_max",
		message:     "The file is larger than this server takes.",
		remediation: "Send a smaller one.",
	}
)

// fileProblems are what may be wrong with a file.
var fileProblems = map[error]*problem{
	media.ErrTooLarge: errFileSize,
	media.ErrEmpty:    errInvalid("media.empty_body", "The file is empty.", "Send its bytes."),
	media.ErrType: errInvalid("media.type", "The file is none of the types that are taken.",
		"Send one of "+strings.Join(media.Types, ", ")+". What counts is what the file's bytes say."),
	media.ErrBroken: errInvalid(
		"media.broken",
		"The file begins like an image and is none, or its header is broken.",
		"Send it whole.",
	),
	media.ErrDimensions: errInvalid(
		"media.dimensions",
		"The image has more pixels than this server takes.",
		"Send a smaller one.",
	),
}

func (a *API) listMedia(r *request) (page[medium], error) {
	query, err := r.query()
	if err != nil {
		return page[medium]{}, err
	}
	p, err := r.storePage(query)
	if err != nil {
		return page[medium]{}, err
	}
	view, err := a.viewOfQuery(r, query)
	if err != nil {
		return page[medium]{}, err
	}
	files, more, err := view.Medias(r.context(), p)
	if err != nil {
		return page[medium]{}, err
	}
	where := func(m store.Media) position { return position{m.CreatedAt, m.ID} }
	return pageOf(files, more, where, func(m store.Media) medium { return a.mediumOf(r, m) }), nil
}

func (a *API) getMedia(r *request) (medium, error) {
	m, err := a.view(r).Media(r.context(), r.param)
	if err != nil {
		return medium{}, orNotFound(err, errNoMedia)
	}
	return a.mediumOf(r, m), nil
}

// mediaContent sends a file's bytes. A browser that is shown the address downloads it, and runs nothing of it.
func (a *API) mediaContent(r *request, w io.Writer) error {
	view := a.view(r)
	m, err := view.Media(r.context(), r.param)
	if err != nil {
		return orNotFound(err, errNoMedia)
	}
	file, err := a.config.Library.Get(r.context(), view.BlobKey(m.ID))
	if errors.Is(err, media.ErrNotFound) {
		return errNoMedia // it was deleted since
	}
	if err != nil {
		return err
	}
	defer file.Close()
	r.contentType, r.size = m.ContentType, m.SizeBytes
	_, err = io.Copy(keepingUp{w, r, a.config.Clock.Now}, file)
	return err
}

// keepingUp gives each write a time of its own, where the server gives all of them one.
type keepingUp struct {
	io.Writer
	r   *request
	now func() time.Time
}

func (k keepingUp) Write(p []byte) (int, error) {
	_ = k.r.connection.SetWriteDeadline(k.now().Add(stallAfter))
	return k.Writer.Write(p)
}

// deleteMedia removes the row first: bytes without a row are swept up later, a row without bytes would be a lie.
func (a *API) deleteMedia(r *request, _ nothing) (deleted, error) {
	gone, err := commit(a, r, func(_ context.Context, tx *store.Tx) (deleted, error) {
		return deleted{r.param, true}, tx.DeleteMedia(r.param)
	})
	switch {
	case errors.Is(err, store.ErrState):
		return gone, errMediaInUse
	case err != nil:
		return gone, orNotFound(err, errNoMedia)
	}
	if err := a.config.Library.Delete(context.WithoutCancel(r.context()), a.view(r).BlobKey(r.param)); err != nil {
		a.config.Logger.WarnContext(r.context(), "delete a media file; it will be swept up", "requestId", r.id, "error", err)
	}
	return gone, nil
}

// uploadMedia streams a file into the library and then adds its row. What is stored twice is that of a request which
// was answered before: it is only looked at.
func (a *API) uploadMedia(r *request) (medium, error) {
	query, err := r.query()
	if err != nil {
		return medium{}, err
	}
	var named *string
	if query.Has(profileParam.name) {
		id := query.Get(profileParam.name)
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
	if r.stored != nil {
		return medium{}, a.replayUpload(r, part)
	}
	m := store.Media{ID: a.newMediaID(), ProfileID: profileID}
	file, err := a.receive(r, a.view(r).BlobKey(m.ID), part)
	if err != nil {
		return medium{}, err
	}
	m.ContentType, m.SizeBytes, m.SHA256 = file.ContentType, file.SizeBytes, file.SHA256
	m.CreatedAt = a.now()
	r.hash = r.bodyHash([]byte(file.SHA256))
	return a.addMedium(r, m)
}

// receive puts the file of an upload into the library.
func (a *API) receive(r *request, key string, part *filePart) (media.File, error) {
	file, err := a.config.Library.Put(r.context(), key, part)
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
func (a *API) addMedium(r *request, m store.Media) (medium, error) {
	tried := false
	added, err := commit(a, r, func(_ context.Context, tx *store.Tx) (medium, error) {
		tried = true
		r.status = http.StatusCreated
		return a.mediumOf(r, m), tx.AddMedia(m)
	})
	// While the database is away, what was tried may have been committed all the same. Then the row must find its bytes;
	// if there is none, they are swept up later.
	if doubtful := tried && errors.Is(err, store.ErrUnavailable); err != nil && !doubtful {
		a.dropBlob(r, a.view(r).BlobKey(m.ID))
	}
	return added, orNotFound(err, errNoProfile)
}

// replayUpload answers an upload with what was answered before, if the file is the same.
func (a *API) replayUpload(r *request, part *filePart) error {
	file, err := a.config.Library.Look(part)
	if err != nil {
		return fileProblem(err)
	}
	if err := part.end(); err != nil {
		return err
	}
	if r.bodyHash([]byte(file.SHA256)) != r.stored.BodyHash {
		return errBodyMismatch
	}
	r.replay()
	return nil
}

// dropBlob removes a file that has got no row. If that fails, it is swept up later.
func (a *API) dropBlob(r *request, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.context()), concludeWithin)
	defer cancel()
	if err := a.config.Library.Delete(ctx, key); err != nil {
		a.config.Logger.WarnContext(ctx, "delete a media file; it will be swept up", "requestId", r.id, "error", err)
	}
}

// fileProblem turns an error of the library into what the caller is told.
func fileProblem(err error) error {
	for cause, p := range fileProblems {
		if errors.Is(err, cause) {
			return p
		}
	}
	return err
}

// filePart is the part of an upload that is the file.
type filePart struct {
	*multipart.Part
	reader *multipart.Reader
	body   *patient
}

// Bounds of a transfer, which may take longer than the server gives other requests.
const (
	stallAfter   = 30 * time.Second // without a byte
	uploadWithin = 15 * time.Minute // in all
	formBytes    = 64 << 10         // of all that is not the file
)

// filePart finds the file in the request's body.
func (a *API) filePart(r *request) (*filePart, error) {
	contentType := r.http.Header.Get("Content-Type")
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" {
		return nil, errMultipart
	}
	body := &patient{r: r, now: a.config.Clock.Now, left: a.config.Library.MaxSize() + formBytes}
	if r.http.ContentLength > body.left {
		return nil, errFileSize
	}
	reader := multipart.NewReader(body, params["boundary"])
	part, err := reader.NextRawPart()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errFileMissing
	case err != nil:
		return nil, body.problem()
	case part.FormName() != "file":
		return nil, errFileMissing
	}
	return &filePart{part, reader, body}, nil
}

// Read makes whatever is wrong with the body the caller's problem.
func (p *filePart) Read(b []byte) (int, error) {
	n, err := p.Part.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = p.body.problem()
	}
	return n, err
}

// end checks that the body ends with the file.
func (p *filePart) end() error {
	_, err := p.reader.NextRawPart()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return p.body.problem()
	default:
		return errFileSingle
	}
}

// patient reads the body of a request for as long as some of it keeps coming, within uploadWithin, and not beyond its
// bounds: what comes before the file, line by line, may be without end.
type patient struct {
	r    *request
	now  func() time.Time
	left int64 // bytes that may still come; negative: there were more
}

var errBodyEndless = errors.New("the request's body is larger than any that is taken")

func (p *patient) Read(b []byte) (int, error) {
	if p.left < 0 {
		return 0, errBodyEndless
	}
	deadline := p.now().Add(stallAfter)
	if last := p.r.start.Add(uploadWithin); deadline.After(last) {
		deadline = last
	}
	_ = p.r.connection.SetReadDeadline(deadline)
	_ = p.r.connection.SetWriteDeadline(deadline.Add(stallAfter)) // for the answer
	if p.r.context().Err() != nil {
		_ = p.r.connection.SetReadDeadline(time.Unix(1, 0)) // as unblockReads has done, or is about to
	}
	n, err := p.r.http.Body.Read(b)
	if p.left -= int64(n); p.left < 0 {
		return 0, errBodyEndless
	}
	return n, err
}

// problem is why the body could not be read to its end.
func (p *patient) problem() error {
	if p.left < 0 {
		return errFileSize
	}
	return errMultipartBroken
}

// newMediaID returns "med_" and 22 characters of 0-9A-Za-z: 131 random bits.
func (a *API) newMediaID() string {
	id := []byte("med_0000000000000000000000")
	if err := key.FillBase62(a.config.Random, id[len("med_"):]); err != nil {
		panic(fmt.Errorf("random bits for a media id: %w", err))
	}
	return string(id)
}
