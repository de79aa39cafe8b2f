// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"cmp"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// What may be wrong with an upload, before and around its file. The rules are the reference's.
var (
	errMultipart = problem.NewInvalid("media.content_type",
		"The request's body is not declared to be multipart/form-data.",
		"Send the file as the part named file, such as with `curl -F file=@image.png`.")
	errMultipartBroken = problem.NewInvalid("media.parse_failed",
		"The request's body is not well-formed multipart/form-data, or ended early.", "Send all of it.")
	errFileMissing = problem.NewInvalid("media.missing_file", "The request's body has no part named file.",
		"Send the file as the part named file, such as with `curl -F file=@image.png`.")
	errFileSingle = problem.NewInvalid("media.single_file", "The request's body has more files than one.",
		"Send one request for each file.")
	errProfileTwice = problem.NewInvalid("profileId",
		"profileId is there several times: in the form, or in form and query.", "Send it once.")
	errPartHeader = problem.NewInvalid("media.part_header",
		"What comes before a part of the form, with its header, is larger than 8 KiB.",
		"Send the file as the part named file, such as with `curl -F file=@image.png`.")
	errFileSize = &problem.Problem{
		Kind: problem.TooLarge, Code: problem.CodeValidationFailed, Rule: "media.size_max",
		Message: "The file is larger than this server takes.", Remediation: "Send a smaller one.",
	}
)

// fileProblems are what may be wrong with a file, by what the library says of it. media has no words for callers of its
// own: it is asked by jobs, too.
var fileProblems = map[error]*problem.Problem{
	media.ErrTooLarge: errFileSize,
	media.ErrEmpty:    problem.NewInvalid("media.empty_body", "The file is empty.", "Send its bytes."),
	media.ErrType: problem.NewInvalid("media.type", "The file is none of the types that are taken.",
		"Send one of "+strings.Join(media.Types, ", ")+". What counts is what the file's bytes say: HEIC, as telephones "+
			"write it, and AVIF have to be converted, whatever their names are."),
	media.ErrBroken: problem.NewInvalid("media.broken",
		"The file begins like an image and is not one, or its header is broken.", "Send it whole."),
	media.ErrDimensions: problem.NewInvalid("media.dimensions",
		"The image has more pixels than this server takes.", "Send a smaller one."),
}

// fileProblem turns an error of the library into what is wrong with the file; others stay. It is called where a
// caller's file was read, and not when the answer is made, so that the log, which is given the error itself, names the
// rule.
func fileProblem(err error) error {
	for cause, p := range fileProblems {
		if errors.Is(err, cause) {
			return p
		}
	}
	return err
}

// filePart is the part of an upload that is the file, and what stands in the form before it and behind it. It is
// streamed: what follows it is known when its bytes have been stored, and is looked at before it gets its row.
type filePart struct {
	*multipart.Part
	reader *multipart.Reader
	body   *uploadBody
	// profileID is the field of that name, in the form; nil: there is none so far.
	profileID *string
}

// Bounds of a transfer, which may take longer than the server gives other requests (package serve). They bound what a
// slow or malicious caller costs: a goroutine and a connection, for a quarter of an hour.
const (
	stallAfter   = 30 * time.Second // without a byte; both ways
	uploadWithin = 15 * time.Minute // in all
	formBytes    = 64 << 10         // of all that is not the file: boundaries, headers of parts, a preamble
	// partHeader is of what comes before a part's first byte. It is held in memory, and mime/multipart takes 10 MiB.
	partHeader = 8 << 10
)

// filePart finds the file in the request's body. It is a multipart form because browsers and curl send files so; it is
// not parsed by net/http's ParseMultipartForm because that one stores all of it first. What it returns has read the
// form up to the file's first byte.
func (a *API) filePart(r *endpoint.Request) (*filePart, error) {
	contentType := r.HTTP().Header.Get("Content-Type")
	// The boundary is in the header alone (RFC 7578 section 4.1), so a body without that header can't be read at all.
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" {
		return nil, errMultipart
	}
	// The form has a bound beside that of the file, which the library sees to: what is not the file costs as much to read.
	body := &uploadBody{r: r, now: a.config.Clock.Now, left: a.config.Library.MaxSize() + formBytes}
	if r.HTTP().ContentLength > body.left {
		return nil, errFileSize // before any of it is sent, if the client waits for 100 Continue
	}
	file := &filePart{reader: multipart.NewReader(body, params["boundary"]), body: body}
	return file, file.find()
}

// Bounds of the form beside its file.
const (
	maxFields = 8       // before the file: a form with more has most likely none
	maxField  = 256     // bytes of a value; it is more than any id has
	maxPassed = 4 << 10 // bytes of a field that is passed over: what has more is a file, under another name
)

// find reads the form up to its file. A field that is not known is told once the file is found: a form without a file
// lacks that, whatever else is in it.
func (p *filePart) find() error {
	var unknown error
	for range maxFields + 1 {
		part, err := p.body.nextPart(p.reader)
		switch {
		case errors.Is(err, io.EOF):
			return errFileMissing
		case err != nil:
			return p.body.problem()
		case part.FormName() == "file":
			p.Part = part
			return unknown
		}
		unknown = cmp.Or(unknown, p.field(part))
		switch n, _ := io.CopyN(io.Discard, part, maxPassed); {
		case n == maxPassed && part.FormName() == profileParam.Name:
			return posting.ErrNoProfile // no id is as long
		case n == maxPassed:
			return errFileMissing
		}
	}
	return errFileMissing
}

// field reads a part of the form that is not the file. A field that nobody looks at would be worse than an error: the
// file would be where its sender does not want it.
func (p *filePart) field(part *multipart.Part) error {
	if part.FormName() != profileParam.Name {
		return problem.NewInvalid(endpoint.RuleAt(jsontext.Pointer("").AppendToken(part.FormName())),
			"The form has a field that this endpoint does not know.", "Send the file as the part named file, and profileId.")
	}
	if p.profileID != nil {
		return errProfileTwice
	}
	value, err := io.ReadAll(io.LimitReader(part, maxField))
	if err != nil {
		return p.body.problem()
	}
	id := string(value)
	p.profileID = &id
	return nil
}

// Read makes whatever is wrong with the body the caller's problem. The library would take it for its storage's failure.
// io.EOF is the end of the part and not of the body, which end reads.
func (p *filePart) Read(b []byte) (int, error) {
	n, err := p.Part.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = p.body.problem()
	}
	return n, err
}

// end reads what stands behind the file. A body without its last boundary was cut off, and so was the file.
func (p *filePart) end() error {
	for {
		part, err := p.body.nextPart(p.reader)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return p.body.problem()
		case part.FormName() == "file":
			return errFileSingle
		}
		if err := p.field(part); err != nil { // so no form goes on for long
			return err
		}
	}
}

// uploadBody reads the body of a request for as long as some of it keeps coming, within uploadWithin, and up to a
// number of bytes. The library bounds the file alone, and the multipart reader skips without end what comes before the
// first boundary. It reports no reason itself, since the multipart reader wraps or replaces what it is given: problem
// tells it afterwards.
type uploadBody struct {
	r    *endpoint.Request
	now  func() time.Time
	left int64 // bytes that may still come; negative: there were more

	inHeader   bool
	headerLeft int       // bytes that may still come before the next part begins
	longHeader bool      // there were more
	headerBy   time.Time // when it has to have begun
}

// nextPart finds the next part. Raw: NextPart would decode quoted-printable, and so change the bytes. The bounds begin
// anew with each part, since fields may stand before and behind the file.
func (b *uploadBody) nextPart(reader *multipart.Reader) (*multipart.Part, error) {
	b.inHeader, b.headerLeft, b.headerBy = true, partHeader, b.now().Add(stallAfter)
	part, err := reader.NextRawPart()
	b.inHeader = false
	return part, err
}

// errBodyEndless ends the reading and is never seen: problem asks left.
var errBodyEndless = errors.New("the request's body is larger than any that is taken")

// Read gives each read a deadline of its own, where the server gives one to the whole request: a large file may take
// long, a sender that has stopped may not.
func (b *uploadBody) Read(p []byte) (int, error) {
	if b.longHeader = b.inHeader && b.headerLeft <= 0; b.left < 0 || b.longHeader {
		return 0, errBodyEndless
	}
	deadline := b.now().Add(stallAfter)
	if last := b.r.Start().Add(uploadWithin); deadline.After(last) {
		deadline = last
	}
	if b.inHeader {
		// Otherwise one read could bring more than the bound, as much as its caller has room for, and the next would notice.
		p = p[:min(len(p), b.headerLeft)]
		// A byte now and then keeps a file coming. A header is a few hundred bytes, and has no reason to come like that.
		if deadline.After(b.headerBy) {
			deadline = b.headerBy
		}
	}
	b.r.SetBodyDeadline(deadline, stallAfter)
	n, err := b.r.HTTP().Body.Read(p)
	b.headerLeft -= n
	if b.left -= int64(n); b.left < 0 {
		return 0, errBodyEndless
	}
	return n, err
}

// problem is why the body could not be read to its end. Errors of the multipart reader are not told apart: whether the
// form is broken or the connection, the caller sends it again. What this side has stopped for is asked first: the
// multipart reader's error is only what it made of that.
func (b *uploadBody) problem() error {
	switch {
	case b.left < 0:
		return errFileSize
	case b.longHeader:
		return errPartHeader
	}
	return errMultipartBroken
}

// deadlinePerWrite gives each write of a file a time of its own, where the server gives one to the whole response: a
// large file may take a slow reader longer than that, and one who has stopped reading must not hold a connection.
type deadlinePerWrite struct {
	io.Writer
	r   *endpoint.Request
	now func() time.Time
}

// Write sets the time for this write alone. io.Copy writes 32 KiB at a time, so a reader who takes a kilobyte a second
// goes on getting the file.
func (w deadlinePerWrite) Write(p []byte) (int, error) {
	w.r.SetWriteDeadline(w.now().Add(stallAfter))
	return w.Writer.Write(p)
}
