// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// commit is how pgx asks for one: a query of the simple protocol, which is one write.
var commit = []byte("Q\x00\x00\x00\x0bcommit\x00")

// Lossy returns the URL of a database by way of a proxy. While it loses, the server does what is committed, and the
// connection breaks before the answer: whoever has committed does not know. It ends with the test.
func Lossy(t testing.TB, address string) (through string, loses *atomic.Bool) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	loses = new(atomic.Bool)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			running.Go(func() { relay(client, server, loses) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait() // for the test's pools, which have been closed by now
	})
	u.Host = l.Addr().String()
	return u.String(), loses
}

// relay passes on what client and server say, until one of them ends, or a commit is lost.
func relay(client net.Conn, server string, loses *atomic.Bool) {
	defer func() { _ = client.Close() }()
	upstream, err := (&net.Dialer{Timeout: bound}).Dial("tcp", server)
	if err != nil {
		return
	}
	var lost atomic.Bool
	var answers sync.WaitGroup
	answers.Go(func() {
		// The protocol is of questions and answers: what comes after the commit was sent is its answer.
		passOn(upstream, client, func([]byte) bool { return !lost.Load() })
		_ = client.Close()
	})
	passOn(client, upstream, func(said []byte) bool {
		if loses.Load() && bytes.Contains(said, commit) {
			lost.Store(true)
		}
		return true
	})
	if !lost.Load() { // else it is closed when the answer is there
		_ = upstream.Close()
	}
	answers.Wait()
	_ = upstream.Close()
}

// passOn passes on what comes, until one side has ended, or may says no.
func passOn(from, to net.Conn, may func([]byte) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if !may(buffer[:n]) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
