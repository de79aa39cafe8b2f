// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import "fmt"

var (
	lockOfBatch = declareScoped(`SELECT COUNT(*) FROM (` +
		inOrder("p.batch_id = ? AND p.status = 'publishing' AND {scope p}") + `) AS locked`)
	// The order is that of the foreign keys: what refers to a post goes before the post. Each finds its rows by the post's
	// status, so the posts have to be there until then.
	undoAttempts = declareScoped(`DELETE FROM attempts WHERE finished_at = 0
AND post_id IN (SELECT p.id FROM posts AS p WHERE p.batch_id = ? AND p.status = 'publishing' AND {scope p})`)
	undoMedia = declareScoped(`DELETE FROM post_media
WHERE post_id IN (SELECT p.id FROM posts AS p WHERE p.batch_id = ? AND p.status = 'publishing' AND {scope p})`)
	undoPosts = declareScoped(`DELETE FROM posts WHERE batch_id = ? AND status = 'publishing' AND {scope}`)
	// The request may be run again, as if it had not begun.
	undoBegin = declareScoped(`UPDATE claims SET batch_id = '' WHERE batch_id = ? AND settled_at = 0 AND {actor}`)
)

// Undo takes back what AddPosts and Begin have done, for a process that does not know whether they have, because the
// connection broke while they were committed, and that therefore has sent nothing: it is as if the request had not been
// made. Posts that somebody else has finished meanwhile stay. If the commit has not happened, there is nothing to
// delete, and nothing is. It may be repeated.
func (tx *Tx) Undo(batchID string) error {
	for _, s := range []*scoped{lockOfBatch, undoAttempts, undoMedia, undoPosts, undoBegin} {
		if _, err := tx.exec(s, batchID); err != nil {
			return fmt.Errorf("undo batch %s: %w", batchID, err)
		}
	}
	return nil
}
