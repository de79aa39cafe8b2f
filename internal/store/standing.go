// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"strconv"
	"time"
)

// Standing is how far an account is from having to be connected again. It is no column: it changes with time alone, so
// it is told of a moment. Which moments these are, package connection knows.
type Standing int

// The standings of accounts. The numbers are those of the statements, and of nothing that is stored.
const (
	Usable Standing = iota
	Ending          // it ends soon
	Ended           // it has ended, or was refused
	Gone            // it was disconnected: see View.Disconnected
)

// standing is the Standing of a row of accounts. Its parameters are two times: now, and until when an end is soon. They
// are cast, since PostgreSQL would take their type from what they are compared with, and SQLite does not look.
var standing = `CASE WHEN reconnect <> '' OR token_expires_at > 0 AND token_expires_at <= CAST(? AS BIGINT)
THEN ` + strconv.Itoa(int(Ended)) + ` WHEN token_expires_at > 0 AND token_expires_at < CAST(? AS BIGINT)
THEN ` + strconv.Itoa(int(Ending)) + ` ELSE ` + strconv.Itoa(int(Usable)) + ` END`

var (
	accountsStanding = declareScoped(`SELECT ` + accountColumns + ` FROM accounts
WHERE {scope} AND ` + standing + ` IN (?, ?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`)
	accountsStandingAfter = declareScoped(`SELECT ` + accountColumns + ` FROM accounts
WHERE {scope} AND ` + standing + ` IN (?, ?, ?) AND (created_at, id) < (?, ?)
ORDER BY created_at DESC, id DESC LIMIT ?`)
)

// AccountFilter chooses accounts that are connected by how they stand at a time.
type AccountFilter struct {
	Usable, Ending, Ended bool // any of these; none: nothing is chosen
	Now, Soon             time.Time
}

// AccountsBy lists the accounts that a filter chooses, as Accounts does all of them. What it costs grows with those
// that the organization has, which are bounded, and not with those that it finds.
func (v *View) AccountsBy(ctx context.Context, f AccountFilter, p Page) (accounts []Account, more bool, err error) {
	const none = -1 // no row's
	of := [...]Standing{none, none, none}
	for s, chosen := range [...]bool{Usable: f.Usable, Ending: f.Ending, Ended: f.Ended} {
		if chosen {
			of[s] = Standing(s)
		}
	}
	return list(ctx, v, p, accountsStanding, accountsStandingAfter, scanAccount, sizeOfAccount,
		micros(f.Now), micros(f.Soon), int(of[Usable]), int(of[Ending]), int(of[Ended]))
}
