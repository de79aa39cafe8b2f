// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
)

// SignedIn is the session of a person, as it is stored. Who they are, and the credential that they act with, only
// whoever has the token of the session can read.
type SignedIn struct {
	ID           string // a hash of what the browser shows: whoever reads the row can't show it
	Person       string // their reference, see caller.Actor.Ref
	Organization caller.Organization
	KeyID        uint32 // the vault's key that it is sealed with; 0: there is no vault
	Sealed       []byte
	// Version is another one each time that the credential is renewed.
	Version   int64
	UsedAt    time.Time
	ExpiresAt time.Time
}

// SessionBounds is how many sessions there may be.
type SessionBounds struct{ Person, All int }

var (
	addSession = declareGlobal(`INSERT INTO sessions
(id, environment, person, organization_id, organization_name, key_id, sealed, used_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	// Whoever signs in once more has their longest unused session ended for it, and is never refused. The LIMIT is there
	// because SQLite has no OFFSET without one; what it leaves, the next sign-in ends.
	endPersonsSessions = declareGlobal(`DELETE FROM sessions WHERE id IN
(SELECT id FROM sessions WHERE environment = ? AND person = ? ORDER BY used_at DESC, id LIMIT 1000 OFFSET ?)`)
	endUnusedSessions = declareGlobal(`DELETE FROM sessions WHERE id IN
(SELECT id FROM sessions WHERE environment = ? ORDER BY used_at DESC, id LIMIT 1000 OFFSET ?)`)
	sessionByID = declareGlobal(`SELECT id, person, organization_id, organization_name, key_id, sealed, version,
used_at, expires_at FROM sessions WHERE id = ? AND environment = ?`)
	// Sealed again under another key it is the same text, so that only a renewal is a new version. A request that has
	// read the session before a renewal must not put the older credential back, so it names the version; and a
	// request that comes late does not put the time back.
	useSession = declareGlobal(`UPDATE sessions SET used_at = ?, key_id = ?, sealed = ?
WHERE id = ? AND environment = ? AND version = ? AND used_at < ?`)
	chooseOrganization = declareGlobal(`UPDATE sessions SET organization_id = ?, organization_name = ?
WHERE id = ? AND environment = ?`)
	endSession = declareGlobal(`DELETE FROM sessions WHERE id = ? AND environment = ?`)
	// A time and not a yes, so that a process that dies at it keeps the others out no longer than that; by the database's
	// clock, because it is read by processes of other machines.
	beginSessionRenewal = declareGlobal(`UPDATE sessions SET renewing_until = {now} + ?
WHERE id = ? AND environment = ? AND version = ? AND renewing_until < {now}`)
	endSessionRenewal = declareGlobal(`UPDATE sessions SET version = version + 1, renewing_until = 0,
key_id = ?, sealed = ? WHERE id = ? AND environment = ? AND version = ?`)
	postponeSessionRenewal = declareGlobal(`UPDATE sessions SET renewing_until = {now} + ?
WHERE id = ? AND environment = ? AND version = ?`)
	purgeSessions = declareGlobal(`DELETE FROM sessions WHERE id IN
(SELECT id FROM sessions WHERE expires_at <= ? OR used_at <= ? ORDER BY expires_at LIMIT ?)`)
)

func scanSession(rows *sql.Rows) (s SignedIn, err error) {
	var used, expires int64
	err = rows.Scan(&s.ID, &s.Person, &s.Organization.ID, &s.Organization.Name, &s.KeyID, &s.Sealed, &s.Version,
		&used, &expires)
	s.UsedAt, s.ExpiresAt = fromMicros(used), fromMicros(expires)
	return s, err
}

// AddSession stores a session that has just begun, in this environment. Those beyond the bounds end, the longest unused
// ones first.
func (w *Work) AddSession(ctx context.Context, s SignedIn, most SessionBounds) error {
	if err := checkText(s.Person, s.Organization.ID, s.Organization.Name); err != nil {
		return err
	}
	environment := string(w.db.environment)
	err := w.db.transact(ctx, func(ctx context.Context, in session) error {
		for _, do := range []struct {
			statement *global
			args      []any
		}{
			{addSession, []any{
				s.ID, environment, s.Person, s.Organization.ID, s.Organization.Name, s.KeyID, s.Sealed,
				micros(s.UsedAt), micros(s.ExpiresAt),
			}},
			{endPersonsSessions, []any{environment, s.Person, most.Person}},
			{endUnusedSessions, []any{environment, most.All}},
		} {
			if _, err := in.exec(ctx, do.statement.text(w.db.engine), do.args); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add a session: %w", err)
	}
	return nil
}

// Session returns a session of this environment, by an id that is made of what a browser shows. ErrNotFound: there is
// none, or not any more. Whether it is still good is for the caller to say.
func (w *Work) Session(ctx context.Context, id string) (SignedIn, error) {
	if !isID(id) {
		return SignedIn{}, ErrNotFound
	}
	return one(readAll(ctx, w.db, session{pool: w.db.reader}, sessionByID, scanSession, id, string(w.db.environment)))
}

// UseSession notes that a session is used at a time, unless that is known already of that time or a later one, or its
// credential was renewed since it was read. It may be sealed under another key now.
func (w *Work) UseSession(ctx context.Context, s SignedIn, at time.Time) error {
	_, err := w.touch(ctx, "note that a session is used", useSession,
		micros(at), s.KeyID, s.Sealed, s.ID, string(w.db.environment), s.Version, micros(at))
	return err
}

// ChooseOrganization makes an organization the active one of a session; false: there is no such session any more.
func (w *Work) ChooseOrganization(ctx context.Context, id string, o caller.Organization) (bool, error) {
	if err := checkText(o.ID, o.Name); err != nil {
		return false, err
	}
	return w.touch(ctx, "choose an organization", chooseOrganization, o.ID, o.Name, id, string(w.db.environment))
}

// EndSession ends a session, if there is one.
func (w *Work) EndSession(ctx context.Context, id string) error {
	if !isID(id) {
		return nil
	}
	_, err := w.touch(ctx, "end a session", endSession, id, string(w.db.environment))
	return err
}

// TakeSession is EndSession, and tells whether it was there: of many who take one at the same moment, one does.
func (w *Work) TakeSession(ctx context.Context, id string) (bool, error) {
	if !isID(id) {
		return false, nil
	}
	return w.touch(ctx, "take a session", endSession, id, string(w.db.environment))
}

// BeginSessionRenewal lets one process renew a session's credential, for so long; false: another one is at it, or has
// done it since the version was read. A refresh token that is used twice may end the session at its provider.
func (w *Work) BeginSessionRenewal(ctx context.Context, id string, version int64, within time.Duration) (bool, error) {
	return w.touch(ctx, "begin to renew a session", beginSessionRenewal,
		within.Microseconds(), id, string(w.db.environment), version)
}

// EndSessionRenewal stores what a renewal has got; false: the session is over, or somebody else has renewed it.
func (w *Work) EndSessionRenewal(ctx context.Context, s SignedIn) (bool, error) {
	return w.touch(ctx, "renew a session", endSessionRenewal,
		s.KeyID, s.Sealed, s.ID, string(w.db.environment), s.Version)
}

// PostponeSessionRenewal says that a renewal that was begun has got nothing. Others may try again after a pause.
func (w *Work) PostponeSessionRenewal(ctx context.Context, id string, version int64, pause time.Duration) error {
	_, err := w.touch(ctx, "postpone a renewal", postponeSessionRenewal,
		pause.Microseconds(), id, string(w.db.environment), version)
	return err
}
