// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// SealedSecret is one secret of an account, as it is stored. What it says, only the vault can read.
type SealedSecret struct {
	Name   string
	KeyID  uint32 // the vault's key that it is sealed with
	Sealed []byte
}

// Connection is an account with what opens it, all of one moment.
type Connection struct {
	Account
	Organization string
	// Version is another one each time that the secrets change: whoever changes them names the one that they read.
	Version int64
	// Tries is how many renewals have failed since the last that did not.
	Tries   int
	Secrets []SealedSecret // none: there is nothing to open
}

var (
	deleteSecrets = declareScoped(`DELETE FROM account_secrets WHERE account_id = ? AND {organization}`)
	addSecret     = declareScoped(`INSERT INTO account_secrets
(organization_id, environment, account_id, name, key_id, sealed) VALUES ({owner}, ?, ?, ?, ?)`)

	// One statement, so that secrets and version are of one moment.
	connectionByID = declareGlobal(`SELECT ` + accountColumnsOf("a") + `,
a.organization_id, a.secrets_version, a.refresh_tries, COALESCE(s.name, ''), COALESCE(s.key_id, 0), s.sealed
FROM accounts AS a LEFT JOIN account_secrets AS s ON s.account_id = a.id WHERE a.id = ? ORDER BY s.name`)
	// By accounts_to_refresh, in which those that are never refreshed are not. renewing_until is by the database's
	// clock, since it keeps out processes of other machines. Organizations take turns, as with all that there may not be
	// enough of: the servers of one's accounts may be slow, and very many.
	dueRenewals = declareGlobal(`SELECT d.id FROM (SELECT a.id, a.refresh_at,
ROW_NUMBER() OVER (PARTITION BY a.organization_id ORDER BY a.refresh_at, a.id) AS turn
FROM accounts AS a WHERE a.refresh_at > 0 AND a.refresh_at <= ? AND a.renewing_until < {now}) AS d
ORDER BY d.turn, d.refresh_at, d.id LIMIT ?`)
	// Version and time are compared in the statement that sets the time: of two who have read the same version, one
	// changes the row.
	beginRenewal = declareGlobal(`UPDATE accounts SET renewing_until = {now} + ?
WHERE id = ? AND secrets_version = ? AND renewing_until < {now}`)
	endRenewal = declareGlobal(`UPDATE accounts SET secrets_version = secrets_version + 1, renewing_until = 0,
refresh_at = ?, refresh_tries = 0, token_expires_at = ?, reconnect = '', updated_at = ?
WHERE id = ? AND secrets_version = ?`)
	postponeRenewal = declareGlobal(`UPDATE accounts SET renewing_until = 0, refresh_at = ?,
refresh_tries = refresh_tries + 1 WHERE id = ? AND secrets_version = ?`)
	requireReconnect = declareGlobal(`UPDATE accounts SET renewing_until = 0, refresh_at = 0, reconnect = ?, updated_at = ?
WHERE id = ? AND secrets_version = ? AND reconnect = ''`)
	deleteAnySecrets = declareGlobal(`DELETE FROM account_secrets WHERE account_id = ?`)
	// Whose the secret is, comes from the account's row, as Work has no scope to take it from. The casts are for
	// PostgreSQL, as in addPostMedia.
	addAnySecret = declareGlobal(`INSERT INTO account_secrets
(organization_id, environment, account_id, name, key_id, sealed)
SELECT a.organization_id, a.environment, a.id, CAST(? AS TEXT), CAST(? AS BIGINT), ? FROM accounts AS a WHERE a.id = ?`)
	countConnections = declareGlobal(`SELECT platform, ` + standing + `, COUNT(*) FROM accounts GROUP BY 1, 2
UNION ALL SELECT platform, ` + strconv.Itoa(int(Gone)) + `, COUNT(*) FROM disconnected_accounts GROUP BY platform`)
)

// PutSecrets stores what opens an account that PutAccount has put in this transaction, in place of what was there.
func (tx *Tx) PutSecrets(accountID string, secrets []SealedSecret) error {
	if _, err := tx.exec(deleteSecrets, accountID); err != nil {
		return fmt.Errorf("replace the secrets of account %s: %w", accountID, err)
	}
	for _, s := range secrets {
		if _, err := tx.exec(addSecret, accountID, s.Name, s.KeyID, s.Sealed); err != nil {
			return fmt.Errorf("put the secret %s of account %s: %w", s.Name, accountID, err)
		}
	}
	return nil
}

// Connection returns an account with what opens it. ErrNotFound: there is none, or not any more.
func (w *Work) Connection(ctx context.Context, accountID string) (Connection, error) {
	if !isID(accountID) {
		return Connection{}, ErrNotFound
	}
	var c Connection
	scan := func(rows *sql.Rows) (s SealedSecret, err error) {
		err = scanAccountInto(rows, &c.Account, &c.Organization, &c.Version, &c.Tries, &s.Name, &s.KeyID, &s.Sealed)
		return s, err
	}
	rows, err := readAll(ctx, w.db, session{pool: w.db.reader}, connectionByID, scan, accountID)
	switch {
	case err != nil:
		return Connection{}, fmt.Errorf("read the connection of account %s: %w", accountID, err)
	case len(rows) == 0:
		return Connection{}, ErrNotFound
	case rows[0].Name != "": // otherwise it is the one row of an account without secrets
		c.Secrets = rows
	}
	return c, nil
}

// DueRenewals returns the accounts whose secrets are to be refreshed by then, at most limit: of each organization the
// longest due one, then of each the second, and so on. Those that somebody is refreshing are left out.
func (w *Work) DueRenewals(ctx context.Context, then time.Time, limit int) ([]string, error) {
	return readAll(ctx, w.db, session{pool: w.db.reader}, dueRenewals, scanID, micros(then), limit)
}

// BeginRenewal lets one process refresh an account's secrets, for so long; false: another one is at it, or they have
// changed since the version was read. A refresh token that is used twice may end the session, so whoever gets true
// stops asking the platform before the time is over.
func (w *Work) BeginRenewal(ctx context.Context, accountID string, version int64, within time.Duration) (bool, error) {
	return w.touch(ctx, "begin a renewal", beginRenewal, within.Microseconds(), accountID, version)
}

// PostponeRenewal ends a renewal that has come to nothing; the next one may be tried at a time.
func (w *Work) PostponeRenewal(ctx context.Context, accountID string, version int64, until time.Time) error {
	_, err := w.touch(ctx, "postpone a renewal", postponeRenewal, micros(until), accountID, version)
	return err
}

// RequireReconnect says that only a person can help, by connecting the account again; false: it was said before, or
// the secrets have changed since the version was read. Its queued posts stay queued.
func (w *Work) RequireReconnect(
	ctx context.Context, accountID string, version int64, why platform.Failure,
) (bool, error) {
	text, _, err := encodeFailure(&why)
	if err != nil {
		return false, err
	}
	return w.touch(ctx, "ask for a reconnection", requireReconnect, text, micros(w.db.now()), accountID, version)
}

// EndRenewal stores what a renewal has got, in place of what was there; false: the secrets have changed since the
// version was read, as when somebody has connected the account again meanwhile. Then theirs stay.
func (w *Work) EndRenewal(
	ctx context.Context, accountID string, version int64, secrets []SealedSecret, refreshAt, expiresAt time.Time,
) (stored bool, err error) {
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		// The account's row first, and the version with it. Whoever connects the account again locks that row too
		// (putAccount): they come before, and then nothing is stored here, or after.
		n, err := s.exec(ctx, endRenewal.text(w.db.engine),
			[]any{micros(refreshAt), micros(expiresAt), micros(w.db.now()), accountID, version})
		if stored = n > 0; err != nil || !stored {
			return err
		}
		if _, err := s.exec(ctx, deleteAnySecrets.text(w.db.engine), []any{accountID}); err != nil {
			return err
		}
		for _, secret := range secrets {
			args := []any{secret.Name, secret.KeyID, secret.Sealed, accountID}
			if _, err := s.exec(ctx, addAnySecret.text(w.db.engine), args); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("end the renewal of account %s: %w", accountID, err)
	}
	return stored, nil
}

// touch runs one statement that changes an account, and tells whether it did.
func (w *Work) touch(ctx context.Context, what string, g *global, args ...any) (touched bool, err error) {
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		n, err := s.exec(ctx, g.text(w.db.engine), args)
		touched = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	return touched, nil
}

// ConnectionCount is how many accounts of a platform stand alike.
type ConnectionCount struct {
	Platform platform.Name
	Standing Standing
	Accounts int
}

// CountConnections counts accounts by platform and how they stand, those that were disconnected among them.
func (w *Work) CountConnections(ctx context.Context, now, soon time.Time) ([]ConnectionCount, error) {
	return readAll(ctx, w.db, session{pool: w.db.reader}, countConnections,
		func(rows *sql.Rows) (c ConnectionCount, err error) {
			return c, rows.Scan(&c.Platform, &c.Standing, &c.Accounts)
		}, micros(now), micros(soon))
}
