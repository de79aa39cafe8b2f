// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"
)

// Media is an uploaded file. Its bytes are elsewhere, under BlobKey.
type Media struct {
	ID          string
	ProfileID   string // "": of the organization alone
	ContentType string
	SizeBytes   int64
	SHA256      string // hex
	CreatedAt   time.Time
}

// BlobKey is where the bytes of a medium are: environment, organization and id, separated by slashes.
func (v *View) BlobKey(mediaID string) string { panic("TODO") }

// Medias lists media. more tells whether there are any after the last of these.
func (v *View) Medias(ctx context.Context, p Page) (media []Media, more bool, err error) {
	panic("TODO")
}

// Media returns one medium. Without it, or with an id that is none, the error is ErrNotFound.
func (v *View) Media(ctx context.Context, id string) (Media, error) { panic("TODO") }

// AddMedia adds a medium whose bytes are in place. A profile that the view does not reach is ErrNotFound.
func (tx *Tx) AddMedia(m Media) error { panic("TODO") }

// DeleteMedia removes a medium. ErrState: a post that is queued or being published needs it.
func (tx *Tx) DeleteMedia(id string) error { panic("TODO") }

// MediaOf returns the media of a post that is being published, in the post's order, with where their bytes are.
func (w *Work) MediaOf(ctx context.Context, postID string) ([]Media, []string, error) { panic("TODO") }

// Unreferenced returns those of the blob keys that no medium has.
func (w *Work) Unreferenced(ctx context.Context, blobKeys []string) ([]string, error) { panic("TODO") }
