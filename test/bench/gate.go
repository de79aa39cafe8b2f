// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/gate"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// checkPath is what a proxy asks.
const checkPath = "/check?scope=posts:read"

// benchGate measures what proxies ask beside bare handlers that give the same answer to everybody, over loopback.
func benchGate(ctx context.Context, r *report) error {
	for _, keys := range []int{10_000, 100_000} {
		g, plaintext, err := newGate(keys)
		if err != nil {
			return err
		}
		if err := benchForward(ctx, r, g, plaintext, keys); err != nil {
			return err
		}
		if keys == 100_000 {
			if err := benchEnvoy(ctx, r, g, plaintext); err != nil {
				return err
			}
			if err := benchNginx(ctx, r, g, plaintext); err != nil {
				return err
			}
		}
	}
	return nil
}

// newGate is a gate that knows keys, with the plaintext of one of them.
func newGate(keys int) (*gate.Gate, string, error) {
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		return nil, "", err
	}
	var plaintext string
	index, random := authn.NewIndex(), rand.NewChaCha8([32]byte{5})
	for i := range keys {
		if plaintext, err = format.Mint(random, key.Live); err != nil {
			return nil, "", err
		}
		index.PutKey(authntest.Resource(format, i, plaintext))
	}
	registry := prometheus.NewRegistry()
	limits, err := limit.NewCallers(
		limit.Options{Default: rate.Rate{Requests: 1_000_000, Window: time.Second}, Registerer: registry},
	)
	if err != nil {
		return nil, "", err
	}
	admitted, err := admission.New(admission.Options{
		Authenticator: authn.NewAuthenticator(authn.Options{
			Index: index, Format: format, Environment: key.Live, Clock: clock.RealClock{},
			Serving:       func(time.Time) bool { return true },
			CommitTimeout: time.Second,
		}),
		Limits: limits, Failures: limit.NewAddresses(rate.Rate{}),
	})
	if err != nil {
		return nil, "", err
	}
	g, err := gate.New(gate.Options{
		Admissions: map[key.Environment]*admission.Admission{key.Live: admitted},
		Clock:      clock.RealClock{}, Audit: slog.New(slog.DiscardHandler), Registerer: registry,
	})
	return g, plaintext, err
}

// benchForward is over HTTP, from sockets that are as lean as they can be.
func benchForward(ctx context.Context, r *report, g *gate.Gate, plaintext string, keys int) error {
	ours, err := serveOn(ctx, gate.NewForward(g))
	if err != nil {
		return err
	}
	defer ours.stop()
	header, err := answerOf(ctx, ours.address, plaintext)
	if err != nil {
		return err
	}
	bare, err := serveOn(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, values := range header {
			h[name] = values
		}
		w.WriteHeader(http.StatusOK)
	}))
	if err != nil {
		return err
	}
	defer bare.stop()
	var ratios, rates []float64
	for range rounds {
		without, err := bare.load(ctx, checkPath, plaintext, 2*time.Second)
		if err != nil {
			return err
		}
		with, err := ours.load(ctx, checkPath, plaintext, 2*time.Second)
		if err != nil {
			return err
		}
		ratios, rates = append(ratios, with/without), append(rates, with)
	}
	r.atLeast(fmt.Sprintf("gate: forward-auth checks/s / bare handler, %d,000 keys", keys/1000), median(ratios), 0.9, "x",
		fmt.Sprintf("%.0f checks/s, client on the same machine", median(rates)))
	return nil
}

// answerOf is the header of an answer that lets a request pass.
func answerOf(ctx context.Context, address, plaintext string) (http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+checkPath, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+plaintext)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the gate answers %s", response.Status)
	}
	response.Header.Del("Date")
	return response.Header, nil
}

// same gives everybody one answer.
type same struct {
	authv3.UnimplementedAuthorizationServer
	answer *authv3.CheckResponse
}

func (s same) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return s.answer, nil
}

// benchEnvoy is over gRPC.
func benchEnvoy(ctx context.Context, r *report, g *gate.Gate, plaintext string) error {
	question := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: map[string]string{"scopes": "posts:read"},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/any", Host: "service", Headers: map[string]string{
				"authorization": "Bearer " + plaintext, "user-agent": "bench", "accept": "*/*",
			},
		}},
	}}
	answer, err := gate.NewEnvoy(g).Check(ctx, question)
	if err != nil || answer.GetOkResponse() == nil {
		return fmt.Errorf("the gate answers %v: %w", answer, err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ours := gate.NewServer(g, gate.ServerOptions{
		Listener: listener, Connections: 1000, Ready: func() bool { return true },
	})
	go func() { _ = ours.Serve() }()
	defer ours.Stop(time.Second)
	beside, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	bare := grpc.NewServer()
	authv3.RegisterAuthorizationServer(bare, same{answer: answer})
	go func() { _ = bare.Serve(beside) }()
	defer bare.Stop()
	var ratios, rates []float64
	for range rounds {
		without, err := checks(ctx, beside.Addr().String(), question)
		if err != nil {
			return err
		}
		with, err := checks(ctx, listener.Addr().String(), question)
		if err != nil {
			return err
		}
		ratios, rates = append(ratios, with/without), append(rates, with)
	}
	r.atLeast("gate: ext_authz checks/s / bare grpc-go handler", median(ratios), 0.9, "x",
		fmt.Sprintf("%.0f checks/s, 100,000 keys, client on the same machine", median(rates)))
	return nil
}

// checks asks over two connections, as two workers of an Envoy do, and returns the answers in a second.
func checks(ctx context.Context, address string, question *authv3.CheckRequest) (float64, error) {
	const workers, streams, length = 2, 16, 2 * time.Second
	var answered atomic.Int64
	var failed atomic.Pointer[error]
	var running sync.WaitGroup
	began := time.Now()
	for range workers {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return 0, err
		}
		defer func() { _ = conn.Close() }()
		client := authv3.NewAuthorizationClient(conn)
		for range streams {
			running.Go(func() {
				for time.Since(began) < length {
					answer, err := client.Check(ctx, question)
					if err != nil || answer.GetStatus().GetCode() != 0 {
						err = fmt.Errorf("answered %v: %w", answer, err)
						failed.Store(&err)
						return
					}
					answered.Add(1)
				}
			})
		}
	}
	running.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(answered.Load()) / time.Since(began).Seconds(), nil
}
