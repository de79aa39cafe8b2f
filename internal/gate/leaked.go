// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/wire"
)

// Leaked takes reports of keys that have leaked, as the API does at the same path. Whoever has found a key need not
// know whether it is for a gate or for the API. All fields are required.
type Leaked struct {
	// Leaks takes the reports.
	Leaks *leak.Reporter
	// Reports limits them by address: that of the peer, which may be a proxy and stand for many.
	Reports *limit.Addresses
	Clock   clock.PassiveClock
}

// ServeHTTP answers one. The statuses are the API's.
func (l Leaked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	err := l.take(w, r)
	if err == nil {
		_, _ = io.WriteString(w, leak.Answered) // an error: who has reported has gone
		return
	}
	// Whatever went wrong: an answer without a word would be a 200, which looks like a receipt.
	p := leak.Unavailable
	errors.As(err, &p)
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((p.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if p.Kind == problem.Unsupported {
		// What would have been taken (RFC 9110, section 12.5.3).
		h.Set("Accept-Encoding", wire.Encoding)
	}
	w.WriteHeader(statuses[p.Kind])
	_, _ = io.WriteString(w, reply{code: p.Code, message: p.Message + " " + p.Remediation}.body())
}

// take takes one report in. The address pays before the body is read: from one that has sent too many, no more is
// read than the header.
func (l Leaked) take(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return &problem.Problem{
			Kind: problem.NoMethod, Code: problem.CodeValidationFailed, Message: "A report is a POST.", Remediation: "Send one.",
		}
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // what can't be told counts as one address
	if left := l.Reports.Take(peer.Addr(), l.Clock.Now()); !left.Allowed {
		return leak.TooMany(left.RetryAfter)
	}
	key, err := leak.KeyIn(w, r)
	if err != nil {
		return err
	}
	if l.Leaks.Report(r.Context(), key) != nil { // also if the request was cut: nothing but a receipt may look like one
		return leak.Unavailable
	}
	return nil
}
