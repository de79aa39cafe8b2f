// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Connecting is a connection that has begun in a browser, and waits for it to come back. Who began it, and what goes on
// with it, only the vault can read.
type Connecting struct {
	ID           string // a hash of what the browser comes back with: whoever reads the row can't come back with it
	Organization string // of those that were taken; whoever begins one is of the view's
	Platform     platform.Name
	KeyID        uint32 // the vault's key that it is sealed with
	Sealed       []byte
	ExpiresAt    time.Time
}

// maxConnecting is how many connections of an organization may wait at a time. Each is a person at a browser, and is
// over in ten minutes.
const maxConnecting = 1000

// ErrTooManyConnecting says that as many connections of the organization wait for a browser as may.
var ErrTooManyConnecting = errors.New("too many connections of the organization wait for a browser")

var (
	// By connecting_by_organization, which has the time too: what has expired takes nobody's place, and only waits to be
	// purged.
	countConnecting = declareScoped(`SELECT COUNT(*) FROM connecting WHERE {organization} AND expires_at > ?`)
	addConnecting   = declareScoped(`INSERT INTO connecting
(organization_id, environment, id, platform, key_id, sealed, expires_at) VALUES ({owner}, ?, ?, ?, ?, ?)`)
	connectingByID = declareGlobal(`SELECT ` + connectingColumns + ` FROM connecting WHERE id = ?`)
	takeConnecting = declareGlobal(`DELETE FROM connecting WHERE id = ?`)
	// They are looked for once more for an hour after they have expired, so that whoever comes late is told that.
	purgeConnecting = declareGlobal(`DELETE FROM connecting WHERE id IN
(SELECT id FROM connecting WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`)
)

const connectingColumns = `id, organization_id, platform, key_id, sealed, expires_at`

func scanConnecting(rows *sql.Rows) (c Connecting, err error) {
	var expires int64
	err = rows.Scan(&c.ID, &c.Organization, &c.Platform, &c.KeyID, &c.Sealed, &expires)
	c.ExpiresAt = fromMicros(expires)
	return c, err
}

// PutConnecting stores a connection that has begun. The error is ErrTooManyConnecting if the organization has as many
// as it may. Nothing is locked for the count, so those who begin at the same moment may go beyond it by as many as
// they are: it is a bound against floods, and no quota.
func (tx *Tx) PutConnecting(c Connecting) error {
	count := func(rows *sql.Rows) (n int, err error) { return n, rows.Scan(&n) }
	waiting, err := one(inTx(tx, countConnecting, count, micros(tx.view.db.now())))
	switch {
	case err != nil:
		return fmt.Errorf("count the connections that wait for a browser: %w", err)
	case waiting >= maxConnecting:
		return ErrTooManyConnecting
	}
	if _, err := tx.exec(addConnecting, c.ID, string(c.Platform), c.KeyID, c.Sealed, micros(c.ExpiresAt)); err != nil {
		return fmt.Errorf("put a connection that has begun: %w", err)
	}
	return nil
}

// TakeConnecting takes a connection that has begun off the database and returns it: nobody else gets it, whatever
// becomes of it then. ErrNotFound: there is none of this id, or somebody has taken it. It may have expired.
//
// It belongs to nobody who could be asked: a browser brings its id, and it says itself who began it.
func (w *Work) TakeConnecting(ctx context.Context, id string) (Connecting, error) {
	if !isID(id) {
		return Connecting{}, ErrNotFound
	}
	// It is read first: made-up ids must not cost anybody the lock of a write.
	c, err := one(readAll(ctx, w.db, session{pool: w.db.reader}, connectingByID, scanConnecting, id))
	if err != nil {
		return Connecting{}, err
	}
	// The deletion decides, and not the read: of two who have read the row, one deletes it.
	switch taken, err := w.touch(ctx, "take a connection that has begun", takeConnecting, id); {
	case err != nil:
		return Connecting{}, err
	case !taken:
		return Connecting{}, ErrNotFound
	}
	return c, nil
}
