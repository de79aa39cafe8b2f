// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command controller reconciles ApiKeys and Profiles. This file is wiring: it and cmd/api are the only places that read
// the clock, randomness and the environment.
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
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends it in order, a second one at once
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

var errUsage = errors.New("wrong usage, see --help")

// options are the command line.
type options struct {
	kubeconfig  string
	metricsAddr string
	probeAddr   string
	logLevel    string

	leaderElect          bool
	leaderElectNamespace string
	leaseDuration        time.Duration
	renewDeadline        time.Duration
	retryPeriod          time.Duration

	namespace     string
	namespaces    []string // to watch; none: all
	keyPrefix     string
	liveBaseURL   string
	testBaseURL   string
	concurrency   int
	secretRecheck time.Duration

	traces tracing.Flags
}

func parse(args []string, getenv func(string) string, stdout io.Writer) (options, error) {
	var o options
	fs := pflag.NewFlagSet("controller", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {
		fmt.Fprintf(
			stdout,
			"Mints API keys from ApiKey resources of a Kubernetes cluster, once each, and keeps only their hashes.\n\n"+
				"Usage: controller [flags]\n       controller release [flags]   before it is gone for good: let ApiKeys be deleted without it\n\n%s",
			fs.FlagUsages(),
		)
	}
	fs.StringVar(
		&o.kubeconfig,
		"kubeconfig",
		getenv("KUBECONFIG"),
		"`file` with the cluster's address and credentials; empty: those of the pod",
	)
	fs.StringVar(&o.metricsAddr, "metrics-bind-address", ":8080", "`address` of /metrics; 0 switches it off")
	fs.StringVar(&o.probeAddr, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz")
	fs.StringVar(&o.logLevel, "log-level", "info", "error, info or debug")
	fs.BoolVar(
		&o.leaderElect,
		"leader-elect",
		true,
		"reconcile only while holding the leader election Lease, so that replicas can stand by",
	)
	fs.StringVar(
		&o.leaderElectNamespace,
		"leader-election-namespace",
		"",
		"`namespace` of that Lease; empty: that of --namespace",
	)
	fs.DurationVar(
		&o.leaseDuration,
		"leader-elect-lease-duration",
		15*time.Second,
		"how long a replica that stands by waits for a silent leader",
	)
	fs.DurationVar(
		&o.renewDeadline,
		"leader-elect-renew-deadline",
		10*time.Second,
		"how long a leader tries to renew before it gives up; less than the lease duration",
	)
	fs.DurationVar(
		&o.retryPeriod,
		"leader-elect-retry-period",
		2*time.Second,
		"time between attempts to get or renew the Lease",
	)
	fs.StringVar(
		&o.namespace,
		"namespace",
		"",
		"`namespace` of the release, where the API replicas have their Leases; empty: the pod's own, or "+process.DefaultNamespace,
	)
	fs.StringVar(
		&o.keyPrefix,
		"key-prefix",
		key.DefaultWord,
		"`word` that every key begins with; the API must have the same",
	)
	fs.StringVar(
		&o.liveBaseURL,
		"live-base-url",
		"https://api.letmepost.dev",
		"`URL` of the live API, minted into the Secrets of live keys as LMP_BASE_URL",
	)
	fs.StringVar(
		&o.testBaseURL,
		"test-base-url",
		"https://api.test.letmepost.dev",
		"`URL` of the test API, minted into the Secrets of test keys as LMP_BASE_URL",
	)
	fs.IntVar(&o.concurrency, "concurrency", 8, "number of ApiKeys reconciled at once")
	fs.DurationVar(
		&o.secretRecheck,
		"secret-recheck-interval",
		10*time.Minute,
		"how often each minted Secret is looked for, to report it in SecretAvailable",
	)
	namespaces := fs.String(
		"watch-namespaces",
		"",
		"`namespaces` whose ApiKeys and Profiles are reconciled, separated by commas; the API must have the same; empty: all",
	)
	addTraceFlags(fs, &o.traces)
	showVersion := fs.Bool("version", false, "print the version and end")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if *showVersion {
		fmt.Fprint(stdout, process.VersionLine("controller"))
		return o, pflag.ErrHelp // what was asked for is printed
	}
	var err error
	if o.namespaces, err = process.ParseNamespaces(*namespaces); err != nil {
		return o, fmt.Errorf("%w: --watch-namespaces: %w", errUsage, err)
	}
	if err := o.traces.Check(); err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if o.namespace == "" {
		o.namespace = process.Namespace()
	}
	if o.leaderElectNamespace == "" {
		o.leaderElectNamespace = o.namespace
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%w: unexpected argument %q", errUsage, fs.Arg(0))
	case o.concurrency < 1:
		return o, fmt.Errorf("%w: --concurrency must be at least 1", errUsage)
	case o.secretRecheck < time.Second:
		return o, fmt.Errorf("%w: --secret-recheck-interval must be at least 1s", errUsage)
	}
	return o, nil
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "release" {
		return runRelease(ctx, args[1:], getenv, stdout, stderr)
	}
	o, err := parse(args, getenv, stdout)
	if err != nil {
		return err
	}
	format, err := key.NewFormat(o.keyPrefix)
	if err != nil {
		return fmt.Errorf("%w: --key-prefix: %w", errUsage, err)
	}
	level, err := zapcore.ParseLevel(o.logLevel)
	if err != nil {
		return fmt.Errorf("%w: --log-level: %w", errUsage, err)
	}
	logger := zap.New(zap.JSONEncoder(), zap.Level(level), zap.WriteTo(stderr))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)

	go process.TuneCollector(ctx, getenv)
	cfg, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	traces, err := o.startTraces(ctx, logger)
	if err != nil {
		return err
	}
	defer traces.Stop(ctx)
	mgr, err := controller.NewManager(cfg, manager.Options{
		Logger:                        logger,
		Metrics:                       server.Options{BindAddress: o.metricsAddr},
		HealthProbeBindAddress:        o.probeAddr,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              controller.Name,
		LeaderElectionNamespace:       o.leaderElectNamespace,
		LeaderElectionReleaseOnCancel: true, // the process ends right after: nothing runs on without the Lease
		LeaseDuration:                 &o.leaseDuration,
		RenewDeadline:                 &o.renewDeadline,
		RetryPeriod:                   &o.retryPeriod,
	}, controller.Options{
		Format: format,
		BaseURLs: map[v1alpha1.Environment]string{
			v1alpha1.EnvironmentLive: o.liveBaseURL,
			v1alpha1.EnvironmentTest: o.testBaseURL,
		},
		Random:                rand.Reader,
		Clock:                 clock.RealClock{},
		Concurrency:           o.concurrency,
		Namespace:             o.namespace,
		WatchNamespaces:       o.namespaces,
		Registerer:            metrics.Registry,
		Audit:                 newAudit(stderr),
		Tracer:                traces.Tracer(),
		SecretRecheckInterval: o.secretRecheck,
	})
	if err != nil {
		return err
	}
	logger.Info("Starting", "watching", process.Watched(o.namespaces), "namespace", o.namespace)
	if err := addProbes(mgr); err != nil {
		return err
	}
	if err := metrics.Registry.Register(controller.NewCollector(mgr.GetCache())); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return mgr.Start(ctx)
}

// addProbes makes a replica ready when its cache is, whether it leads or stands by.
func addProbes(mgr manager.Manager) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add health check: %w", err)
	}
	synced := func(req *http.Request) error {
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
