// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Bounds of what one connection may hold. A question is a request's headers, which Envoy takes 60 KiB of by default;
// who has Envoy send bodies too is refused, and finds it in Envoy's log.
const (
	maxMessage     = 128 << 10
	maxStreams     = 1000
	maxHeaderList  = 16 << 10
	connectTimeout = 5 * time.Second
	// pingTimeout is after how long without an answer a peer counts as gone.
	pingEvery, pingTimeout = 30 * time.Second, 10 * time.Second
	// Connections are closed after that time, so that a replica that was added is found.
	maxAge, ageGrace = 10 * time.Minute, 30 * time.Second
)

// ServerOptions are what a Server is made of. All are required except where they say otherwise.
type ServerOptions struct {
	Listener net.Listener
	TLS      *tls.Config // optional: plain HTTP/2 without it
	// Connections is how many are open at once; further ones wait.
	Connections int
	// Ready tells whether questions are to be sent here.
	Ready func() bool
}

// Server is a gRPC server with Envoy's Authorization, and the health of it. Nothing else is said: no reflection. It
// is the serve.Sibling of what answers over HTTP, so that both drain together.
type Server struct {
	*grpc.Server
	listener net.Listener
}

// NewServer returns a Server that answers as a Gate does.
func NewServer(g *Gate, o ServerOptions) *Server {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(maxStreams), grpc.MaxHeaderListSize(maxHeaderList),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: pingEvery, Timeout: pingTimeout, MaxConnectionAge: maxAge, MaxConnectionAgeGrace: ageGrace,
		}),
		// gRPC's own policy takes one ping in five minutes, and none without a stream: it would cut off proxies that look
		// after their connections more closely.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		// Answers take microseconds: goroutines that stay are cheaper than a new one for each.
		grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0))),
	}
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s := &Server{Server: grpc.NewServer(options...), listener: netutil.LimitListener(o.Listener, o.Connections)}
	authv3.RegisterAuthorizationServer(s, NewEnvoy(g))
	healthv1.RegisterHealthServer(s, health{ready: o.Ready})
	return s
}

// Serve answers until Stop, which may have come before.
func (s *Server) Serve() error {
	if err := s.Server.Serve(s.listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Stop takes no more questions, and gives those that run their time. After the timeout they are cut off: GracefulStop
// by itself waits for as long as they take.
func (s *Server) Stop(timeout time.Duration) {
	late := time.AfterFunc(timeout, s.Server.Stop)
	defer late.Stop()
	s.GracefulStop()
}

// health is that of the whole server, and of Authorization, which are one. Envoy and kubelets call Check; Watch is
// not implemented.
type health struct {
	healthv1.UnimplementedHealthServer
	ready func() bool
}

// Check implements the gRPC health checking protocol. There, an unknown service is an error and no status.
func (h health) Check(_ context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if r.GetService() != "" && r.GetService() != authv3.Authorization_ServiceDesc.ServiceName {
		return nil, status.Error(codes.NotFound, "there is no such service")
	}
	said := healthv1.HealthCheckResponse_NOT_SERVING
	if h.ready() {
		said = healthv1.HealthCheckResponse_SERVING
	}
	return &healthv1.HealthCheckResponse{Status: said}, nil
}
