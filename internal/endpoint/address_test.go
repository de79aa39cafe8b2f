// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	for _, c := range []struct {
		reason, peer string
		forwarded    []string
		trusted      []netip.Prefix
		want         string
	}{
		{"no proxy", "192.0.2.1:80", nil, trusted, "192.0.2.1"},
		{"nobody is trusted", "10.0.0.1:80", []string{"192.0.2.1"}, nil, "10.0.0.1"},
		{"the peer is not trusted", "192.0.2.1:80", []string{"198.51.100.1"}, trusted, "192.0.2.1"},
		{"one proxy", "10.0.0.1:80", []string{"192.0.2.1"}, trusted, "192.0.2.1"},
		{"two proxies", "10.0.0.1:80", []string{"192.0.2.1, 10.9.9.9"}, trusted, "192.0.2.1"},
		{"what the client makes up stands first", "10.0.0.1:80", []string{"1.1.1.1, 192.0.2.1"}, trusted, "192.0.2.1"},
		{"several headers are one list", "10.0.0.1:80", []string{"1.1.1.1", "192.0.2.1, 10.2.2.2"}, trusted, "192.0.2.1"},
		{"the proxy's own request", "10.0.0.1:80", nil, trusted, "10.0.0.1"},
		{"proxies all the way", "10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, trusted, "10.0.0.3"},
		{"nonsense ends it", "10.0.0.1:80", []string{"1.1.1.1, unknown"}, trusted, "10.0.0.1"},
		{"an empty header", "10.0.0.1:80", []string{""}, trusted, "10.0.0.1"},
		{"with a port", "10.0.0.1:80", []string{"192.0.2.1:4711"}, trusted, "192.0.2.1"},
		{"IPv6", "[2001:db8:1::1]:80", []string{"2001:db8:2::1"}, trusted, "2001:db8:2::1"},
		{"IPv6 with a port", "[2001:db8:1::1]:80", []string{"[2001:db8:2::1]:1"}, trusted, "2001:db8:2::1"},
		{"IPv6 in brackets, without a port", "[2001:db8:1::1]:80", []string{"[2001:db8:2::1]"}, trusted, "2001:db8:2::1"},
		{"half a bracket is nonsense", "10.0.0.1:80", []string{"[2001:db8:2::1"}, trusted, "10.0.0.1"},
		{"IPv4 in brackets is nonsense", "10.0.0.1:80", []string{"[192.0.2.1]"}, trusted, "10.0.0.1"},
		{"a proxy in brackets", "10.0.0.1:80", []string{"192.0.2.1, [2001:db8:1::2]"}, trusted, "192.0.2.1"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:80", []string{"::ffff:192.0.2.1"}, trusted, "192.0.2.1"},
		{"a peer that is no address", "@", []string{"192.0.2.1"}, trusted, "invalid IP"},
		{"a header of commas", "10.0.0.1:80", []string{"1.1.1.1" + strings.Repeat(",", 1<<20)}, trusted, "10.0.0.1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		if c.forwarded != nil {
			r.Header["X-Forwarded-For"] = c.forwarded
		}
		if got := ClientAddress(r, c.trusted).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.reason, got, c.want)
		}
	}
}

// The header is read no further than trust goes, whatever is in it, and nothing is made of the rest. Bytes are counted
// and not allocations: to split a megabyte of commas takes one, of 16 MB.
func TestForwardedForIsReadNoFurtherThanTrust(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, peer := range []string{"192.0.2.1:80", "10.0.0.1:80"} {
		for what, rest := range map[string]string{"hops": "10.0.0.9,", "commas": ",", "one name": "x"} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = peer
			r.Header["X-Forwarded-For"] = []string{strings.Repeat(rest, 1<<20), "192.0.2.7, 10.0.0.3, 10.0.0.2"}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if got := ClientAddress(r, trusted).String(); got != "192.0.2.1" && got != "192.0.2.7" {
				t.Errorf("%s: %s", peer, got)
			}
			runtime.ReadMemStats(&after)
			// Whatever else the process does meanwhile is less than a copy of the header, and far less than its parts.
			if took := after.TotalAlloc - before.TotalAlloc; took > 512<<10 {
				t.Errorf("from %s, %s: %d bytes for a header that need not be read", peer, what, took)
			}
		}
	}
}
