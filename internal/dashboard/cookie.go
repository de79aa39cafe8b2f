// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net"
	"net/http"
	"net/url"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/outbound"
)

// CookieName is the session's cookie. It names the environment, because cookies ignore ports: the sessions of both must
// not take each other's place where they share a host. "__Host-" lets no other host set or see it.
func CookieName(e key.Environment) string { return "__Host-letmepost-" + string(e) }

// SessionToken returns the token of a session that a request shows; "": none, or more than one, of which one would be
// somebody else's idea.
func SessionToken(e key.Environment, r *http.Request) string {
	cookies := r.CookiesNamed(CookieName(e))
	if len(cookies) != 1 {
		return ""
	}
	return cookies[0].Value
}

// APISessionToken is SessionToken for the HTTP API. There, a session is for pages of this very origin: what another
// site has a browser fetch, or leads it to, is answered as if nobody were signed in. Browsers say which it is.
func APISessionToken(e key.Environment, r *http.Request) string {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return ""
	}
	return SessionToken(e, r)
}

// private tells whether nobody on the way reads what the browser sends: by HTTPS, also where a proxy has ended it, or
// to a loopback address. There alone browsers keep the cookie. They say it themselves, because a proxy may not: by
// Origin, and by Sec-Fetch-Site, which they send to such places only.
func private(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "null" {
		u, err := url.Parse(origin)
		return err == nil && (u.Scheme == "https" || outbound.IsLoopback(u.Hostname()))
	}
	return r.TLS != nil || r.Header.Get("Sec-Fetch-Site") != "" || outbound.IsLoopback(hostOf(r))
}

// hostOf is the host that a request is for, without its port.
func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

func (d *Dashboard) sessionToken(r *http.Request) string {
	return SessionToken(d.config.Environment, r)
}

// setCookie has the browser show a session's token from now on; "": no more.
//
// It is Secure, has this path and no domain, or browsers would refuse it for its prefix. It is SameSite=Lax, and not
// Strict, because a browser that comes back from a platform is led here by another site, and connects an account by the
// session (connectReturned). What is a form is kept from other sites by ServeHTTP. It has no age: how long a session
// lasts is decided where it is stored.
func (d *Dashboard) setCookie(w http.ResponseWriter, token string) {
	c := &http.Cookie{
		Name: CookieName(d.config.Environment), Value: token, Path: "/", HttpOnly: true, Secure: true,
		SameSite: http.SameSiteLaxMode,
	}
	if token == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
