// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var usual = Bounds{Time: 10 * time.Second, Bytes: 1 << 20, Redirects: 3}

func TestIsPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"1.1.1.1": true, "93.184.216.34": true, "2606:4700::1111": true, "::ffff:1.1.1.1": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "100.64.0.1": false, "100.100.100.200": false,
		"127.0.0.1": false, "127.255.255.254": false, "168.63.129.16": false, "169.254.169.254": false,
		"172.16.0.1": false, "172.31.255.255": false, "172.32.0.1": true, "192.0.0.192": false, "192.168.1.1": false,
		"198.18.0.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "100::1": false, "2001::1": false, "2001:db8::1": false,
		"2002:7f00:1::": false, "3fff::1": false, "fc00::1": false, "fd00:ec2::254": false, "fe80::1": false,
		"fe80::1%eth0": false, "fec0::1": false, "ff02::1": false, "4000::1": false,
	} {
		if got := IsPublic(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: %v, want %v", text, got, want)
		}
	}
}

// listener counts the connections to this machine, so that none is proof that nothing was sent.
type listener struct {
	*httptest.Server
	connections atomic.Int32
	port        string
}

func listen(t *testing.T, address string, handler http.HandlerFunc) *listener {
	t.Helper()
	l := &listener{}
	l.Server = httptest.NewUnstartedServer(handler)
	l.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			l.connections.Add(1)
		}
	}
	socket, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	l.Listener.Close()
	l.Listener = socket
	l.Start()
	t.Cleanup(l.Close)
	_, l.port, _ = net.SplitHostPort(socket.Addr().String())
	return l
}

// watched is a guard of which connecting holds where it was about to connect to.
func watched(allowed ...Exception) (g *Guard, connecting *[]netip.AddrPort) {
	g, connecting = NewGuard(allowed...), new([]netip.AddrPort)
	g.connecting = func(a netip.AddrPort) { *connecting = append(*connecting, a) }
	return g, connecting
}

// TestRefusesWhatIsNotPublic: in whatever way the address is written, no socket is connected.
func TestRefusesWhatIsNotPublic(t *testing.T) {
	here := listen(t, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) {})
	for _, host := range []string{
		"127.0.0.1", "localhost", "LOCALHOST.", "127.1", "2130706433", "0177.0.0.1", "0x7f000001", "0x7f.0.0.1", "0", "0.0.0.0",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[fe80::1%25lo]", "[64:ff9b::127.0.0.1]",
		"10.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "user@127.0.0.1", "127.0.0.1%00.example.com", "①②⑦.0.0.1",
	} {
		g, connecting := watched()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+":"+here.port+"/", nil)
		if err == nil {
			var resp *http.Response
			if resp, err = g.Client(usual).Do(req); err == nil {
				resp.Body.Close()
			}
		}
		cancel()
		// Some are no URL, or no name that anybody resolves, which depends on the system: then there is another error.
		if err == nil {
			t.Errorf("%s was answered", host)
		}
		if len(*connecting) > 0 {
			t.Errorf("%s: about to connect to %v", host, *connecting)
		}
	}
	if n := here.connections.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
}

// nameServer answers each question for an address with the next of addresses, and makes the system's resolver ask it.
func nameServer(t *testing.T, addresses ...string) {
	t.Helper()
	socket, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		for asked := 0; ; {
			buffer := make([]byte, 512)
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			var question dnsmessage.Message
			if question.Unpack(buffer[:n]) != nil || len(question.Questions) != 1 {
				continue
			}
			answer := dnsmessage.Message{Questions: question.Questions}
			answer.ID, answer.Response, answer.RecursionAvailable = question.ID, true, true
			if q := question.Questions[0]; q.Type == dnsmessage.TypeA {
				a := netip.MustParseAddr(addresses[min(asked, len(addresses)-1)])
				asked++
				answer.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 0},
					Body:   &dnsmessage.AResource{A: a.As4()},
				}}
			}
			if packed, err := answer.Pack(); err == nil {
				_, _ = socket.WriteTo(packed, from)
			}
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
	t.Cleanup(func() { net.DefaultResolver = before })
}

func TestNameThatResolvesToAPrivateAddress(t *testing.T) {
	here := listen(t, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) {})
	for _, address := range []string{"127.0.0.1", "10.1.2.3", "169.254.169.254"} {
		nameServer(t, address)
		g, connecting := watched()
		_, err := g.Client(usual).Get("http://pds.example.com:" + here.port) //nolint:bodyclose // there is none: it failed
		if !IsRefused(err) || len(*connecting) > 0 {
			t.Errorf("%s: error %v, about to connect to %v", address, err, *connecting)
		}
	}
	if n := here.connections.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
}

// TestNameThatChangesItsMind: the first lookup says what is allowed, the second what is not. Each is checked.
func TestNameThatChangesItsMind(t *testing.T) {
	here := listen(t, "127.0.0.1:0", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	nameServer(t, "127.0.0.1", "127.0.0.2")
	e, err := ParseException("127.0.0.1/32")
	if err != nil {
		t.Fatal(err)
	}
	g, _ := watched(e)
	resp, err := g.Client(usual).Get("http://pds.example.com:" + here.port)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	_, err = g.Client(usual).Get("http://pds.example.com:" + here.port) //nolint:bodyclose // there is none: it failed
	if !IsRefused(err) {
		t.Errorf("error %v", err)
	}
}

func TestRedirects(t *testing.T) {
	inside := listen(t, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) {})
	to := "http://127.0.0.1:" + inside.port
	outside := listen(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
			return
		}
		http.Redirect(w, r, to, http.StatusFound)
	})
	e, err := ParseException("127.0.0.1:" + outside.port)
	if err != nil {
		t.Fatal(err)
	}
	client := NewGuard(e).Client(usual)
	if _, err := client.Get(outside.URL); !IsRefused(err) { //nolint:bodyclose // there is none: it failed
		t.Errorf("redirect into the network: error %v", err)
	}
	if n := inside.connections.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
	if _, err := client.Get(outside.URL + "/loop"); err == nil || !strings.Contains(err.Error(), "more than 3 redirects") { //nolint:bodyclose // there is none: it failed
		t.Errorf("loop: error %v", err)
	}
	none := usual
	none.Redirects = 0
	resp, err := NewGuard(e).Client(none).Get(outside.URL)
	if err != nil || resp.StatusCode != http.StatusFound {
		t.Fatalf("a redirect that is not followed: %v, error %v", resp, err)
	}
	resp.Body.Close()
}

// TestNoProxy: a proxy would resolve names and connect by itself.
func TestNoProxy(t *testing.T) {
	proxy := listen(t, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) {})
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	if _, err := NewGuard().Client(usual).Get("http://10.0.0.1/"); !IsRefused(err) { //nolint:bodyclose // there is none: it failed
		t.Errorf("error %v", err)
	}
	if n := proxy.connections.Load(); n > 0 {
		t.Errorf("%d connections were made to the proxy", n)
	}
}

func TestBounds(t *testing.T) {
	hang := make(chan struct{})
	here := listen(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
			return
		}
		if !strings.HasPrefix(r.UserAgent(), "letmepost-operator") {
			t.Errorf("asked by %q", r.UserAgent())
		}
		_, _ = w.Write(make([]byte, 2000))
	})
	defer close(hang)
	e, err := ParseException("127.0.0.1/32")
	if err != nil {
		t.Fatal(err)
	}
	g := NewGuard(e)
	resp, err := g.Client(Bounds{Time: 10 * time.Second, Bytes: 1000}).Get(here.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if !errors.As(err, new(*http.MaxBytesError)) || len(got) != 1000 {
		t.Errorf("read %d bytes, error %v", len(got), err)
	}
	_, err = g.Client(Bounds{Time: 50 * time.Millisecond, Bytes: 1000}).Get(here.URL + "/slow") //nolint:bodyclose // there is none: it failed
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("slow: error %v", err)
	}
}

func TestExceptions(t *testing.T) {
	for _, text := range []string{"", "pds.internal", ":80", "pds.internal:0", "pds.internal:http", "pds.internal:65536", "10.0.0.0/33", "http://x:1"} {
		if e, err := ParseException(text); err == nil {
			t.Errorf("%q is %+v", text, e)
		}
	}
	var allowed []Exception
	for _, text := range []string{"PDS.internal:2583", "10.1.0.0/16", "[::1]:80"} {
		e, err := ParseException(text)
		if err != nil || e.String() != text {
			t.Fatalf("%q: %v, error %v", text, e, err)
		}
		allowed = append(allowed, e)
	}
	g := NewGuard(allowed...)
	for text, want := range map[string]bool{
		"https://anywhere.example": true, "http://anywhere.example": false, "ftp://pds.internal:2583": false,
		"http://pds.internal:2583": true, "http://pds.internal:2584": false, "http://pds.internal": false,
		"http://10.1.2.3": true, "http://10.2.2.3": false, "http://[::1]": true, "http://[::1]:81": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Confidential(u); got != want {
			t.Errorf("a secret may go to %s: %v, want %v", text, got, want)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "x.localhost": true, "127.0.0.1": true, "127.0.0.2": true, "::1": true, "[::1]": true,
		"": false, "localhost.example.com": false, "xlocalhost": false, "10.0.0.1": false, "::": false, "0.0.0.0": false,
	} {
		if got := IsLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
