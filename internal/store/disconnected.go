// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
)

// What is left of an account that was disconnected is who it was: so that people see what has become of it, and that it
// has its id again if it is connected again. It opens nothing, is no account that anything can be published to, and
// counts for no quota; so it has bounds of its own.

// maxDisconnected is how many accounts one organization has that were disconnected; the oldest make room. How long they
// are remembered is DisconnectedRetention.
const maxDisconnected = 1_000

var (
	// One that is there already is of a time when the account had another id.
	addDisconnected = declareScoped(`INSERT INTO disconnected_accounts
(organization_id, environment, id, profile_id, platform, platform_account_id, display_name, secrets_version, created_at,
disconnected_at)
SELECT organization_id, environment, id, profile_id, platform, platform_account_id, display_name, secrets_version,
created_at, CAST(? AS BIGINT) FROM accounts WHERE id = ? AND {scope}
ON CONFLICT (organization_id, environment, profile_id, platform, platform_account_id) DO UPDATE
SET id = excluded.id, display_name = excluded.display_name, secrets_version = excluded.secrets_version,
created_at = excluded.created_at, disconnected_at = excluded.disconnected_at`)
	// The LIMIT is there because SQLite has no OFFSET without one. Each disconnection adds one row at most, so there is
	// hardly ever more than one too many.
	tooManyDisconnected = declareScoped(`SELECT id FROM disconnected_accounts WHERE {organization}
ORDER BY disconnected_at DESC, id DESC LIMIT 100 OFFSET ?`)
	forgetDisconnected = declareScoped(`DELETE FROM disconnected_accounts WHERE id = ? AND {organization}`)
	takeDisconnected   = declareScoped(`DELETE FROM disconnected_accounts
WHERE profile_id = ? AND platform = ? AND platform_account_id = ? AND {scope} RETURNING id, secrets_version`)
	listDisconnected = declareScoped(`SELECT ` + disconnectedColumns + ` FROM disconnected_accounts
WHERE {scope} ORDER BY disconnected_at DESC, id DESC LIMIT ?`)
	listDisconnectedAfter = declareScoped(`SELECT ` + disconnectedColumns + ` FROM disconnected_accounts
WHERE {scope} AND (disconnected_at, id) < (?, ?) ORDER BY disconnected_at DESC, id DESC LIMIT ?`)
	// By the primary key: ids have no index.
	purgeDisconnected = declareGlobal(`DELETE FROM disconnected_accounts WHERE
(organization_id, environment, profile_id, platform, platform_account_id) IN
(SELECT organization_id, environment, profile_id, platform, platform_account_id FROM disconnected_accounts
WHERE disconnected_at <= ? ORDER BY disconnected_at LIMIT ?)`)
)

const disconnectedColumns = `id, profile_id, platform, platform_account_id, display_name, created_at, disconnected_at`

// Disconnected lists accounts that were disconnected within DisconnectedRetention and are not connected again, the last
// ones first. A Page's Position has the time of that. more tells whether there are any after the last of these.
func (v *View) Disconnected(ctx context.Context, p Page) (accounts []Account, more bool, err error) {
	return list(ctx, v, p, listDisconnected, listDisconnectedAfter, scanDisconnected, sizeOfAccount)
}

func scanDisconnected(rows *sql.Rows) (a Account, err error) {
	var created, at int64
	err = rows.Scan(&a.ID, &a.ProfileID, &a.Platform, &a.PlatformAccountID, &a.DisplayName, &created, &at)
	a.CreatedAt, a.DisconnectedAt = fromMicros(created), fromMicros(at)
	a.UpdatedAt = a.DisconnectedAt
	return a, err
}

// remember notes an account that is about to be deleted.
func (tx *Tx) remember(id string, now int64) error {
	if _, err := tx.exec(addDisconnected, now, id); err != nil {
		return fmt.Errorf("remember account %s: %w", id, err)
	}
	oldest, err := inTx(tx, tooManyDisconnected, scanID, maxDisconnected)
	if err != nil {
		return fmt.Errorf("count accounts that were disconnected: %w", err)
	}
	for _, id := range oldest {
		if _, err := tx.exec(forgetDisconnected, id); err != nil {
			return fmt.Errorf("forget account %s: %w", id, err)
		}
	}
	return nil
}

// takeTurn reads no row, so it has no scope: its number is made of the view's.
var takeTurn = declareGlobal(`SELECT {turn}`)

// alone has whoever connects and disconnects accounts of an organization take turns, until the transaction ends. An
// account is in one of two tables, and no row of either could be locked in its place: whoever finds it in neither is
// about to connect it, while another one disconnects it, or has just done so. It comes before every row that they
// lock. In PostgreSQL it is an advisory lock, whose number is shared by the whole database: two organizations with
// one number would wait for each other, and nothing worse.
func (tx *Tx) alone() error {
	sum := sha256.Sum256([]byte("accounts\x00" + tx.view.organization + "\x00" + tx.view.environment))
	number := int64(binary.BigEndian.Uint64(sum[:]))
	if _, err := tx.session.exec(tx.ctx, takeTurn.text(tx.view.db.engine), []any{number}); err != nil {
		return fmt.Errorf("wait for others who connect accounts: %w", err)
	}
	return nil
}

// former is what an account had that was disconnected.
type former struct {
	id      string
	version int64 // of its secrets
}

// recall takes what is remembered of an account, since it is being connected again: its id, and a version of its
// secrets that it has not had yet. Whoever is about to renew the earlier ones, however slowly, finds another
// version.
func (tx *Tx) recall(a Account) (as former, err error) {
	was, err := inTx(tx, takeDisconnected, func(rows *sql.Rows) (f former, err error) {
		err = rows.Scan(&f.id, &f.version)
		return f, err
	}, a.ProfileID, string(a.Platform), a.PlatformAccountID)
	if err != nil || len(was) == 0 {
		return former{id: a.ID}, err
	}
	return former{was[0].id, was[0].version + 1}, nil
}
