// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// A key of the vault may seal once every process knows it, and may go once no row needs it and no process seals with
// it. Both are seen here: processes say with each heartbeat which keys they know, and each row says which one sealed
// it. Whatever is sealed stands in a column of the name sealed, and is known to the statements below: a key that they
// count nothing under may be retired.

// VaultKeys are the keys that a process knows.
type VaultKeys struct {
	Process string
	Keys    []uint32 // the first one seals; none: the process has no keyset
}

// SealedRow is a secret of an account as it is stored, with what it is bound to.
type SealedRow struct {
	Organization, AccountID string
	SealedSecret
}

var (
	vaultKeys = declareGlobal(`SELECT id, vault_keys FROM processes WHERE seen_at > {now} - ? ORDER BY id`)
	// Connections that wait for a browser are not sealed again: they are over in minutes. Sessions are by whoever uses
	// them, and the others end.
	sealedBy = declareGlobal(`SELECT key_id, COUNT(*) FROM (
SELECT key_id FROM account_secrets UNION ALL SELECT key_id FROM connecting
UNION ALL SELECT key_id FROM sessions WHERE key_id > 0) AS sealed GROUP BY key_id`)
	// By the index (key_id, account_id, name), on both sides of the key that is left out.
	sealedByOthers = declareGlobal(`SELECT organization_id, account_id, name, key_id, sealed FROM account_secrets
WHERE (key_id < ? OR key_id > ?) AND (account_id > ? OR account_id = ? AND name > ?)
ORDER BY account_id, name LIMIT ?`)
	// Only what was read is replaced: a renewal that came in between has newer secrets, sealed under a newer key.
	reseal = declareGlobal(`UPDATE account_secrets SET key_id = ?, sealed = ?
WHERE account_id = ? AND name = ? AND sealed = ?`)
)

// encodeVaultKeys and decodeVaultKeys are the column's two ends.
func encodeVaultKeys(keys []uint32) string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = strconv.FormatUint(uint64(k), 10)
	}
	return strings.Join(texts, " ")
}

func decodeVaultKeys(text string) (keys []uint32, err error) {
	for field := range strings.FieldsSeq(text) {
		k, err := strconv.ParseUint(field, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%.100q are no keys of a vault", text)
		}
		keys = append(keys, uint32(k))
	}
	return keys, nil
}

// VaultKeys returns what every process that lives knows of the vault's keys. One of a release that had no vault is
// among them, and knows none.
func (w *Work) VaultKeys(ctx context.Context) ([]VaultKeys, error) {
	list, err := readAll(ctx, w.db, session{pool: w.db.reader}, vaultKeys, func(rows *sql.Rows) (p VaultKeys, err error) {
		var text string
		if err := rows.Scan(&p.Process, &text); err != nil {
			return p, err
		}
		p.Keys, err = decodeVaultKeys(text)
		return p, err
	}, w.db.deadAfter.Microseconds())
	if err != nil {
		return nil, fmt.Errorf("read which keys the processes know: %w", err)
	}
	return list, nil
}

// SealedBy returns how many secrets each key of the vault has sealed.
func (w *Work) SealedBy(ctx context.Context) (map[uint32]int, error) {
	type count struct {
		key  uint32
		rows int
	}
	list, err := readAll(ctx, w.db, session{pool: w.db.reader}, sealedBy, func(rows *sql.Rows) (c count, err error) {
		err = rows.Scan(&c.key, &c.rows)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("count what each key has sealed: %w", err)
	}
	by := map[uint32]int{}
	for _, c := range list {
		by[c.key] = c.rows
	}
	return by, nil
}

// SealedByOthers returns secrets that other keys than the named one have sealed, after a row in the order of accounts
// and names; the zero row is before all.
func (w *Work) SealedByOthers(ctx context.Context, key uint32, after SealedRow, limit int) ([]SealedRow, error) {
	scan := func(rows *sql.Rows) (r SealedRow, err error) {
		err = rows.Scan(&r.Organization, &r.AccountID, &r.Name, &r.KeyID, &r.Sealed)
		return r, err
	}
	list, err := readAll(ctx, w.db, session{pool: w.db.reader}, sealedByOthers, scan,
		key, key, after.AccountID, after.AccountID, after.Name, limit)
	if err != nil {
		return nil, fmt.Errorf("list what other keys have sealed: %w", err)
	}
	return list, nil
}

// Reseal puts the same secret in place of a row, sealed under another key; false: the row has changed since it was
// read, or is gone, and stays as it is.
func (w *Work) Reseal(ctx context.Context, row SealedRow, key uint32, sealed []byte) (bool, error) {
	return w.touch(ctx, "seal a secret of account "+row.AccountID+" again", reseal,
		key, sealed, row.AccountID, row.Name, row.Sealed)
}

// Attach makes a database that was migrated usable for a command that works beside the processes without being one:
// nobody waits for it, and it migrates nothing. The error says what to do. There is no heartbeat of such a command,
// so it must begin no claim and no attempt: others would take them for abandoned.
func (db *DB) Attach(ctx context.Context) error {
	provider, err := db.provider(db.reader.DB)
	if err != nil {
		return err
	}
	pending, err := provider.HasPending(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("look at the database: %w", explain(ctx, err))
	case pending:
		return fmt.Errorf("%w: it has not been migrated to this release: start the API first", ErrUnavailable)
	}
	db.ready.Store(true)
	return nil
}
