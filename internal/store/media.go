// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
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

var (
	listMedia = declareScoped(`SELECT ` + mediaColumns + ` FROM media AS m
WHERE {scope m} ORDER BY m.created_at DESC, m.id DESC LIMIT ?`)
	listMediaAfter = declareScoped(`SELECT ` + mediaColumns + ` FROM media AS m
WHERE {scope m} AND (m.created_at, m.id) < (?, ?) ORDER BY m.created_at DESC, m.id DESC LIMIT ?`)
	mediaByID = declareScoped(`SELECT ` + mediaColumns + ` FROM media AS m WHERE m.id = ? AND {scope m}`)
	addMedia  = declareScoped(`INSERT INTO media
(organization_id, environment, id, profile_id, content_type, size_bytes, sha256, created_at)
VALUES ({owner}, ?, ?, ?, ?, ?, ?)`)
	// UPDATE keeps out those who want it with SHARE: posts that are just being added.
	lockMedia   = declareScoped(`SELECT id FROM media WHERE id = ? AND {scope} {lock UPDATE}`)
	usesOfMedia = declareScoped(`SELECT p.id FROM post_media AS u JOIN posts AS p ON p.id = u.post_id
WHERE u.media_id = ? AND p.status IN ('queued', 'publishing') AND {scope p} LIMIT 1`)
	// A post of another profile may use it, if it was made with a key of the whole organization.
	usesElsewhere = declareScoped(`SELECT p.id FROM post_media AS u JOIN posts AS p ON p.id = u.post_id
WHERE u.media_id = ? AND p.status IN ('queued', 'publishing') AND {organization p} LIMIT 1`)
	// Of a file that is given away, to the view's own posts it is gone, as if it were deleted: whether it can be sent once
	// more would tell that others need it.
	forgetUses = declareScoped(`DELETE FROM post_media
WHERE media_id = ? AND post_id IN (SELECT p.id FROM posts AS p WHERE {scope p})`)
	giveMedia   = declareScoped(`UPDATE media SET profile_id = '' WHERE id = ? AND {scope}`)
	deleteMedia = declareScoped(`DELETE FROM media WHERE id = ? AND {scope}`)

	// Whose view found the media is long over: whether the post may have them was decided when it was made.
	mediaOf = declareGlobal(`SELECT ` + mediaColumns + `, m.environment, m.organization_id
FROM post_media AS u JOIN media AS m ON m.id = u.media_id WHERE u.post_id = ? ORDER BY u.position`)
)

const mediaColumns = `m.id, m.profile_id, m.content_type, m.size_bytes, m.sha256, m.created_at`

// scanMedia reads the columns of mediaColumns.
func scanMedia(rows *sql.Rows) (m Media, err error) {
	var created int64
	err = rows.Scan(&m.ID, &m.ProfileID, &m.ContentType, &m.SizeBytes, &m.SHA256, &created)
	m.CreatedAt = fromMicros(created)
	return m, err
}

// BlobKey is where the bytes of a medium are: environment, organization and id, separated by slashes.
func (v *View) BlobKey(mediaID string) string { return blobKey(v.environment, v.organization, mediaID) }

// blobKey begins with whose the bytes are, so that an operator finds all of an organization in one folder. Unreferenced
// and the sweep compare whole keys, so a change here would make all files that are stored belong to nobody.
func blobKey(environment, organization, mediaID string) string {
	return environment + "/" + organization + "/" + mediaID
}

// Medias lists media, newest first. more tells whether there are any after the last of these.
func (v *View) Medias(ctx context.Context, p Page) (media []Media, more bool, err error) {
	return list(ctx, v, p, listMedia, listMediaAfter, scanMedia, sizeOfMedia)
}

// sizeOfMedia is about how long a file's row is as JSON: nobody has written any of it.
func sizeOfMedia(Media) int { return rowBytes }

// Media returns one medium. If there is none, or id is not well-formed, the error is ErrNotFound.
func (v *View) Media(ctx context.Context, id string) (Media, error) {
	if !isID(id) {
		return Media{}, ErrNotFound
	}
	return one(read(ctx, v, mediaByID, scanMedia, id))
}

// AddMedia adds a medium whose bytes are in place. A profile that the view does not reach is ErrNotFound. A
// *QuotaError: there is no room for it. In this order no reader finds a row whose bytes are missing.
func (tx *Tx) AddMedia(m Media) error {
	if !tx.view.includes(m.ProfileID) || !isID(m.ID) || m.ProfileID != "" && !isID(m.ProfileID) {
		return ErrNotFound
	}
	if err := checkText(m.ContentType, m.SHA256); err != nil {
		return fmt.Errorf("add medium %s: %w", m.ID, err)
	}
	_, err := tx.exec(addMedia, m.ID, m.ProfileID, m.ContentType, m.SizeBytes, m.SHA256, micros(m.CreatedAt))
	if err != nil {
		return fmt.Errorf("add medium %s: %w", m.ID, err)
	}
	return tx.checkQuota(Amounts{MediaFiles: 1, Bytes: m.SizeBytes}, nil)
}

// DeleteMedia removes a medium. ErrState: a post that the view reaches needs it, and is queued or being published. Its
// bytes are then nobody's, and are removed by the caller, or swept up later if that fails.
//
// If a post needs it that the view does not reach, the medium passes to the organization alone (given): for the caller
// it is gone, as any other would be, and learns nothing; the post keeps what it needs.
func (tx *Tx) DeleteMedia(id string) (given bool, err error) {
	if !isID(id) {
		return false, ErrNotFound
	}
	// The lock comes first, so that no post can come to need it from here on.
	if _, err := one(inTx(tx, lockMedia, scanID, id)); err != nil {
		return false, err
	}
	// In this order: to a caller who could see the post, the refusal says no more than they know.
	for _, uses := range []*scoped{usesOfMedia, usesElsewhere} {
		posts, err := inTx(tx, uses, scanID, id)
		switch {
		case err != nil:
			return false, fmt.Errorf("find the posts of medium %s: %w", id, err)
		case len(posts) == 0:
			continue
		case uses == usesOfMedia:
			return false, ErrState
		}
		given = true
	}
	steps := []*scoped{deleteMedia}
	if given {
		steps = []*scoped{forgetUses, giveMedia}
	}
	for _, step := range steps {
		if _, err := tx.exec(step, id); err != nil {
			return false, fmt.Errorf("delete medium %s: %w", id, err)
		}
	}
	return given, nil
}

// conceal takes out of posts that are to be shown the ids of files that a pinned caller does not reach: a key of the
// whole organization may have given their post a file of another profile. ask runs a statement of the view.
func (v *View) conceal(posts []Post, ask func(s *scoped, ids ...any) ([]string, error)) error {
	if !v.pinned {
		return nil
	}
	var ids []any
	for _, p := range posts {
		for _, ref := range p.Media {
			ids = append(ids, ref.MediaID)
		}
	}
	reached := map[string]bool{}
	for some := range slices.Chunk(ids, keysAtOnce) {
		found, err := ask(mediaReached(len(some)), some...)
		if err != nil {
			return fmt.Errorf("look for the files of posts: %w", err)
		}
		for _, id := range found {
			reached[id] = true
		}
	}
	for i := range posts {
		post := &posts[i]
		shown := slices.Clone(post.Media)
		for j := range shown {
			if !reached[shown[j].MediaID] {
				shown[j].MediaID = ""
			}
		}
		post.Media = shown
	}
	return nil
}

// shown conceals what a read has found.
func (v *View) shown(ctx context.Context, posts []Post, err error) ([]Post, error) {
	if err != nil {
		return nil, err
	}
	return posts, v.conceal(posts, func(s *scoped, ids ...any) ([]string, error) {
		// A read of its own, after the one that found the posts: between the two a file may have been deleted, and then its
		// id is concealed, which is true as well.
		return read(ctx, v, s, scanID, ids...)
	})
}

// mediaReached finds those of n media that the view reaches.
func mediaReached(n int) *scoped {
	return newScoped(`SELECT m.id FROM media AS m WHERE m.id IN (` + places(n) + `) AND {scope m}`)
}

// located is a medium and where its bytes are. Work has no view that could say it.
type located struct {
	Media
	key string
}

// MediaOf returns the media of a post that is being published, in the post's order, with where their bytes are. Both
// lists have one length. Those that are gone are left out, so they may be shorter than the post's own.
func (w *Work) MediaOf(ctx context.Context, postID string) (media []Media, blobKeys []string, err error) {
	if !isID(postID) {
		return nil, nil, ErrNotFound
	}
	list, err := readAll(ctx, w.db, session{pool: w.db.reader}, mediaOf, scanLocated, postID)
	for _, m := range list {
		media, blobKeys = append(media, m.Media), append(blobKeys, m.key)
	}
	return media, blobKeys, err
}

// scanLocated reads the columns of mediaOf.
func scanLocated(rows *sql.Rows) (m located, err error) {
	var created int64
	var environment, organization string
	err = rows.Scan(&m.ID, &m.ProfileID, &m.ContentType, &m.SizeBytes, &m.SHA256, &created, &environment, &organization)
	m.CreatedAt, m.key = fromMicros(created), blobKey(environment, organization, m.ID)
	return m, err
}

// keysAtOnce bounds the parameters of one statement: engines take no more than some thousands.
const keysAtOnce = 500

// Unreferenced returns those of the blob keys that no medium has. It is what is swept up, so a key counts as used
// unless the database has answered that it is not: any error ends the call.
func (w *Work) Unreferenced(ctx context.Context, blobKeys []string) ([]string, error) {
	var free []string
	// By id, which every key ends with, and compared as whole keys: an id under another organization is not the medium.
	for some := range slices.Chunk(blobKeys, keysAtOnce) {
		var ids []any
		for _, key := range some {
			if id := key[strings.LastIndex(key, "/")+1:]; isID(id) {
				ids = append(ids, id)
			}
		}
		used := map[string]bool{}
		if len(ids) > 0 {
			keys, err := readAll(ctx, w.db, session{pool: w.db.reader}, mediaByIDs(len(ids)), scanBlobKey, ids...)
			if err != nil {
				return nil, fmt.Errorf("look for %d blobs: %w", len(ids), err)
			}
			for _, key := range keys {
				used[key] = true
			}
		}
		for _, key := range some {
			if !used[key] {
				free = append(free, key)
			}
		}
	}
	return free, nil
}

// mediaByIDs looks n media up at once. It depends on n, and so is not prepared.
func mediaByIDs(n int) *global {
	return newGlobal(`SELECT environment, organization_id, id FROM media WHERE id IN (` + places(n) + `)`)
}

// scanBlobKey reads the columns of mediaByIDs.
func scanBlobKey(rows *sql.Rows) (string, error) {
	var environment, organization, id string
	err := rows.Scan(&environment, &organization, &id)
	return blobKey(environment, organization, id), err
}
