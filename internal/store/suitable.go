// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// looks is how often two connections are compared. A pooler that shares sessions shows it at the first look, unless
// others take the session in between.
const looks = 10

var errShared = errors.New("between this process and PostgreSQL is a pooler that gives each transaction " +
	"another session, such as PgBouncer with pool_mode=transaction: prepared statements " +
	"and settings would be lost or somebody else's. " +
	"Use pool_mode=session for this database, or connect to PostgreSQL itself; " +
	"pool_max_conns=N in the URL bounds the connections")

// suitable returns an error that says what to do if a server of PostgreSQL can't be worked with, now or ever: it is
// asked before anything is stored there. It opens connections of its own, which set nothing.
func suitable(ctx context.Context, config *pgx.ConnConfig) error {
	a, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = a.Close(ctx) }()
	encoding, err := ask(ctx, a, "SHOW server_encoding")
	if err != nil {
		return err
	}
	// Others garble text, or refuse what they have no characters for, one post at a time.
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s, and posts are in every script: make another with "+
			"CREATE DATABASE letmepost TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8', and give its URL", encoding)
	}
	return ownSession(ctx, config, a)
}

// ownSession returns errShared if connections do not have a session of the server's each.
func ownSession(ctx context.Context, config *pgx.ConnConfig, a *pgx.Conn) error {
	session, err := ask(ctx, a, "SELECT pg_backend_pid()")
	// What a server says at the beginning of a connection is the session's own; a pooler makes it up.
	if err != nil || session == fmt.Sprint(a.PgConn().PID()) {
		return err
	}
	b, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close(ctx) }()
	var ofB []string
	for range looks {
		now, err := ask(ctx, a, "SELECT pg_backend_pid()")
		if err != nil {
			return err
		}
		other, err := ask(ctx, b, "SELECT pg_backend_pid()")
		if err != nil {
			return err
		}
		if ofB = append(ofB, other); now != session || slices.Contains(ofB, now) {
			return errShared
		}
	}
	return nil
}

// ask returns the one value of a query, by the simple protocol, which every pooler knows. A prepared statement would be
// the very thing that such a pooler loses.
func ask(ctx context.Context, c *pgx.Conn, query string) (string, error) {
	results, err := c.PgConn().Exec(ctx, query).ReadAll()
	if err != nil {
		return "", err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 1 {
		return "", fmt.Errorf("%s: not one value", query)
	}
	return string(results[0].Rows[0][0]), nil
}
