// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

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
