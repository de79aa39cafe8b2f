// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"net/url"
	"strings"
)

// againField stands in the address by which a page that changes by itself is asked for again: by its script (app.js has
// the name too), or by the browser where none runs. It is in the address and is no header, because a browser adds none
// of ours.
//
// Such a request is no use of the session, or that would last for as long as a page is left open. Whoever sends one by
// hand, or leads somebody there, gains nothing: the session lasts no longer for it.
const againField = "again"

// againAt is the address by which the page at a path is asked for again; the path may have a query.
func againAt(path string) string {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return Base + path + separator + againField + "=1"
}

// hereAgain is againAt for the address of a page that was asked for, perhaps by itself.
func hereAgain(u url.URL) string {
	query := u.Query()
	query.Set(againField, "1")
	u.RawQuery = query.Encode()
	return u.RequestURI()
}

// askedAgain tells whether it is the page that asks, and nobody who looks at it. A form is always somebody's.
func askedAgain(r *http.Request) bool {
	return r.Method != http.MethodPost && r.URL.Query().Has(againField)
}
