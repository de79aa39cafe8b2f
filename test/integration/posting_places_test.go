// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// homeless adds the passwords of accounts to what is hunted for, and each of some keys. They must be nowhere.
func homeless(keys ...string) map[string]string {
	passwords.Lock()
	defer passwords.Unlock()
	homes := map[string]string{}
	for _, text := range slices.Concat(passwords.all, keys) {
		homes[text] = ""
	}
	return homes
}

// files is every file below a directory: of databases with their logs, and of media.
func files(dir string) (all []place) {
	GinkgoHelper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return ignoreGone(err)
		}
		content, err := os.ReadFile(path)
		if err == nil {
			all = append(all, place{"file " + path, content})
		}
		return ignoreGone(err)
	})
	Expect(err).NotTo(HaveOccurred())
	return all
}

// uploads is the files of media in a folder: all but what the server keeps there for itself.
func uploads(folder string) []place {
	GinkgoHelper()
	return slices.DeleteFunc(files(folder), func(p place) bool { return strings.HasPrefix(filepath.Base(p.name), ".database") })
}

// ignoreGone ignores that a running process has just deleted a file, or never made it.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// dumpPostgres is all that a database holds, as text, a place for each table.
func dumpPostgres(ctx context.Context, url string) (all []place) {
	GinkgoHelper()
	db, err := sql.Open("pgx", url)
	Expect(err).NotTo(HaveOccurred())
	defer db.Close()
	tables := column(ctx, db, `SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public'`)
	Expect(tables).To(ContainElements("posts", "claims", "accounts", "river_job"))
	for _, table := range tables {
		var text []byte
		for _, row := range column(ctx, db, `SELECT t::text FROM `+table+` AS t`) {
			text = append(append(text, row...), '\n')
		}
		all = append(all, place{"table " + table, text})
	}
	return all
}

// column is the only column of a query's answer.
func column(ctx context.Context, db *sql.DB, query string) (all []string) {
	GinkgoHelper()
	rows, err := db.QueryContext(ctx, query)
	Expect(err).NotTo(HaveOccurred())
	defer rows.Close()
	for rows.Next() {
		var text string
		Expect(rows.Scan(&text)).To(Succeed())
		all = append(all, text)
	}
	Expect(rows.Err()).NotTo(HaveOccurred())
	return all
}
