// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Exception is an address that is let through though it is not public: one host and port by name, or a network. What is
// an exception may be spoken to without encryption, too.
type Exception struct {
	host    string // with its port, as it is dialled; "": prefix
	prefix  netip.Prefix
	literal string
}

// ParseException reads "pds.internal:2583", "127.0.0.1:2583", "[::1]:2583" or a network such as "10.1.0.0/16". A host
// is let through at that port alone, a network at all of them.
func ParseException(text string) (Exception, error) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return Exception{prefix: prefix.Masked(), literal: text}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || host == "" || e != nil || n == 0 {
		return Exception{}, fmt.Errorf("want HOST:PORT or a network such as 10.1.0.0/16, not %q", text)
	}
	return Exception{host: strings.ToLower(net.JoinHostPort(host, port)), literal: text}, nil
}

// String is as it was given.
func (e Exception) String() string { return e.literal }

// named tells whether what is dialled is an exception by its very name. Names are compared as they are written, but
// for their case, and before any lookup. Another name of the same host is no exception.
func (g *Guard) named(address string) bool {
	address = strings.ToLower(address)
	for _, e := range g.allowed {
		if e.host != "" && e.host == address {
			return true
		}
	}
	return false
}

// inAllowed tells whether an address is in a network that is an exception. An address of IPv4 counts as such when it
// is written as one of IPv6, too.
func (g *Guard) inAllowed(to netip.AddrPort) bool {
	for _, e := range g.allowed {
		if e.host == "" && e.prefix.Contains(to.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// literal tells whether a host is written as an address of a network that is an exception. A name that leads into
// that network is not: where it leads is known when it is connected to, and Confidential is asked before.
func (g *Guard) literal(host, port string) bool {
	to, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	return err == nil && g.inAllowed(to)
}
