// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command api serves letmepost's HTTP API for one environment.
//
// It reads ApiKeys and Profiles from the apiserver and needs no other permission: it has none on Secrets, and writes
// nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/httpapi"
	"github.com/letmepost/letmepost-operator/internal/serve"
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal drains; the second one has its default effect.
	context.AfterFunc(ctx, restore)
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr), os.Stderr))
}

// exitCode reports err in one line. 0: no error; 1: the process failed; 2: it was called wrongly.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "api:", err)
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// run is the process: it wires the parts together and returns when ctx has ended and all is drained.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	o, err := parse(args, stdout)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	uuid.EnableRandPool() // request ids are no secret: a system call for 16 of them will do
	logger := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.logLevel}))
	klog.SetSlogLogger(logger.With("component", "client-go"))

	config, err := clusterConfig(o.kubeconfig, getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := resourceClient(config)
	if err != nil {
		return err
	}
	index := authn.NewIndex()
	feed := authn.NewFeed(index, client)
	registry := newRegistry(index)
	draining := new(atomic.Bool)
	api, err := httpapi.New(httpapi.Config{
		Authenticator: authn.NewAuthenticator(index, o.keyFormat, o.environment, clock.RealClock{}),
		Directory:     index,
		Ready:         feed.Synced,
		Draining:      draining.Load,
		Environment:   o.environment,
		KeyFormat:     o.keyFormat,
		DocsBaseURL:   o.docsBaseURL,
		NewRequestID:  uuid.NewString,
		Clock:         clock.RealClock{},
		Logger:        logger,
		AccessLog:     o.accessLog,
		Registerer:    registry,
	})
	if err != nil {
		return err
	}
	return serve.Run(ctx, serve.Options{
		API:          api,
		APIAddress:   o.listenAddress,
		Admin:        adminHandler(api, registry),
		AdminAddress: o.metricsAddress,
		Background: func(ctx context.Context) {
			go reportSync(ctx, feed.Synced, index.Size, config.Host, logger)
			feed.Run(ctx)
		},
		Draining:     draining,
		DrainDelay:   o.drainDelay,
		DrainTimeout: o.drainTimeout,
		Logger:       logger,
		Listening: func(api, admin net.Addr) {
			logger.Info("listening", "environment", o.environment, "api", api.String(), "metrics", admin.String())
		},
	})
}

func newRegistry(index *authn.Index) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lmp_index_keys",
			Help: "Keys that this process knows, of all environments, served or not.",
		}, func() float64 { return float64(index.Size()) }),
	)
	return registry
}

// adminHandler serves metrics and, once more, the API's probes.
func adminHandler(api http.Handler, registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.Handle("/healthz", api)
	mux.Handle("/readyz", api)
	return mux
}
