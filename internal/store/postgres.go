// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	connectTimeout = 5 * time.Second
	// A server comes with 100 for everybody: this leaves room for some replicas, and for a person who looks what is wrong.
	pgConnections  = 16
	poolSize       = "pool_max_conns" // in the URL of PostgreSQL, as pgx's own pool has it; instead of pgConnections
	minConnections = 4                // below that, an organization's share would be all of it
)

// openPostgres makes the connections to a server. None is opened before it is needed. So a server that is away when the
// process starts is no error here, and Run waits for it.
func openPostgres(address string) (pools, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		// The parser's words may hold part of a password.
		return pools{}, errors.New("the URL of PostgreSQL is not well-formed")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "letmepost"
	}
	config.RuntimeParams["client_encoding"] = "UTF8" // whatever the URL or PGCLIENTENCODING says: all we send is that
	config.BuildContextWatcherHandler = cancels
	// pgx gives what it does not know to the server, which would refuse it.
	connections := pgConnections
	if text, ok := config.RuntimeParams[poolSize]; ok {
		delete(config.RuntimeParams, poolSize) // it is not the server's
		if connections, err = strconv.Atoi(text); err != nil || connections < minConnections {
			return pools{}, fmt.Errorf("the URL of PostgreSQL: %s is not a number from %d on", poolSize, minConnections)
		}
	}
	r := &renewal{}
	open := func(connections int) *pool {
		return newPool(stdlib.OpenDB(*config, stdlib.OptionResetSession(r.check),
			stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
				return errors.Join(r.note(ctx, c), boundStatements(ctx, c))
			})), connections, false)
	}
	p := open(connections)
	p.SetConnMaxIdleTime(5 * time.Minute) // servers have few, and a quiet process need not keep them
	return pools{
		engine: PostgreSQL,
		writer: p, reader: p,
		pulse: open(1), renewal: r,
		// Together less than two thirds: what is left is for others, and for the job queue. Of 16, one organization gets six
		// to read and four to write.
		reads: newShares(connections * 3 / 8), writes: newShares(connections / 4),
		migrator: func() *sql.DB { return stdlib.OpenDB(*config) },
		suitable: func(ctx context.Context) error { return suitable(ctx, config) },
	}, nil
}

// cancels has a statement whose time is up canceled at the server, and keeps the connection: to close it, as pgx does
// by itself, would leave the server at work on what nobody waits for, and cost a new connection each time.
// DeadlineDelay is how long the answer to that is waited for; after it the connection is closed all the same.
func cancels(c *pgconn.PgConn) ctxwatch.Handler {
	return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: time.Second}
}

// boundStatements has the server end what runs for longer than any call waits, in case that nobody could tell it. A
// process that was killed tells nobody, and what it has asked for would run on and hold its locks.
func boundStatements(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, fmt.Sprintf("SET statement_timeout = %d", callTimeout.Milliseconds()))
	return err
}

// renewPause is how long connections are kept at least, also those to a server that stays read-only: reads go on there,
// and are not to pay for new connections with each write that fails.
const renewPause = time.Second

// renewal drops connections to a server that has become read-only, as the one that a failover has left does, and some
// poolers and proxies keep connections to it. New ones lead to wherever writes are taken now. Its zero value is the
// first generation of connections.
type renewal struct {
	generation atomic.Int64
	pausing    atomic.Bool
}

// generationKey is where a connection has its generation.
const generationKey = "letmepost.generation"

// note gives a new connection its generation. One that is opened while a new generation begins may get either number.
// With the old one it is closed when it is next asked for, which costs a connection and no more.
func (r *renewal) note(_ context.Context, c *pgx.Conn) error {
	c.PgConn().CustomData()[generationKey] = r.generation.Load()
	return nil
}

// check refuses a connection of an earlier generation; database/sql closes it and takes another. Checked when a
// connection is taken out of the pool: one with a transaction under way is not taken from anybody.
func (r *renewal) check(_ context.Context, c *pgx.Conn) error {
	if c.PgConn().CustomData()[generationKey] != r.generation.Load() {
		return driver.ErrBadConn
	}
	return nil
}

// renewed tells whether what failed with err is to be tried again, on a connection that is newer than of the generation
// given. It begins a new one if err says that the connection is read-only.
func (r *renewal) renewed(err error, generation int64) bool {
	switch {
	case !readOnly(err):
		return false
	case r.generation.Load() != generation: // somebody else has seen it
		return true
	case !r.pausing.CompareAndSwap(false, true):
		return false
	}
	r.generation.Add(1)
	time.AfterFunc(renewPause, func() { r.pausing.Store(false) })
	return true
}

// readOnly tells whether PostgreSQL has refused a statement because the transaction can only read. 25006 is
// read_only_sql_transaction, which a standby answers to whatever writes.
func readOnly(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "25006"
}
