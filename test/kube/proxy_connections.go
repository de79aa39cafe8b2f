// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"net"
	"sync"
)

// upstream is a connection with the apiserver, below TLS.
type upstream struct {
	net.Conn
	proxy *Proxy
}

func (u *upstream) Close() error {
	u.proxy.mu.Lock()
	delete(u.proxy.upstreams, u)
	u.proxy.mu.Unlock()
	return u.Conn.Close()
}

// dial connects to the apiserver. A transport dials on when the request that wanted the connection is over, so one may
// come after the end: it is closed at once.
func (p *Proxy) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	u := &upstream{Conn: conn, proxy: p}
	p.upstreams[u] = true
	return u, nil
}

// faultyListener makes connections of a Proxy of those that it accepts.
type faultyListener struct {
	net.Listener
	proxy *Proxy
}

// Accept accepts a connection, whatever will become of it.
func (l faultyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	c := &connection{Conn: conn, proxy: l.proxy, closed: make(chan struct{})}
	l.proxy.connections[c] = true
	l.proxy.afflict(c)
	return c, nil
}

// connection is one with a client, below TLS.
type connection struct {
	net.Conn
	proxy  *Proxy
	dead   bool // for good; guarded by proxy.mu
	once   sync.Once
	closed chan struct{}
}

// Read goes on reading from a dead connection, and so learns that the client has closed it.
func (c *connection) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if n == 0 || c.arrives() {
			return n, err
		}
		if err != nil {
			return 0, err
		}
	}
}

func (c *connection) Write(b []byte) (int, error) {
	if !c.arrives() {
		return len(b), nil // so much of a network as the sender can see
	}
	return c.Conn.Write(b)
}

// arrives tells whether what is sent now arrives, as soon as that is known.
func (c *connection) arrives() bool {
	for {
		c.proxy.mu.Lock()
		dead, paused, changed := c.dead, c.proxy.mode == Paused, c.proxy.changed
		c.proxy.mu.Unlock()
		if dead || !paused {
			return !dead
		}
		select {
		case <-changed:
		case <-c.closed:
			return false
		}
	}
}

// reset closes a connection so that its client gets an error and not an end; proxy.mu must be held.
func (c *connection) reset() {
	if conn, ok := c.Conn.(*net.TCPConn); ok {
		_ = conn.SetLinger(0)
	}
	_ = c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
}

func (c *connection) Close() error {
	c.proxy.mu.Lock()
	delete(c.proxy.connections, c)
	c.proxy.mu.Unlock()
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
