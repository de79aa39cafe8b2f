// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/letmepost/letmepost-operator/test/postgres"
)

// databaseURL gives each API of a test its database; "" is a SQLite file of its own. Tests of this package run one
// after the other, so onBoth may change it.
var databaseURL = func(testing.TB) string { return "" }

// onBoth runs a test on SQLite and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Run("SQLite", test)
	t.Run("PostgreSQL", func(t *testing.T) {
		before, made := databaseURL, 0
		defer func() { databaseURL = before }()
		databaseURL = func(t testing.TB) string {
			made++
			return postgres.Start(t)
		}
		test(t)
		if made == 0 {
			t.Error("no API of this test was on PostgreSQL")
		}
	})
}

// way is a way to a PostgreSQL. It breaks when it is told to.
type way struct {
	url    string
	server string // address
	breaks atomic.Int32
	broken chan struct{} // a value each time that it broke
}

// When a way breaks.
const (
	not int32 = iota
	beforeCommit
	afterCommit // the server has committed, and nobody is told
)

func newWay(t *testing.T, address string) *way {
	t.Helper()
	u, err := url.Parse(address)
	check(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	w := &way{server: u.Host, broken: make(chan struct{}, 10)}
	u.Host = listener.Addr().String()
	w.url = u.String()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.carry(client) })
		}
	})
	t.Cleanup(func() {
		check(t, listener.Close())
		running.Wait()
	})
	return w
}

// carry carries one connection, until one of its ends closes it or it breaks.
func (w *way) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer server.Close()
	var mute atomic.Bool
	back := make(chan struct{})
	go func() {
		defer close(back)
		pass(server, client, func([]byte) bool { return !mute.Load() })
		client.Close()
	}()
	pass(client, server, func(sent []byte) bool {
		if !bytes.Contains(bytes.ToLower(sent), []byte("commit\x00")) {
			return true
		}
		switch {
		case w.breaks.CompareAndSwap(beforeCommit, not):
			w.broken <- struct{}{}
			return false
		case w.breaks.CompareAndSwap(afterCommit, not):
			mute.Store(true) // the answer ends the way back
			w.broken <- struct{}{}
		}
		return true
	})
	server.Close()
	<-back
}

// pass passes on what is read, as long as it may.
func pass(from, to net.Conn, may func([]byte) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !may(buffer[:n]) {
			return
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}
