// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
)

// activity is what a connection is at. Where there are too many connections, those of the lowest activity are closed
// first; those that are being answered are never closed for others.
type activity uint64

const (
	idle    activity = iota // between two requests: its client opens another one
	lingers                 // answered; the rest of its request is read and thrown away
	sending                 // new, or in the middle of a header: nobody knows yet whose it is
	served                  // a handler runs
)

// connection is one that a listener has accepted.
type connection struct {
	*net.TCPConn
	listener *listener
	place    int // in listener.open; guarded by its mutex, as is gone
	gone     bool
	// state is the activity in its lowest two bits, and above them since when: by how many connections had come until
	// then. That is as good as a time, and costs no look at a clock with each request.
	state atomic.Uint64
}

// is notes what the connection is at from now on.
func (c *connection) is(a activity) { c.state.Store(c.listener.accepted.Load()<<2 | uint64(a)) }

// Close implements net.Conn. net/http may close a connection more than once; forget takes the first.
func (c *connection) Close() error {
	c.listener.forget(c)
	return c.TCPConn.Close()
}

// CloseWrite is called by net/http when it has answered a request that it has not read to its end, such as one whose
// header is too long, and is about to close the connection. If bytes still came after that, the kernel would reset the
// connection, and the client might never see the answer (RFC 9112 section 9.6).
func (c *connection) CloseWrite() error {
	err := c.TCPConn.CloseWrite()
	c.is(lingers)
	discard(c.TCPConn, c.SetReadDeadline, c.listener.rest)
	return err
}

// connectionOf is the connection that a server was given, with TLS around it or without. nil: it is none of a
// listener's here.
func connectionOf(c net.Conn) *connection {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	ours, _ := c.(*connection)
	return ours
}

// noted is a server's ConnState. What begins a request and ends it, net/http says; that its header has come to its end,
// the handler does (entrance).
func noted(c net.Conn, state http.ConnState) {
	ours := connectionOf(c)
	switch {
	case ours == nil:
	case state == http.StateIdle:
		ours.is(idle)
	case state == http.StateActive && activity(ours.state.Load()&3) == idle:
		ours.is(sending)
	}
}

// listener bounds how many connections are open at once. Each costs memory, whoever opened it: no key is needed.
//
// There is no bound for one address: behind a proxy, or a Service that hides its callers, all have the same. What is
// held open without being of use is closed as soon as there is need, whoever holds it, and so takes nobody's place.
type listener struct {
	*net.TCPListener
	most     int
	rest     leftover // what is read of a request that is refused
	full     []byte   // HTTP, for a connection that there is no room for; nil: it is closed without a word (TLS)
	metrics  *metrics
	accepted atomic.Uint64
	refusing chan struct{} // bounds those who are told full at once

	mu   sync.Mutex
	open []*connection
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		l.accepted.Add(1)
		c := &connection{TCPConn: raw, listener: l}
		c.is(sending)
		if l.admit(c) {
			return c, nil
		}
		l.refuse(raw)
	}
}

// admit makes room for a connection, if it can be made. The one that is closed is closed without the lock, as that may
// take time.
func (l *listener) admit(c *connection) bool {
	l.mu.Lock()
	var victim *connection
	var was activity
	if len(l.open) >= l.most {
		if victim, was = l.victim(); victim == nil {
			l.mu.Unlock()
			return false
		}
		l.remove(victim)
	}
	c.place = len(l.open)
	l.open = append(l.open, c)
	l.mu.Unlock()
	if victim != nil {
		l.metrics.shed[was].Inc()
		_ = victim.TCPConn.Close()
	}
	return true
}

// victim is the connection that is missed least: of the lowest activity, the one that is at it for longest. nil: all
// are being answered. It looks at all of them, since that is cheaper than to keep them in order with each request.
//
// One whose client has sent what this process has not read yet is not to pay for that: it counts as new. On a machine
// that is too busy there may be many of those, and then one of them goes.
func (l *listener) victim() (least *connection, of activity) {
	const spared = 8
	for tries := 0; ; tries++ {
		least, lowest := (*connection)(nil), uint64(served)<<62
		for _, c := range l.open {
			state := c.state.Load()
			if rank := state<<62 | state>>2; rank < lowest { // the activity first
				least, lowest = c, rank
			}
		}
		if least == nil {
			return nil, served
		}
		const taken = uint64(served)
		if !least.state.CompareAndSwap(lowest<<2|lowest>>62, taken) {
			continue // its request has begun in between
		}
		if tries >= spared || !least.unread() {
			return least, activity(lowest >> 62)
		}
		least.state.CompareAndSwap(taken, l.accepted.Load()<<2|uint64(sending))
	}
}

// unread tells whether the kernel has bytes of this connection that nobody has read.
func (c *connection) unread() (yes bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	// Not raw.Read, which would wait for the server's own read of the connection to end.
	_ = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		yes = err == nil && n > 0
	})
	return yes
}

// remove puts the last one in its place, so that it costs the same whatever their number. mu must be held.
func (l *listener) remove(c *connection) {
	last := len(l.open) - 1
	l.open[c.place] = l.open[last]
	l.open[c.place].place = c.place
	l.open[last] = nil
	l.open, c.gone = l.open[:last], true
}

// forget takes a connection that is closed out of the count.
func (l *listener) forget(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.gone {
		l.remove(c)
	}
}

// count is how many connections are open.
func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// refuse says that there is no room for a connection, as far as there is room for that. Beyond those that are being
// told, connections are closed without a word: to tell somebody costs a goroutine.
func (l *listener) refuse(c *net.TCPConn) {
	l.metrics.refused[byConnections].Inc()
	select {
	case l.refusing <- struct{}{}:
	default:
		_ = c.Close()
		return
	}
	go func() {
		defer func() { <-l.refusing }()
		defer func() { _ = c.Close() }()
		if _, err := c.Write(l.full); err != nil || l.full == nil {
			return
		}
		_ = c.CloseWrite()
		discard(c, c.SetReadDeadline, l.rest)
	}()
}
