// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// remains is what must not be in a database, whatever has died on the way, each with a query for its ids. The API shows
// none of it: it looks things up by what they belong to.
var remains = []struct{ reason, query string }{
	{"attempts without a post", `SELECT id FROM attempts WHERE post_id NOT IN (SELECT id FROM posts)`},
	{"files of posts without the post", `SELECT post_id FROM post_media WHERE post_id NOT IN (SELECT id FROM posts)`},
	{"files of posts that are not what the post says", `SELECT p.id FROM posts AS p
WHERE (SELECT COUNT(*) FROM post_media AS u WHERE u.post_id = p.id) <> (CASE WHEN p.media = '' THEN 0 ELSE 1 END)`}, // at most one
	{"queued posts whose files are gone", `SELECT u.post_id FROM post_media AS u JOIN posts AS p ON p.id = u.post_id
WHERE p.status = 'queued' AND u.media_id NOT IN (SELECT id FROM media)`},
	{"posts that are being published for ever", `SELECT id FROM posts WHERE status = 'publishing'`},
	{"attempts that never end", `SELECT id FROM attempts WHERE finished_at = 0`},
	{"posts that count other attempts than there are", `SELECT p.id FROM posts AS p
WHERE p.attempts <> (SELECT COUNT(*) FROM attempts AS c WHERE c.post_id = p.id)`},
	{"queued posts without a job", `SELECT p.id FROM posts AS p WHERE p.status = 'queued' AND NOT EXISTS (SELECT 1 FROM river_job AS j
WHERE CAST(j.args AS TEXT) LIKE '%' || p.id || '%' AND j.state NOT IN ('completed', 'cancelled', 'discarded'))`},
	{"queued posts without an account", `SELECT id FROM posts WHERE status = 'queued' AND account_id IS NULL`},
}

// openDatabase opens the database of test APIs with these flags, as onSQLite and onPostgres make them.
func openDatabase(flags []string) *sql.DB {
	GinkgoHelper()
	driver, name := "sqlite", filepath.Join(flags[1], "test.db")+"?_pragma=busy_timeout(60000)"
	if len(flags) > 2 {
		driver, name = "pgx", flags[3]
	}
	db, err := sql.Open(driver, name)
	Expect(err).NotTo(HaveOccurred())
	return db
}

// checkStore looks below the API: for what nobody could see there, and for media without bytes.
func (f *fleet) checkStore(ctx context.Context) error {
	db := openDatabase(f.flags)
	defer db.Close()
	var wrong []error
	for _, r := range remains {
		if ids := column(ctx, db, r.query); len(ids) > 0 {
			wrong = append(wrong, fmt.Errorf("%s: %d, first of all %s", r.reason, len(ids), ids[0]))
		}
	}
	keys := column(ctx, db, `SELECT environment || '/' || organization_id || '/' || id FROM media`)
	Expect(keys).NotTo(BeEmpty())
	for _, key := range keys {
		if _, err := os.Stat(filepath.Join(f.flags[1], "media-test", filepath.FromSlash(key))); errors.Is(err, fs.ErrNotExist) {
			wrong = append(wrong, fmt.Errorf("the file %s has a row and no bytes", key))
		}
	}
	if used := column(ctx, db, `SELECT post_id FROM post_media`); len(used) == 0 {
		wrong = append(wrong, errors.New("no post has a file, so nothing was seen of that"))
	}
	if jobs := strings.Join(column(ctx, db, `SELECT CAST(args AS TEXT) FROM river_job`), " "); !strings.Contains(jobs, "postId") {
		wrong = append(wrong, fmt.Errorf("the jobs are not what is looked for: %.200s", jobs))
	}
	return theFirst(wrong)
}
