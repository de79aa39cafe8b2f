// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package serve runs the listeners of the API process, and stops them in an order in which no request is lost. It knows
// nothing of what is served.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what to run. All are required except where they say otherwise.
type Options struct {
	API        http.Handler
	APIAddress string // such as ":8080"
	// Certificate that the API is served with, over HTTPS. Whoever made it runs it. Nil: HTTP.
	Certificate *Certificate

	// Admin serves what operators ask: metrics and probes. It has a listener of its own, so that callers of the API need
	// not reach it, and so that it stays up while the API's listener is already closed.
	Admin        http.Handler
	AdminAddress string

	// Background keeps the API's knowledge up to date until its context ends, and then returns. It outlives the API's last
	// request: a key that is revoked while the process drains is refused like any other.
	Background func(context.Context)

	// Also serves the API's callers by another protocol. It lives and drains with the API. Optional.
	Also Sibling

	// Draining is set when the process begins to stop. Readiness is to follow it: whoever made the handlers reads it.
	Draining *atomic.Bool
	// DrainDelay is how long requests are still taken after that, so that load balancers can notice. Each answer then
	// tells its caller to close the connection, so that the next request goes to somebody else. May be zero.
	DrainDelay time.Duration
	// DrainTimeout is how long the requests then running may take. They are cut off after it, so that the process ends by
	// itself before the kubelet kills it.
	DrainTimeout time.Duration
	// Limits are the API's. Those of the admin server are its own.
	Limits Limits

	Logger *slog.Logger
	// Listening is told the addresses once both listeners are bound. Optional.
	Listening func(api, admin net.Addr)
}

// Sibling is a server that is not of this package, such as one of gRPC. Its listener is bound already.
type Sibling interface {
	// Serve answers until Stop, of which it says nothing.
	Serve() error
	// Stop takes no more requests, and returns when those that run have ended, or were cut off after the timeout.
	Stop(timeout time.Duration)
}

// Run serves until ctx ends or a listener fails, then stops. Stopping is two lifecycles, one within the other:
//
//	 ctx ends
//	 │ 1. Draining is set: readiness turns 503, requests are taken as before, and answered with "Connection: close"
//	 │ 2. DrainDelay passes
//	 │ 3. the API takes no more, its running requests end (at most DrainTimeout)
//	API's life ends
//	 │ 4. Background ends: nobody is left who needs its knowledge
//	 │ 5. the admin server ends: the last metrics could be read until here
//	process's life ends
//
// The error says which listener could not be bound or failed, or that requests had to be cut off. It is nil after an
// orderly stop.
func Run(ctx context.Context, o Options) error {
	o.Limits.draining = o.Draining
	api, err := listen(ctx, "the API", o.APIAddress, closing(o.API, o.Draining), o.Certificate, o.Limits, o.Logger)
	if err != nil {
		return err
	}
	// Nobody but operators reaches it, if it is kept from the others; who does can't make it hold more than this.
	few := Limits{Connections: adminConnections, Clock: o.Limits.Clock, draining: o.Draining}
	admin, err := listen(ctx, "metrics and probes", o.AdminAddress, o.Admin, nil, few, o.Logger)
	if err != nil {
		return errors.Join(err, api.listener.Close())
	}
	if o.Listening != nil {
		o.Listening(api.listener.Addr(), admin.listener.Addr())
	}

	// Background must not end with ctx, which only begins the draining.
	life, endLife := context.WithCancel(context.WithoutCancel(ctx))
	defer endLife()
	var background sync.WaitGroup
	// Before the listeners are served: what comes first is refused until the Background has what it needs.
	background.Go(func() { o.Background(life) })
	failed := make(chan error, 3) // one for each, so that the second one to fail does not wait for ever
	go api.serve(failed)
	go admin.serve(failed)
	if o.Also != nil {
		go func() {
			if err := o.Also.Serve(); err != nil {
				failed <- fmt.Errorf("serve the API: %w", err)
			}
		}()
	}

	var failure error
	select {
	case <-ctx.Done():
		o.Logger.Info("draining", "delay", o.DrainDelay.String(), "timeout", o.DrainTimeout.String())
		o.Draining.Store(true)
		time.Sleep(o.DrainDelay)
	case failure = <-failed:
		o.Draining.Store(true)
	}
	var both sync.WaitGroup
	if o.Also != nil {
		both.Go(func() { o.Also.Stop(o.DrainTimeout) })
	}
	failure = errors.Join(failure, api.stop(o.DrainTimeout))
	both.Wait()
	endLife()
	background.Wait()
	failure = errors.Join(failure, admin.stop(adminTimeout))
	o.Logger.Info("stopped")
	return failure
}

// server is a Server and its listener.
type server struct {
	*Server
	name     string
	listener net.Listener
}

// listen binds the address. It is a step of its own, before anything is served: a process that can't have both of its
// addresses ends at once, with nothing begun.
func listen(
	ctx context.Context, name, address string, handler http.Handler, tls *Certificate, limits Limits, logger *slog.Logger,
) (*server, error) {
	s, err := NewServer(handler, limits, logger)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", name, err)
	}
	s.TLSConfig = tls.Config()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", name, err)
	}
	return &server{name: name, listener: listener, Server: s}, nil
}

// Server is an http.Server with the limits of every server here (timeouts.go, limits.go).
type Server struct {
	*http.Server
	limits  Limits
	metrics *metrics
	bound   *listener
}

// NewServer returns a server of handler. What net/http has to say goes to logger. It is exported for benchmarks, which
// have to measure what is served, limits included. The error says that the registerer has the metrics already.
func NewServer(handler http.Handler, limits Limits, logger *slog.Logger) (*Server, error) {
	if limits.Clock == nil {
		return nil, errors.New("its limits have no clock")
	}
	limits.complete()
	bound := &listener{
		most: limits.Connections, rest: limits.closing(), full: limits.fullText(),
		refusing: make(chan struct{}, refusingAtOnce),
	}
	m, err := newMetrics(limits.Registerer, bound.count)
	if err != nil {
		return nil, err
	}
	bound.metrics = m
	return &Server{limits: limits, metrics: m, bound: bound, Server: &http.Server{
		Handler:           &entrance{next: handler, limits: limits, metrics: m},
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          streamsAtOnce,
			MaxReceiveBufferPerConnection: receiveBuffer,
			MaxReceiveBufferPerStream:     receiveBuffer,
			WriteByteTimeout:              writeStall,
		},
		ConnState:   noted,
		ConnContext: withConnection,
		ErrorLog:    log.New(errorLog{logger}, "", 0),
		// "OPTIONS *" gets the handler's answer, with a request id, like everything else.
		DisableGeneralOptionsHandler: true,
	}}, nil
}

// Serve serves the connections of a listener of TCP, and over TLS if there is a certificate for that. Only TCP, because
// of CloseWrite.
func (s *Server) Serve(l net.Listener) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("serve on %s: it is no listener of TCP", l.Addr())
	}
	s.bound.TCPListener = tcp
	if s.TLSConfig == nil {
		return s.Server.Serve(s.bound)
	}
	s.bound.full = nil
	return s.ServeTLS(s.bound, "", "") // no files: TLSConfig has the certificate
}

// serve serves until the server is stopped. Any other end of it goes to failed.
func (s *server) serve(failed chan<- error) {
	if err := s.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		failed <- fmt.Errorf("serve %s: %w", s.name, err)
	}
}

// stop takes no more requests and waits for those that run, for at most timeout. The error says that some were cut off.
func (s *server) stop(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return errors.Join(
			fmt.Errorf("stop serving %s: requests still running after %s were cut off: %w", s.name, timeout, err),
			s.Close(),
		)
	}
	return nil
}
