// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"

	"github.com/letmepost/letmepost-operator/internal/key"
)

var (
	setEnvironment   = declareGlobal(`INSERT INTO deployment (id, environment) VALUES (1, ?) ON CONFLICT (id) DO NOTHING`)
	boundEnvironment = declareGlobal(`SELECT environment FROM deployment WHERE id = 1`)
)

// bindEnvironment makes the database that of this process' environment, for good, unless it is another's: with one for
// both, the processes of one would publish what the other has scheduled. The row is never changed again, neither by
// this nor by a migration. To give a database to another environment is an administrator's deliberate act.
func (db *DB) bindEnvironment(ctx context.Context) error {
	if db.environment == "" {
		return nil
	}
	// Whoever comes first wins, and whoever is second finds out by asking: there is no moment in between.
	if _, err := db.writer.ExecContext(ctx, setEnvironment.text(db.engine), string(db.environment)); err != nil {
		return fmt.Errorf("say whose database it is: %w", err)
	}
	var owner key.Environment
	if err := db.writer.QueryRowContext(ctx, boundEnvironment.text(db.engine)).Scan(&owner); err != nil {
		return fmt.Errorf("ask whose database it is: %w", err)
	}
	if owner != db.environment {
		return fmt.Errorf("the database belongs to the %s environment, and this process serves %s: "+
			"give each environment a database of its own", owner, db.environment)
	}
	return nil
}
