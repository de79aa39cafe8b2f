// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"net/http"
	"net/netip"
	"strings"
)

// Address returns where the request comes from, for package admission, which asks only when it has to.
func (r *Request) Address() netip.Addr { return clientAddress(r.http, r.engine.config.TrustedProxies) }

// clientAddress is who sent a request: the peer of the connection or, as long as that is a trusted proxy, who it says
// its own peer was. The header is read from its end, because its beginning is whatever the client made up.
func clientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	address := peer(r.RemoteAddr)
	if len(trusted) == 0 {
		return address
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0 && isTrusted(address, trusted); i-- {
		hop := peer(strings.TrimSpace(hops[i]))
		if !hop.IsValid() {
			break
		}
		address = hop
	}
	return address
}

// peer reads an address with or without a port. One that can't be read is the zero Addr, which is an address like any
// other to a limit.
func peer(s string) netip.Addr {
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap()
	}
	address, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap()
}

func isTrusted(address netip.Addr, trusted []netip.Prefix) bool {
	for _, prefix := range trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}
