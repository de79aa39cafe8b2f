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

// Stamp says which database this is, and how far it has come. A copy of it is kept beside the media: a database that is
// another one, or was restored to an earlier state, does not know all files, and shows it by its stamp.
type Stamp struct {
	Database string // an id, drawn when the database was made
	Sweep    int64  // how many sweeps of the media were begun
}

var (
	makeStamp  = declareGlobal(`INSERT INTO stamp (id, database_id, sweep) VALUES (1, ?, 0) ON CONFLICT (id) DO NOTHING`)
	readStamp  = declareGlobal(`SELECT database_id, sweep FROM stamp WHERE id = 1`)
	countSweep = declareGlobal(`UPDATE stamp SET sweep = sweep + 1 WHERE id = 1`)
)

// Covers tells whether a database with the stamp s has all that it had when the copy was made. One that was restored
// from a backup stands before the copy: it may lack media that were added since, and is not to be believed about what
// belongs to nobody.
func (s Stamp) Covers(copied Stamp) bool {
	return s.Database == copied.Database && s.Sweep >= copied.Sweep
}

// String writes a stamp as ParseStamp reads it: "ID SWEEP".
func (s Stamp) String() string { return fmt.Sprintf("%s %d", s.Database, s.Sweep) }

// ParseStamp reads what String has written. Blanks around are allowed, as an editor leaves a line end.
func ParseStamp(text string) (Stamp, error) {
	id, count, _ := strings.Cut(strings.TrimSpace(text), " ")
	sweep, err := strconv.ParseInt(count, 10, 64)
	if err != nil || sweep < 0 || !isID(id) {
		return Stamp{}, fmt.Errorf("%.200q is no stamp of a database", text)
	}
	return Stamp{Database: id, Sweep: sweep}, nil
}

// scanStamp reads the columns of readStamp.
func scanStamp(rows *sql.Rows) (s Stamp, err error) {
	err = rows.Scan(&s.Database, &s.Sweep)
	return s, err
}

// Stamp returns the database's stamp.
func (w *Work) Stamp(ctx context.Context) (Stamp, error) {
	s, err := one(readAll(ctx, w.db, session{pool: w.db.reader}, readStamp, scanStamp))
	if err != nil {
		return Stamp{}, fmt.Errorf("read the stamp: %w", err)
	}
	return s, nil
}

// CountSweep moves the stamp on before anything is swept, and returns it as it is then. When it returns, no crash takes
// that back.
func (w *Work) CountSweep(ctx context.Context) (s Stamp, err error) {
	err = w.db.transact(ctx, func(ctx context.Context, in session) error {
		if _, err := in.exec(ctx, countSweep.text(w.db.engine), nil); err != nil {
			return err
		}
		s, err = one(readAll(ctx, w.db, in, readStamp, scanStamp))
		return err
	})
	if err != nil {
		return Stamp{}, fmt.Errorf("count a sweep: %w", err)
	}
	return s, nil
}
