// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A form that mints has an id, which is good for one key. It stands on the key (v1alpha1.AnnotationForm), whose name
// is unique: so of a form that is sent twice, by whatever replica, the second one finds the first one's key. When that
// key is gone, the browser still knows that the form was used, by a cookie.

const (
	// formsFor is how long a form may be sent. No session lasts longer, so that a form is too old only for somebody who
	// has signed in again since they were shown it.
	formsFor = 12 * time.Hour
	// maxForms is how many used forms a browser is told of; some 40 bytes each, of the 4096 that a cookie has.
	maxForms = 64
)

// newForm returns the id of a new form: when it was made, and 128 random bits. With the time in it, every replica can
// tell whether it is still good, and nothing is stored. It need not be signed: whoever makes one up has a form of their
// own, which is good for one key as well.
func newForm(random io.Reader, now time.Time) (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return "", fmt.Errorf("id of a form: %w", err)
	}
	return strconv.FormatInt(now.Unix(), 36) + "-" + hex.EncodeToString(id[:]), nil
}

// isForm tells whether this is the id of a form that may still be sent.
func isForm(id string, now time.Time) bool {
	at, random, _ := strings.Cut(id, "-")
	made, err := strconv.ParseInt(at, 36, 64)
	if err != nil || len(id) > longest["form"] || len(random) != 32 || strings.Trim(random, "0123456789abcdef") != "" {
		return false
	}
	// Clocks of two replicas differ.
	age := now.Sub(time.Unix(made, 0))
	return age > -time.Minute && age < formsFor
}

func (d *Dashboard) formsCookie() string { return CookieName(d.config.Environment) + "-minted" }

// usedForms are those that this browser has used, the oldest first. They are what a browser says: it can only keep
// itself from minting by them.
func (r *request) usedForms() []string {
	cookies := r.http.CookiesNamed(r.dashboard.formsCookie())
	if len(cookies) != 1 {
		return nil
	}
	used := strings.Split(cookies[0].Value, ".")
	return slices.DeleteFunc(used, func(id string) bool { return !isForm(id, r.now) })
}

// useForm has the browser remember that a form was used.
func (r *request) useForm(id string) {
	used := append(slices.DeleteFunc(r.usedForms(), func(other string) bool { return other == id }), id)
	used = used[max(0, len(used)-maxForms):]
	// Strict, unlike the session's: it is looked at when a form is sent, and forms come from these pages alone.
	http.SetCookie(r.writer, &http.Cookie{
		Name: r.dashboard.formsCookie(), Value: strings.Join(used, "."), Path: "/", MaxAge: int(formsFor / time.Second),
		HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode,
	})
}
