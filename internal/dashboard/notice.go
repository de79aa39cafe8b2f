// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"strings"
)

// Whoever has sent a form goes on to a page, and that page says what was done: once, so that to load it again or to
// come back to it later says nothing that is not so any more. Until then the browser keeps which text it is. A text has
// no values in it: whatever a cookie says, a page shows one of our own sentences or none.

// noticeFor is how long the browser keeps it, in seconds: as long as a page may take to come.
const noticeFor = 60

// noticePrefix is what the keys of such texts begin with.
const noticePrefix = "notice."

// told sends the browser on to where somebody reads what was done: a text of noticePrefix.
func told(path, notice string) (view, error) {
	return view{Redirect: path, Notice: notice, Status: http.StatusSeeOther}, nil
}

func (d *Dashboard) noticeCookie() string { return CookieName(d.config.Environment) + "-notice" }

// keepNotice has the browser keep a notice for the next page; "": none any more.
func (r *request) keepNotice(notice string) {
	c := &http.Cookie{
		Name: r.dashboard.noticeCookie(), Value: notice, Path: "/", MaxAge: noticeFor, HttpOnly: true, Secure: true,
		SameSite: http.SameSiteLaxMode, // a browser may come back from a platform in between
	}
	if notice == "" {
		c.MaxAge = -1
	}
	http.SetCookie(r.writer, c)
}

// takeNotice is what the page that is being shown says of what was done before; "": nothing. What a script of another
// tab loads again is not a page that somebody goes on to.
func (r *request) takeNotice() string {
	kept := r.http.CookiesNamed(r.dashboard.noticeCookie())
	if to := r.http.Header.Get("Sec-Fetch-Dest"); len(kept) == 0 || to != "" && to != "document" {
		return ""
	}
	r.keepNotice("")
	notice := kept[0].Value
	if _, ok := r.dashboard.pages.texts[notice]; !ok || len(kept) > 1 || !strings.HasPrefix(notice, noticePrefix) {
		return ""
	}
	return r.dashboard.pages.text(notice)
}
