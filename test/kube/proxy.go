package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"

	"k8s.io/client-go/tools/clientcmd"
)

// Mode is what a Proxy does to its connections, to those that are open as well as to new ones.
type Mode string

// The modes of a Proxy.
const (
	// Pass passes everything on.
	Pass Mode = "pass"
	// Refuse resets all connections: a network that says no.
	Refuse Mode = "refuse"
	// Silent keeps connections open and accepts new ones, but what is sent is lost, either way. Those connections stay
	// dead in every later mode, until their client closes them: a network that has forgotten them.
	Silent Mode = "silent"
	// Paused holds back what is sent, either way, and delivers all of it in the next mode: a cable that is pulled out and
	// put in again. Requests arrive late, and so do their answers.
	Paused Mode = "paused"
	// Swallow passes everything on but the MODIFIED and DELETED events of watches of our resources. They stay lost in
	// every later mode, and no stream is cut: kubernetes/kubernetes#123072.
	Swallow Mode = "swallow"

	closed Mode = "closed"
)

// Proxy stands between a client and the apiserver. It ends TLS on either side, with the apiserver's own certificate,
// and leaves alone what the client says of itself.
type Proxy struct {
	cluster   *Cluster
	url       string
	server    *http.Server
	transport *http.Transport
	running   sync.WaitGroup // the accept loop, connections and requests

	mu          sync.Mutex
	mode        Mode
	changed     chan struct{} // closed, and replaced, when the mode changes
	connections map[*connection]bool
	upstreams   map[*upstream]bool
	swallowed   int
}

// StartProxy starts a proxy that passes everything on until it is told otherwise.
func (c *Cluster) StartProxy() (*Proxy, error) {
	certificate, err := tls.LoadX509KeyPair(c.pki.cert(apiServerName), c.pki.key(apiServerName))
	if err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	target, err := url.Parse(c.apiServerURL())
	if err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	listener, err := listen("tcp", Address(0))
	if err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.ca)
	p := &Proxy{
		cluster:     c,
		url:         "https://" + listener.Addr().String(),
		mode:        Pass,
		changed:     make(chan struct{}),
		connections: map[*connection]bool{},
		upstreams:   map[*upstream]bool{},
	}
	p.transport = &http.Transport{
		DialContext:        p.dial,
		TLSClientConfig:    &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:  true,
		DisableCompression: true,
	}
	p.server = &http.Server{
		Handler:   p.handler(target),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ConnState: p.count,
		ErrorLog:  log.New(io.Discard, "", 0), // the faults are ours
	}
	p.running.Go(func() { _ = p.server.ServeTLS(faultyListener{listener, p}, "", "") })
	return p, nil
}

// count counts the connections that are being served.
func (p *Proxy) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		p.running.Add(1)
	case http.StateClosed:
		p.running.Done()
	case http.StateActive, http.StateIdle, http.StateHijacked:
	}
}

// handler passes requests on, each event of a watch as soon as it comes.
func (p *Proxy) handler(target *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport:     p.transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			if ourWatch(r.In.URL) {
				r.Out.Header.Del("Accept-Encoding") // the sieve reads it as it is
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode == http.StatusOK && ourWatch(r.Request.URL) {
				r.Body = &sieve{Closer: r.Body, proxy: p, events: json.NewDecoder(r.Body)}
			}
			return nil
		},
		// No answer of ours: to the client it looks as it does without a proxy.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.begin() {
			panic(http.ErrAbortHandler)
		}
		defer p.running.Done()
		proxy.ServeHTTP(w, r)
	})
}

// begin counts a request, unless it comes after the end.
func (p *Proxy) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == closed {
		return false
	}
	p.running.Add(1)
	return true
}

func ourWatch(u *url.URL) bool {
	watch := u.Query().Get("watch")
	return strings.HasPrefix(u.Path, "/apis/letmepost.dev/") && (watch == "true" || watch == "1")
}

// ServiceAccountKubeconfig writes what Cluster.ServiceAccountKubeconfig writes, but for a client of the proxy.
func (p *Proxy) ServiceAccountKubeconfig(ctx context.Context, namespace, name, path string) error {
	if err := p.cluster.ServiceAccountKubeconfig(ctx, namespace, name, path); err != nil {
		return err
	}
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = p.url
	}
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return WriteFile(path, content, 0o600)
}

// SetMode changes the mode, at once.
func (p *Proxy) SetMode(mode Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = mode
	for c := range p.connections {
		p.afflict(c)
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// afflict does to a connection what lasts beyond the mode; mu must be held.
func (p *Proxy) afflict(c *connection) {
	switch p.mode {
	case Refuse, closed:
		c.reset()
	case Silent:
		c.dead = true
	case Pass, Paused, Swallow:
	}
}

// Swallowed is how many events were swallowed so far.
func (p *Proxy) Swallowed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.swallowed
}

// Close ends the proxy with all connections, and returns when nothing of it runs any more.
func (p *Proxy) Close() error {
	p.SetMode(closed)
	err := p.server.Close()
	p.running.Wait()
	p.closeUpstreams()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close a proxy: %w", err)
	}
	return nil
}

// closeUpstreams closes all connections with the apiserver, and not the idle ones alone: a request that was canceled
// returns before its stream is cleared away, and until then its connection does not count as idle.
func (p *Proxy) closeUpstreams() {
	p.mu.Lock()
	open := slices.Collect(maps.Keys(p.upstreams))
	p.mu.Unlock()
	for _, u := range open {
		_ = u.Close()
	}
	p.transport.CloseIdleConnections()
}
