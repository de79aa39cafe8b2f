// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package outbound makes the HTTP clients for addresses that somebody else has chosen: a person who connects an
// account, a stranger's identity document, a link in a post. Such an address must not lead into the network that this
// server stands in (server-side request forgery, CWE-918), and what it answers must not take more memory or time than
// it is worth.
//
// The check is made by the dialer, of each address after names have been resolved and before anything is sent to it.
// So it holds for every way to write an address, for redirects, and for names that change what they mean from one
// lookup to the next. indigo's util/ssrf does the same for fewer networks; but it allows two ports alone, knows no
// exceptions, and takes its proxy from the environment, which then makes the connection in its place.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"
)

// Guard makes clients that reach public addresses only, and what it was told to let through. Its clients share
// connections.
type Guard struct {
	allowed   []Exception
	transport *http.Transport
	// connecting, if a test sets it, is told of each address that a connection is about to be made to.
	connecting func(netip.AddrPort)
}

// Times that no answer which is wanted takes.
const (
	dialTimeout   = 5 * time.Second
	headerTimeout = 15 * time.Second
	idleTimeout   = time.Minute
)

const maxHeaderBytes = 64 << 10

// userAgent says who asks, for whoever finds it in a log.
const userAgent = "letmepost-operator (+https://letmepost.dev)"

// NewGuard makes a guard that lets through public addresses and the exceptions.
func NewGuard(allowed ...Exception) *Guard {
	g := &Guard{allowed: allowed}
	g.transport = &http.Transport{
		// No proxy, not even the environment's: it would resolve names itself, behind the check.
		DialContext:            g.dial,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	return g
}

// Bounds are what one request may take.
type Bounds struct {
	Time      time.Duration // from the first lookup to the last byte
	Bytes     int64         // of the body, unpacked; reading on is a *http.MaxBytesError
	Redirects int           // to follow; 0: a redirect is the answer
}

// Client makes a client with bounds of its own.
func (g *Guard) Client(b Bounds) *http.Client {
	return &http.Client{
		Transport: bounded{g.transport, b.Bytes},
		Timeout:   b.Time,
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			switch {
			case b.Redirects == 0:
				return http.ErrUseLastResponse
			case len(via) > b.Redirects:
				return fmt.Errorf("more than %d redirects", b.Redirects)
			}
			return nil
		},
	}
}

// bounded cuts bodies off, and says who asks.
type bounded struct {
	next http.RoundTripper
	most int64
}

// RoundTrip is http.RoundTripper's.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("User-Agent") == "" {
		r = r.Clone(r.Context()) // a RoundTripper must not change what it is given
		r.Header.Set("User-Agent", userAgent)
	}
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, b.most)
	}
	return resp, err
}

// NoteConnection has noted whether a request in the context that it returns got a connection. A client may say that it
// failed before or after the request was sent, and only what has a connection was sent: of all else it is certain that
// nobody has done it.
func NoteConnection(ctx context.Context) (context.Context, *atomic.Bool) {
	connected := new(atomic.Bool)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}), connected
}

// NotPublicError says that an address was not connected to. Its text names the address, so it is for logs: whoever
// chose the name must not learn from an answer what it means in this network.
type NotPublicError struct{ Address netip.AddrPort }

// Error makes it an error.
func (e *NotPublicError) Error() string { return e.Address.String() + " is not a public address" }

// IsRefused tells whether an error of a client comes from the guard.
func IsRefused(err error) bool { return errors.As(err, new(*NotPublicError)) }

func (g *Guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, ControlContext: g.check}
	if g.named(address) {
		d.ControlContext = nil // wherever it leads: whoever runs the server has said so
	}
	return d.DialContext(ctx, network, address)
}

// check is called with each address that a name has, when there is a socket that nothing was sent by yet.
func (g *Guard) check(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address: %w", address, err)
	}
	if !IsPublic(to.Addr()) && !g.inAllowed(to) {
		return &NotPublicError{to}
	}
	if g.connecting != nil {
		g.connecting(to)
	}
	return nil
}

// Confidential tells whether a secret may be sent to a URL: to one that is encrypted, and to an exception.
func (g *Guard) Confidential(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return u.Scheme == "http" && (g.named(net.JoinHostPort(u.Hostname(), port)) || g.literal(u.Hostname(), port))
}
