// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"net/netip"
	"strings"
)

// IsLoopback tells whether a URL's host, without a port, is the machine that asks for it: such an address means another
// machine to everybody else, and what goes there by plain HTTP nobody reads on the way. Names below localhost are among
// them (RFC 6761, section 6.3), as browsers have it.
func IsLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.IsLoopback()
}
