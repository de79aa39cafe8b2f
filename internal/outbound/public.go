// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import "net/netip"

// notPublic is what IPv4 has reserved (the IANA's special-purpose registry, RFC 6890 and its updates), and one address
// that looks public and is not.
var notPublic = prefixes(
	"0.0.0.0/8",        // this host
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // shared by a carrier's customers; the metadata of some clouds
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // the host of every machine at Azure
	"169.254.0.0/16",   // link-local; the metadata of most clouds
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocols; the metadata of some clouds
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // relays to IPv6
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, broadcast
)

// Of IPv6 only one block is public at all, and parts of that are not. Whatever holds an address of IPv4 is among them:
// where it ends is for a translator to say, which stands in the very network that is to be guarded.
var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	notGlobal     = prefixes(
		"2001::/23",     // protocols; Teredo, which holds an address of IPv4
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4, which holds an address of IPv4
		"3fff::/20",     // documentation
	)
)

// IsPublic tells whether an address is one of the internet's. An address of IPv4 that is written as one of IPv6
// (::ffff:0:0/96) is taken for what it is, as the system would connect to that.
func IsPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return !inAny(notPublic, a)
	}
	return globalUnicast.Contains(a) && !inAny(notGlobal, a)
}

func inAny(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}
