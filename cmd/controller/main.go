// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command controller reconciles ApiKeys and Profiles. This file is wiring: only the programs below cmd choose the clock
// and randomness, and read the environment. Everything else is given them, and test/arch sees to it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/controller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/process"
)

// main ends with 0 on a signal or when help was asked for, 2 for a wrong command line and 1 for anything else.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends it in order; a second one, no longer caught, at once
	switch err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); {
	case err == nil, errors.Is(err, pflag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "controller:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "controller:", err)
		os.Exit(1)
	}
}

// run is the process but for its exit code: a test can call it, with arguments, an environment and outputs of its own.
// What may go wrong at once goes first: flags, then how to reach the cluster, and only then what runs until the end. It
// returns nil after a signal, and an error when the Lease is lost: the process is then started anew, and stands by.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	// Before the flags, which `controller release` has other ones of. One program for both, so that the chart's job runs
	// the image that the controller ran.
	if len(args) > 0 && args[0] == "release" {
		return runRelease(ctx, args[1:], getenv, stdout, stderr)
	}
	// Whatever can be wrong with the command line is found out first: a mistake in it must not look like a cluster that
	// can't be reached.
	o, err := parse(args, getenv, stdout)
	if err != nil {
		return err
	}
	// What is parsed here has its rules in other rooms; errUsage keeps the exit code the same.
	format, err := key.NewFormat(o.keyPrefix)
	if err != nil {
		return fmt.Errorf("%w: --key-prefix: %w", errUsage, err)
	}
	level, err := zapcore.ParseLevel(o.logLevel)
	if err != nil {
		return fmt.Errorf("%w: --log-level: %w", errUsage, err)
	}
	// Before anything of controller-runtime or client-go runs: both log through globals. What the one says before is lost,
	// and what the other says is no JSON. With JSON, as in the API's log, one collector reads both.
	logger := zap.New(zap.JSONEncoder(), zap.Level(level), zap.WriteTo(stderr))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)

	// Before the cache fills: the first list of all keys is when the heap grows most.
	process.LimitMemory(getenv) // the API refuses requests when it is short of memory; here nothing can be put off
	go process.TuneCollector(ctx, getenv)
	// Outside a pod and without a kubeconfig there is no cluster to wait for: to say so and end is all there is to do.
	cfg, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	// Before the manager, which is given the tracer. A collector that is away keeps nothing from starting.
	traces, err := o.startTraces(ctx, logger)
	if err != nil {
		return err
	}
	defer traces.Stop(ctx) // after the last reconcile, whose trace is still to be sent
	// Nothing runs yet: the manager elects, and fills its cache, once it is started.
	mgr, err := controller.NewManager(cfg, manager.Options{
		Logger:                  logger,
		Metrics:                 server.Options{BindAddress: o.metricsAddr},
		HealthProbeBindAddress:  o.probeAddr,
		LeaderElection:          o.leaderElect,
		LeaderElectionID:        controller.Name,
		LeaderElectionNamespace: o.leaderElectNamespace,
		// The next leader need not wait for the Lease to expire. It is safe because the process ends right after: nothing
		// runs on without the Lease.
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.leaseDuration,
		RenewDeadline:                 &o.renewDeadline,
		RetryPeriod:                   &o.retryPeriod,
	}, controller.Options{
		Format: format,
		BaseURLs: map[v1alpha1.Environment]string{
			v1alpha1.EnvironmentLive: o.liveBaseURL,
			v1alpha1.EnvironmentTest: o.testBaseURL,
		},
		// The one place where this process chooses its randomness and its clock: everything else is given them.
		Random:                rand.Reader,
		Clock:                 clock.RealClock{},
		Concurrency:           o.concurrency,
		KeyQuota:              o.keyQuota,
		Namespace:             o.namespace,
		WatchNamespaces:       o.namespaces,
		Registerer:            metrics.Registry, // which /metrics shows, with controller-runtime's own
		Audit:                 newAudit(stderr), // apart from logger, whose level may be error
		Tracer:                traces.Tracer(),
		SecretRecheckInterval: o.secretRecheck,
	})
	if err != nil {
		return err
	}
	// Before mgr starts: a manager that runs takes no more probes.
	logger.Info("Starting", "watching", process.Watched(o.namespaces), "namespace", o.namespace)
	if err := addProbes(mgr); err != nil {
		return err
	}
	// It reads the manager's cache, and so could not be made before the manager.
	if err := metrics.Registry.Register(controller.NewCollector(mgr.GetCache())); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return mgr.Start(ctx) // until ctx ends, or the Lease is lost: then the process ends, and is started anew
}

// addProbes makes a replica ready when its cache is, whether it leads or stands by. One that stands by can then take
// over at once; and if only the leader were ready, a rollout would wait for a leader that waits to be replaced.
//
// The process is healthy as long as it answers. It does not ask the apiserver: to be restarted would not bring that
// back, and would lose the cache. A probe may ask before the manager has started its cache, and is told the same.
func addProbes(mgr manager.Manager) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add health check: %w", err)
	}
	synced := func(req *http.Request) error {
		// WaitForCacheSync waits; the kubelet, whose probes take a second by default, would not.
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the cache is not in step with the apiserver yet")
		}
		return nil
	}
	if err := mgr.AddReadyzCheck("cache", synced); err != nil {
		return fmt.Errorf("add readiness check: %w", err)
	}
	return nil
}

// restConfig reads how to reach the cluster. It doesn't try to: the apiserver may be away when the process starts, and
// the manager goes on trying. An error is a file that is missing or broken, so to try again would change nothing.
func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no --kubeconfig, and not in a pod: %w", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return cfg, nil
}
