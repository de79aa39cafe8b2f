// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clientVariable is the environment variable that makes this program a client: it holds an asking.
const clientVariable = "LMP_BENCH_CLIENT"

// asking is what a client is to ask for.
type asking struct {
	Address, Key string
	Paths        []string
	Length       time.Duration
}

// ask asks for paths, one after another on each of some connections, from a process of its own, and returns the
// requests answered with 200 in a second.
func (s *server) ask(
	ctx context.Context,
	paths []string,
	plaintext string,
	length time.Duration,
) (perSecond float64, err error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	order, err := json.Marshal(asking{s.address, plaintext, paths, length})
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), clientVariable+"="+string(order))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("the client: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// beClient does what an asking asks for, and prints the requests answered in a second.
func beClient(ctx context.Context, order string, stdout io.Writer) error {
	var a asking
	if err := json.Unmarshal([]byte(order), &a); err != nil {
		return fmt.Errorf("%s: %w", clientVariable, err)
	}
	runtime.GOMAXPROCS(1)
	rate, err := a.poll(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, rate)
	return err
}

// poll looks at one connection after another, and never waits for any.
func (a *asking) poll(ctx context.Context) (perSecond float64, err error) {
	var all []*polled
	for i := range connections {
		p, err := a.dial(ctx, i*len(a.Paths)/connections)
		if err != nil {
			return 0, err
		}
		defer func() { _ = p.conn.Close() }()
		all = append(all, p)
	}
	answered, began := 0, time.Now()
	for time.Since(began) < a.Length {
		for _, p := range all {
			complete, err := p.look()
			if err != nil {
				return 0, err
			}
			if !complete {
				continue
			}
			answered++
			if err := p.send(); err != nil {
				return 0, err
			}
		}
	}
	return float64(answered) / time.Since(began).Seconds(), nil
}

// polled is a connection with a request on it.
type polled struct {
	conn     net.Conn
	raw      syscall.RawConn
	requests [][]byte
	next     int    // request
	response []byte // what has come of it
	in       *bufio.Reader
}

const maxResponse = 8 << 10 // bytes

// dial makes a connection and sends the first request on it.
func (a *asking) dial(ctx context.Context, first int) (*polled, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", a.Address)
	if err != nil {
		return nil, err
	}
	p := &polled{conn: conn, response: make([]byte, 0, maxResponse), in: bufio.NewReaderSize(nil, maxResponse)}
	for _, path := range slices.Concat(a.Paths[first:], a.Paths[:first]) {
		p.requests = append(p.requests, get(path, a.Key))
	}
	if p.raw, err = conn.(*net.TCPConn).SyscallConn(); err == nil {
		err = p.send()
	}
	return p, err
}

func (p *polled) send() error {
	_, err := p.conn.Write(p.requests[p.next%len(p.requests)])
	p.next++
	p.response = p.response[:0]
	return err
}

// look takes what has come, and tells whether it is the whole response.
func (p *polled) look() (complete bool, err error) {
	var n int
	var failure error
	if err := p.raw.Read(func(fd uintptr) bool {
		n, failure = syscall.Read(int(fd), p.response[len(p.response):cap(p.response)])
		return true // whatever there was: it is not waited for
	}); err != nil {
		return false, err
	}
	switch {
	case errors.Is(failure, syscall.EAGAIN):
		return false, nil
	case failure != nil:
		return false, failure
	case n == 0:
		return false, fmt.Errorf("the connection was closed, or a response is longer than %d bytes", maxResponse)
	}
	p.response = p.response[:len(p.response)+n]
	p.in.Reset(bytes.NewReader(p.response))
	err = skipResponse(p.in)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}
