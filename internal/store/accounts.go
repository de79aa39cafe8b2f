// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Account is a connected account of a platform. The same one may be connected to several profiles: each has its own
// row.
type Account struct {
	ID                string
	ProfileID         string // "": of the organization alone
	Platform          platform.Name
	PlatformAccountID string
	DisplayName       string    // "": none
	TokenExpiresAt    time.Time // when only its person can renew it; zero: never
	RefreshAt         time.Time // when its secrets are refreshed next; zero: never
	// Reconnect is why it has to be connected again before anything can be published to it; nil: it has not.
	Reconnect *platform.Failure
	CreatedAt time.Time
	UpdatedAt time.Time
	// DisconnectedAt is zero of all accounts but those that Disconnected lists, of which nothing else is left.
	DisconnectedAt time.Time
}

var (
	// By accounts_listed, or accounts_listed_by_profile for a caller who is confined to a profile: the order is that of
	// the index, so a page costs what is on it. accountsOf goes by it as well, and leaves out the other platforms.
	listAccounts = declareScoped(`SELECT ` + accountColumns + ` FROM accounts
WHERE {scope} ORDER BY created_at DESC, id DESC LIMIT ?`)
	listAccountsAfter = declareScoped(`SELECT ` + accountColumns + ` FROM accounts
WHERE {scope} AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`)
	accountsOf = declareScoped(`SELECT ` + accountColumns + ` FROM accounts
WHERE {scope} AND platform = ? ORDER BY created_at DESC, id DESC LIMIT ?`)
	accountByID = declareScoped(`SELECT ` + accountColumns + ` FROM accounts WHERE id = ? AND {scope}`)
	// One statement, so that two who connect the same account at once get one row. created_at and id stay those of the
	// first time. The version is another one from here on: whoever is about to renew the old secrets has lost.
	putAccount = declareScoped(`INSERT INTO accounts
(organization_id, environment, id, profile_id, platform, platform_account_id, display_name, token_expires_at,
refresh_at, created_at, updated_at, secrets_version)
VALUES ({owner}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (organization_id, environment, profile_id, platform, platform_account_id) DO UPDATE
SET display_name = excluded.display_name, token_expires_at = excluded.token_expires_at,
refresh_at = excluded.refresh_at, refresh_tries = 0, reconnect = '', renewing_until = 0,
secrets_version = accounts.secrets_version + 1, updated_at = excluded.updated_at
RETURNING ` + accountColumns)
	// What was held back because the account could not be used may go. Its jobs come again with the overdue.
	releaseHeld = declareScoped(`UPDATE posts SET not_before = 0
WHERE not_before > 0 AND status = 'queued' AND id IN (` + inOrder(`p.account_id = ? AND p.status = 'queued'
AND p.not_before > 0 AND {scope p}`) + `)`)
	// UPDATE, against the SHARE by which AddPosts holds an account. Of the posts nothing is wanted but their locks: the
	// COUNT brings no row over.
	lockAccount   = declareScoped(`SELECT id FROM accounts WHERE id = ? AND {scope} {lock UPDATE}`)
	lockOfAccount = declareScoped(`SELECT COUNT(*) FROM (` + inOrder("p.account_id = ? AND {scope p}") + `) AS locked`)
	// What has been published or has failed is history, and stays; what is queued can't be sent any more.
	cancelOfAccount = declareScoped(`UPDATE posts SET ` + canceling + `, updated_at = ?
WHERE account_id = ? AND status = 'queued' AND {scope}`)
	postsOfAccount = declareScoped(`UPDATE posts SET account_id = NULL, updated_at = ? WHERE account_id = ? AND {scope}`)
	deleteAccount  = declareScoped(`DELETE FROM accounts WHERE id = ? AND {scope}`)
)

const accountColumns = `id, profile_id, platform, platform_account_id, display_name, token_expires_at,
refresh_at, reconnect, created_at, updated_at`

// accountColumnsOf are accountColumns of a table's alias.
func accountColumnsOf(alias string) string {
	columns := strings.Split(accountColumns, ",")
	for i, c := range columns {
		columns[i] = alias + "." + strings.TrimSpace(c)
	}
	return strings.Join(columns, ", ")
}

// scanAccount reads the columns of accountColumns.
func scanAccount(rows *sql.Rows) (a Account, err error) {
	err = scanAccountInto(rows, &a)
	return a, err
}

// scanAccountInto reads the columns of accountColumns and those that follow them.
func scanAccountInto(rows *sql.Rows, a *Account, more ...any) error {
	var expires, refresh, created, updated int64
	var reconnect string
	into := []any{
		&a.ID, &a.ProfileID, &a.Platform, &a.PlatformAccountID, &a.DisplayName, &expires,
		&refresh, &reconnect, &created, &updated,
	}
	if err := rows.Scan(append(into, more...)...); err != nil {
		return err
	}
	a.TokenExpiresAt, a.RefreshAt = fromMicros(expires), fromMicros(refresh)
	a.CreatedAt, a.UpdatedAt = fromMicros(created), fromMicros(updated)
	var err error
	if a.Reconnect, err = decode[platform.Failure](reconnect); err != nil {
		return fmt.Errorf("account %s: %w", a.ID, err)
	}
	return nil
}

// Accounts lists accounts. more tells whether there are any after the last of these.
func (v *View) Accounts(ctx context.Context, p Page) (accounts []Account, more bool, err error) {
	return list(ctx, v, p, listAccounts, listAccountsAfter, scanAccount, sizeOfAccount)
}

// sizeOfAccount is about how long an account is as JSON.
func sizeOfAccount(a Account) int {
	return rowBytes + encodedLen(a.DisplayName) + encodedLen(a.PlatformAccountID) + sizeOfFailure(a.Reconnect)
}

// AccountsOf returns the accounts of one platform, the newest first, at most limit. Whoever posts without naming an
// account gets the only one of its platform; two of them are enough to know that there are several. A limit keeps an
// organization with thousands of accounts from reading them all for each post.
func (v *View) AccountsOf(ctx context.Context, name platform.Name, limit int) ([]Account, error) {
	if !isID(string(name)) {
		return nil, nil
	}
	return read(ctx, v, accountsOf, scanAccount, string(name), limit)
}

// Account returns one account. If there is none, or id is not well-formed, the error is ErrNotFound.
func (v *View) Account(ctx context.Context, id string) (Account, error) {
	if !isID(id) {
		return Account{}, ErrNotFound
	}
	return one(read(ctx, v, accountByID, scanAccount, id))
}

// PutAccount connects an account, or renews the one of the same profile, platform and platform account: to connect
// again is how a token is renewed, and must not orphan the posts that are queued for the account. Of a, ID and
// CreatedAt count for a new one only; one that was disconnected is new, and has its former id. A profile that the view
// does not reach is ErrNotFound. A *QuotaError: there is no room for a new one.
func (tx *Tx) PutAccount(a Account) (_ Account, created bool, err error) {
	if !tx.view.includes(a.ProfileID) || !isID(a.ID) || a.ProfileID != "" && !isID(a.ProfileID) {
		return Account{}, false, ErrNotFound
	}
	if err := checkText(string(a.Platform), a.PlatformAccountID, a.DisplayName); err != nil {
		return Account{}, false, fmt.Errorf("put account %s: %w", a.ID, err)
	}
	if a.UpdatedAt.IsZero() {
		a.UpdatedAt = tx.view.db.now()
	}
	if err := tx.alone(); err != nil {
		return Account{}, false, err
	}
	as, err := tx.recall(a)
	if err != nil {
		return Account{}, false, fmt.Errorf("recall account %s: %w", a.ID, err)
	}
	kept, err := one(inTx(tx, putAccount, scanAccount,
		as.id, a.ProfileID, string(a.Platform), a.PlatformAccountID, a.DisplayName,
		micros(a.TokenExpiresAt), micros(a.RefreshAt), micros(a.CreatedAt), micros(a.UpdatedAt), as.version))
	if err != nil {
		return Account{}, false, fmt.Errorf("put account %s: %w", a.ID, err)
	}
	if kept.ID != as.id { // a renewed one keeps its own id
		if _, err := tx.exec(releaseHeld, kept.ID); err != nil {
			return Account{}, false, fmt.Errorf("release what account %s has queued: %w", kept.ID, err)
		}
		return kept, false, nil
	}
	return kept, true, tx.checkQuota(Amounts{Accounts: 1}, nil)
}

// DeleteAccount disconnects an account, forgets what opens it, and cancels its queued posts, as CancelPost does. What
// it has published stays, without an account. Who it was is remembered for a while: see Disconnected. In one
// transaction: a post that is queued for an account that is gone would be taken up and fail for no reason of its own.
// Whatever refers to the account goes, or lets go of it, before it does: foreign keys are checked with each
// statement.
func (tx *Tx) DeleteAccount(id string) error {
	if !isID(id) {
		return ErrNotFound
	}
	if err := tx.alone(); err != nil {
		return err
	}
	// The account's lock comes next, so that no post can be added for the account from here on.
	if _, err := one(inTx(tx, lockAccount, scanID, id)); err != nil {
		return err
	}
	// And then all of its posts, before anything of them is counted.
	if _, err := tx.exec(lockOfAccount, id); err != nil {
		return fmt.Errorf("lock the posts of account %s: %w", id, err)
	}
	why, code, err := encodeFailure(gaveUp)
	if err != nil {
		return fmt.Errorf("delete account %s: %w", id, err)
	}
	now := micros(tx.view.db.now())
	if _, err := tx.exec(cancelOfAccount, why, code, now, id); err != nil {
		return fmt.Errorf("cancel what account %s has queued: %w", id, err)
	}
	if _, err := tx.exec(postsOfAccount, now, id); err != nil {
		return fmt.Errorf("take account %s from its posts: %w", id, err)
	}
	if _, err := tx.exec(deleteSecrets, id); err != nil {
		return fmt.Errorf("delete the secrets of account %s: %w", id, err)
	}
	// While its row is there, of which what is remembered is made.
	if err := tx.remember(id, now); err != nil {
		return err
	}
	if _, err := tx.exec(deleteAccount, id); err != nil {
		return fmt.Errorf("delete account %s: %w", id, err)
	}
	return nil
}
