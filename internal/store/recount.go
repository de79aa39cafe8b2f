// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Triggers keep the counts right. What they can't see is what is done around them: tables that are restored without
// them, or emptied by TRUNCATE. So everything is counted anew every so often.

// organizationsAfter lists organizations, some at a time.
var (
	organizationsAfter = declareGlobal(`SELECT organization_id, environment FROM usage
WHERE (organization_id, environment) > (?, ?) ORDER BY organization_id, environment LIMIT ?`)
	lockUsage = declareGlobal(`SELECT organization_id FROM usage
WHERE organization_id = ? AND environment = ? {lock UPDATE}`)
	// One statement, so that what is counted and the counts are of one moment.
	miscounted = declareGlobal(`SELECT ` + miscounts() + ` FROM usage AS u
WHERE u.organization_id = ? AND u.environment = ?`)
	correctUsage = declareGlobal(`UPDATE usage SET ` + corrections() + `
WHERE organization_id = ? AND environment = ?`)
)

// miscounts is, for each resource, by how much its count is too small.
func miscounts() string {
	list := make([]string, len(Resources))
	for i, r := range Resources {
		var sums []string
		for _, c := range counted {
			if weight, ok := c.weights[r]; ok {
				sums = append(sums, fmt.Sprintf("(SELECT COALESCE(SUM(%s), 0) FROM %s AS t "+
					"WHERE t.organization_id = u.organization_id AND t.environment = u.environment)",
					strings.ReplaceAll(weight, "$", "t."), c.table))
			}
		}
		list[i] = fmt.Sprintf("CAST(%s - u.%s AS BIGINT)", strings.Join(sums, " + "), r)
	}
	return strings.Join(list, ", ")
}

func corrections() string {
	list := make([]string, len(Resources))
	for i, r := range Resources {
		list[i] = fmt.Sprintf("%[1]s = %[1]s + ?", r)
	}
	return strings.Join(list, ", ")
}

// organizationsAtOnce is how many organizations are listed by one statement.
const organizationsAtOnce = 500

// Recount counts what each organization has, and puts right what is not. It returns how many it has put right. Any
// number of processes may do it at once. It goes by the rows of usage. An organization without one, which triggers
// make with the first that they count, is not looked at.
func (w *Work) Recount(ctx context.Context) (corrected int, err error) {
	last := [2]string{}
	for {
		some, err := readAll(ctx, w.db, session{pool: w.db.reader}, organizationsAfter,
			func(rows *sql.Rows) (o [2]string, err error) { err = rows.Scan(&o[0], &o[1]); return o, err },
			last[0], last[1], organizationsAtOnce)
		if err != nil {
			return corrected, fmt.Errorf("list organizations: %w", err)
		}
		for _, o := range some {
			last = o
			did, err := w.recount(ctx, o[0], o[1])
			if err != nil {
				return corrected, fmt.Errorf("count what organization %s has: %w", o[0], err)
			}
			if did {
				corrected++
			}
		}
		if len(some) < organizationsAtOnce {
			return corrected, nil
		}
	}
}

// recount looks without a lock, and only if something is wrong once more with one: nobody who writes has to wait for
// that all is right.
func (w *Work) recount(ctx context.Context, organization, environment string) (corrected bool, err error) {
	wrong, err := w.miscount(ctx, session{pool: w.db.reader}, organization, environment)
	if err != nil || !differs(wrong) {
		return false, err
	}
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		// Whoever changes what is counted is done, or has yet to begin: all of them write to this row. So no two correct the
		// same mistake.
		if _, err := readAll(ctx, w.db, s, lockUsage, scanID, organization, environment); err != nil {
			return err
		}
		if wrong, err = w.miscount(ctx, s, organization, environment); err != nil || !differs(wrong) {
			return err
		}
		args := make([]any, 0, len(Resources)+2)
		for _, r := range Resources {
			args = append(args, wrong[r])
		}
		_, err := s.exec(ctx, correctUsage.text(w.db.engine), append(args, organization, environment))
		return err
	})
	if err == nil && differs(wrong) {
		w.db.logger.Warn("what an organization has was counted wrongly, and is right now", "organization", organization,
			"by", wrong)
	}
	return differs(wrong), err
}

// miscount returns by how much each count is too small; negative: too large. Nil, if there is no row of usage any
// more.
func (w *Work) miscount(ctx context.Context, in session, organization, environment string) (Amounts, error) {
	return usageOr0(readAll(ctx, w.db, in, miscounted, scanUsage, organization, environment))
}

func differs(a Amounts) bool {
	for _, n := range a {
		if n != 0 {
			return true
		}
	}
	return false
}
