// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// micros is how a time is stored: microseconds since 1970, 0 for the zero time. The zero time has a year 1, for which
// UnixMicro would be a large negative number that sorts before everything. Columns compare as numbers in both engines,
// which texts of times would not.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros is the reverse of micros, in UTC.
func fromMicros(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// now is the time of the clock, as it is stored: what is returned to a caller is what will be read again.
func (db *DB) now() time.Time { return fromMicros(micros(db.clock.Now())) }

// maxID is longer than any id that we or Kubernetes make, and as long as caller.Actor.Ref may be.
const maxID = 128

// isID tells whether a string may be an id. What is not is not worth a question, and could be one that PostgreSQL does
// not take: it refuses NUL and what is no UTF-8. Ids are UUIDs of ours and of Kubernetes, and words such as platforms
// and statuses: printable ASCII without blanks. Callers get the same answer as for one that does not exist, so ids give
// nothing away.
func isID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// isText tells whether both engines can store a string and give it back as it is: PostgreSQL takes UTF-8 without NUL.
// SQLite takes more, and what a caller may store is not to depend on the engine.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

var errText = errors.New("not text: a NUL or no UTF-8")

// checkText returns errText unless all of some strings can be stored.
func checkText(texts ...string) error {
	for _, s := range texts {
		if !isText(s) {
			return errText
		}
	}
	return nil
}

// encode writes what has a shape as JSON; "" for nothing. The database never looks into it. Text and not JSONB: that
// refuses \u0000, which is how JSON writes a NUL that a platform has sent.
func encode[T any](value *T) (string, error) {
	if value == nil {
		return "", nil
	}
	b, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode %T: %w", *value, err)
	}
	return string(b), nil
}

// decode is the reverse of encode.
func decode[T any](text string) (*T, error) {
	if text == "" {
		return nil, nil
	}
	value := new(T)
	if err := json.Unmarshal([]byte(text), value); err != nil {
		return nil, fmt.Errorf("decode %T: %w", *value, err)
	}
	return value, nil
}
