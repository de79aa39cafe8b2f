// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command crashing is the controller with one fault put into it: at a given point of its work it kills itself, as a
// crash of its machine would, or stops, as a machine that hangs, until somebody continues it (SIGCONT).
//
// It is wired as cmd/controller is, by controller.NewManager, and does nothing else that the controller does not do.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
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
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/controller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// patience is how long a call that was continued may take to end.
const patience = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "crashing:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	kubeconfig  string
	namespace   string
	metricsAddr string
	concurrency int
	fault       fault

	leaderElect          bool
	leaderElectNamespace string
	leaseDuration        time.Duration
	renewDeadline        time.Duration
	retryPeriod          time.Duration
}

func parse(args []string) (*options, error) {
	o := &options{}
	fs := pflag.NewFlagSet("crashing", pflag.ContinueOnError)
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "file with the cluster's address and credentials")
	fs.StringVar(&o.namespace, "namespace", "", "the only namespace to look at; empty: all")
	fs.StringVar(&o.metricsAddr, "metrics-bind-address", "0", "address of /metrics; 0 switches it off")
	fs.IntVar(&o.concurrency, "concurrency", 8, "number of ApiKeys reconciled at once")
	fs.StringVar(
		&o.fault.point,
		"point",
		"",
		"where the fault is: before-create, after-create, before-status or after-status; empty: nowhere",
	)
	fs.Int64Var(&o.fault.call, "call", 1, "which of the calls at that point it is, from 1 on")
	fs.StringVar(&o.fault.action, "action", actionKill, "what happens there: kill or stop")
	fs.BoolVar(&o.leaderElect, "leader-elect", false, "as the controller's")
	fs.StringVar(&o.leaderElectNamespace, "leader-election-namespace", "", "as the controller's")
	fs.DurationVar(&o.leaseDuration, "leader-elect-lease-duration", 15*time.Second, "as the controller's")
	fs.DurationVar(&o.renewDeadline, "leader-elect-renew-deadline", 10*time.Second, "as the controller's")
	fs.DurationVar(&o.retryPeriod, "leader-elect-retry-period", 2*time.Second, "as the controller's")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return o, o.fault.check()
}

func run(ctx context.Context) error {
	o, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	logger := zap.New(zap.JSONEncoder(), zap.Level(zapcore.DebugLevel), zap.WriteTo(os.Stderr))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	o.fault.logger = logger
	o.fault.listen()

	cfg, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		return err
	}
	opts := o.managerOptions()
	opts.Logger = logger
	mgr, err := controller.NewManager(cfg, opts, controller.Options{
		Format: format,
		BaseURLs: map[v1alpha1.Environment]string{
			v1alpha1.EnvironmentLive: "http://live.invalid",
			v1alpha1.EnvironmentTest: "http://test.invalid",
		},
		Random:                rand.Reader,
		Clock:                 clock.RealClock{},
		Concurrency:           o.concurrency,
		Namespace:             "letmepost-system",
		SecretRecheckInterval: 10 * time.Minute,
	})
	if err != nil {
		return err
	}
	err = mgr.Start(ctx)
	// A request that has left a machine arrives, whatever its sender learns meanwhile: the stale one is not called off.
	o.fault.awaitContinued()
	return err
}

func (o *options) managerOptions() manager.Options {
	return manager.Options{
		Metrics:                       server.Options{BindAddress: o.metricsAddr},
		HealthProbeBindAddress:        "0",
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              controller.Name,
		LeaderElectionNamespace:       o.leaderElectNamespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.leaseDuration,
		RenewDeadline:                 &o.renewDeadline,
		RetryPeriod:                   &o.retryPeriod,
		NewCache: func(cfg *rest.Config, opts cache.Options) (cache.Cache, error) {
			if o.namespace != "" {
				opts.DefaultNamespaces = map[string]cache.Config{o.namespace: {}}
			}
			return cache.New(cfg, opts)
		},
		NewClient: func(cfg *rest.Config, opts client.Options) (client.Client, error) {
			c, err := client.NewWithWatch(cfg, opts)
			if err != nil {
				return nil, err
			}
			return interceptor.NewClient(c, o.fault.funcs()), nil
		},
	}
}
