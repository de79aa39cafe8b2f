// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3"
)

// What organizations have is counted by triggers, in the transaction that changes it. So no statement of any version of
// this program can forget to count, not while an upgrade runs old and new side by side either; nor can an administrator
// who deletes rows by hand.

// counting says what the rows of a table count for: an expression for each resource, in which $ stands before each
// column. Triggers and recounts are made of it, so that both count alike. It is part of a migration: whoever changes it
// makes another one, and recounts.
type counting struct {
	table   string
	weights map[Resource]string
	// changing is the columns on which a weight depends and which are ever changed; none: no update counts.
	changing []string
}

var counted = []counting{
	{
		table: "posts",
		weights: map[Resource]string{
			// Each attempt but the first is a row of its own that somebody has asked for.
			Posts:       "CASE WHEN $attempts > 1 THEN $attempts ELSE 1 END",
			QueuedPosts: "CASE WHEN $status = 'queued' THEN 1 ELSE 0 END",
			// What its author wrote. What platforms answer is not of their making, and bounded.
			Bytes: "octet_length($text) + octet_length($media) + octet_length($first_comment) + octet_length($options)",
		},
		changing: []string{"status", "attempts", "text", "media"},
	},
	{table: "media", weights: map[Resource]string{MediaFiles: "1", Bytes: "$size_bytes"}},
	{table: "accounts", weights: map[Resource]string{Accounts: "1"}},
}

// columns is the resources as columns of the table usage.
func columns() string {
	names := make([]string, len(Resources))
	for i, r := range Resources {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

// of returns the weights of a row, as a list of expressions in the order of Resources, with a sign and the prefix of
// its columns.
func (c counting) of(sign, prefix string) string {
	list := make([]string, len(Resources))
	for i, r := range Resources {
		list[i] = "0"
		if w, ok := c.weights[r]; ok {
			list[i] = sign + "(" + strings.ReplaceAll(w, "$", prefix) + ")"
		}
	}
	return strings.Join(list, ", ")
}

// makeUsage is the migration that begins to count.
func makeUsage(e Engine) *goose.Migration {
	run := func(statements []string) *goose.GoFunc {
		return &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			for _, s := range statements {
				if _, err := tx.ExecContext(ctx, s); err != nil {
					return fmt.Errorf("%.60s…: %w", s, err)
				}
			}
			return nil
		}}
	}
	return goose.NewGoMigration(usageVersion, run(usageUp(e)), run(usageDown(e)))
}

// usageUp is the statements of the migration. They differ between the engines, as triggers do.
func usageUp(e Engine) (statements []string) {
	for _, r := range Resources {
		statements = append(statements, string(r)+" BIGINT NOT NULL")
	}
	statements = []string{"CREATE TABLE usage ( organization_id TEXT NOT NULL, environment TEXT NOT NULL, " +
		strings.Join(statements, ", ") + ", PRIMARY KEY (organization_id, environment))"}
	for _, c := range counted {
		if e == PostgreSQL {
			statements = append(statements, c.postgresTriggers()...)
		} else {
			statements = append(statements, c.sqliteTriggers()...)
		}
	}
	// After the triggers, whose making waits for all who write to a table and keeps others from it: what is counted here
	// is all that there is, and whatever comes later is counted by them.
	for _, c := range counted {
		statements = append(statements, addUsage("SELECT organization_id, environment, "+c.of("", "")+" FROM "+c.table))
	}
	return statements
}

// usageDown takes it back.
func usageDown(e Engine) (statements []string) {
	for _, c := range counted {
		for _, event := range []string{"INSERT", "DELETE", "UPDATE"} {
			drop := "DROP TRIGGER IF EXISTS " + c.trigger(event)
			if e == PostgreSQL { // the trigger goes with what it calls
				drop = "DROP FUNCTION IF EXISTS " + c.trigger(event) + " CASCADE"
			}
			statements = append(statements, drop)
		}
	}
	return append(statements, "DROP TABLE usage")
}

// usageVersion is the number of the migration, among those of the files.
const usageVersion = 6

// trigger is the name of a table's trigger.
func (c counting) trigger(event string) string {
	return "usage_of_" + c.table + "_" + strings.ToLower(event)
}

// addUsage adds up what a query returns, by organization, and puts it into the table. The order is that in which all
// lock its rows.
//
// Sums are cast, since those of BIGINT are NUMERIC in PostgreSQL. WHERE true is for SQLite, whose parser would take
// the ON of ON CONFLICT for that of a join. HAVING leaves out organizations for which nothing has changed: their rows
// need not be locked.
func addUsage(changes string) string {
	sums, sets, any := make([]string, len(Resources)), make([]string, len(Resources)), make([]string, len(Resources))
	for i, r := range Resources {
		sums[i] = fmt.Sprintf("CAST(SUM(changes.%s) AS BIGINT)", r)
		sets[i] = fmt.Sprintf("%[1]s = usage.%[1]s + excluded.%[1]s", r)
		any[i] = fmt.Sprintf("SUM(changes.%s) <> 0", r)
	}
	return "WITH changes (organization_id, environment, " + columns() + ") AS (" + changes + ")\n" +
		"INSERT INTO usage (organization_id, environment, " + columns() + ")\n" +
		"SELECT changes.organization_id, changes.environment, " + strings.Join(sums, ", ") + " FROM changes\n" +
		"WHERE true GROUP BY changes.organization_id, changes.environment HAVING " + strings.Join(any, " OR ") + "\n" +
		"ORDER BY changes.organization_id, changes.environment\n" +
		"ON CONFLICT (organization_id, environment) DO UPDATE SET " + strings.Join(sets, ", ")
}

// postgresTriggers count once for each statement, however many rows it changes, and after all of them are locked:
// whoever holds a row of usage waits for no other row. That of updates names no columns, because PostgreSQL gives
// such a trigger no transition tables: it runs for every update, and addUsage leaves out what weighs as before.
func (c counting) postgresTriggers() (statements []string) {
	added := "SELECT organization_id, environment, " + c.of("", "") + " FROM added"
	removed := "SELECT organization_id, environment, " + c.of("-", "") + " FROM removed"
	make := func(event, tables, changes string) {
		name := c.trigger(event)
		statements = append(statements,
			"CREATE FUNCTION "+name+"() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN\n"+addUsage(changes)+
				";\nRETURN NULL;\nEND $$",
			"CREATE TRIGGER "+name+" AFTER "+event+" ON "+c.table+" REFERENCING "+tables+
				" FOR EACH STATEMENT EXECUTE FUNCTION "+name+"()")
	}
	make("INSERT", "NEW TABLE AS added", added)
	make("DELETE", "OLD TABLE AS removed", removed)
	if len(c.changing) > 0 {
		make("UPDATE", "NEW TABLE AS added OLD TABLE AS removed", added+" UNION ALL "+removed)
	}
	return statements
}

// sqliteTriggers count once for each row: SQLite knows no others, and whoever writes has it alone. WHEN leaves out
// updates after which the row weighs as before.
func (c counting) sqliteTriggers() (statements []string) {
	change := func(sign, row string) string {
		sets := make([]string, len(Resources))
		for i, r := range Resources {
			sets[i] = fmt.Sprintf("%[1]s = %[1]s + excluded.%[1]s", r)
		}
		return "INSERT INTO usage (organization_id, environment, " + columns() + ") VALUES (" + row + "organization_id, " +
			row + "environment, " + c.of(sign, row) + ")\nON CONFLICT (organization_id, environment) DO UPDATE SET " +
			strings.Join(sets, ", ") + ";\n"
	}
	trigger := func(event, on, when, changes string) {
		statements = append(statements, "CREATE TRIGGER "+c.trigger(event)+" AFTER "+event+on+" ON "+c.table+
			when+" BEGIN\n"+changes+"END")
	}
	trigger("INSERT", "", "", change("", "NEW."))
	trigger("DELETE", "", "", change("-", "OLD."))
	if len(c.changing) > 0 {
		trigger("UPDATE", " OF "+strings.Join(c.changing, ", "),
			" WHEN ("+c.of("", "NEW.")+") IS NOT ("+c.of("", "OLD.")+")", change("-", "OLD.")+change("", "NEW."))
	}
	return statements
}
