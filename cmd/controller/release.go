// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/controller"
	"github.com/letmepost/letmepost-operator/internal/process"
)

// releaseOptions are the command line of `controller release`. It has few of the controller's flags: it mints nothing,
// and leads only for as long as it takes. Those that it has, it reads as the controller does.
type releaseOptions struct {
	kubeconfig string
	namespace  string
	namespaces []string // whose ApiKeys are let go; none: all
	timeout    time.Duration
}

const releaseUsage = "Takes the finalizer %s off every ApiKey, " +
	"so that each can be deleted when no controller runs any more.\n" +
	"Waits for the controllers and the API processes to end, " +
	"and holds the controllers' leader election Lease meanwhile.\n" +
	"Keys and Secrets stay. A controller that is started later puts the finalizer back.\n\n" +
	"Usage: controller release [flags]\n\n%s"

// parseRelease reads the flags of `controller release`; its errors are those of parse.
//
// --timeout is less than the deadline of the chart's job that runs it, which is less than the five minutes that Helm
// waits: whoever uninstalls reads what was being waited for, and not that a hook has timed out.
func parseRelease(args []string, getenv func(string) string, stdout io.Writer) (o releaseOptions, err error) {
	fs := pflag.NewFlagSet("controller release", pflag.ContinueOnError)
	// In the order of the controller's own help.
	fs.SortFlags = false
	fs.Usage = func() { fmt.Fprintf(stdout, releaseUsage, v1alpha1.FinalizerRevocation, fs.FlagUsages()) }
	addKubeconfigFlag(fs, &o.kubeconfig, getenv)
	fs.StringVar(&o.namespace, "namespace", "",
		"`namespace` of the release, where the Leases are; empty: the pod's own, or "+process.DefaultNamespace)
	namespaces := fs.String("watch-namespaces", "",
		"`namespaces` whose ApiKeys are let go, separated by commas; what the controller had; empty: all")
	fs.DurationVar(&o.timeout, "timeout", 4*time.Minute, "how long all of it may take")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if o.namespaces, err = process.ParseNamespaces(*namespaces); err != nil {
		return o, fmt.Errorf("%w: --watch-namespaces: %w", errUsage, err)
	}
	if o.namespace == "" { // as in parse: both have to find the same Leases
		o.namespace = process.Namespace()
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%w: unexpected argument %q", errUsage, fs.Arg(0))
	case o.timeout <= 0:
		return o, fmt.Errorf("%w: --timeout must be positive", errUsage)
	}
	return o, nil
}

// byHand is what is left to do for people if it has failed, in these namespaces, or all: keys of another release are
// none of its business. It takes the other finalizers off as well: kubectl has no patch for one of them whose place in
// the list is not the same everywhere. It skips every check that Release makes, which is why the error says when it may
// be used; that it is meant, the annotation says, without which the policy refuses.
func byHand(namespaces []string) string {
	const columns = `--no-headers -o custom-columns=:metadata.namespace,:metadata.name`
	list := `kubectl get apikeys.letmepost.dev --all-namespaces ` + columns
	if len(namespaces) > 0 {
		list = `for namespace in ` + strings.Join(namespaces, " ") +
			`; do kubectl get apikeys.letmepost.dev -n "$namespace" ` + columns + `; done`
	}
	return list + ` | while read -r namespace name; do kubectl patch apikeys.letmepost.dev "$name" -n "$namespace" ` +
		`--type=merge -p '{"metadata":{"finalizers":null,"annotations":{"` + v1alpha1.AnnotationUnconfirmed + `":"` +
		v1alpha1.Unconfirmed + `"}}}'; done`
}

// runRelease is `controller release`. What it does and waits for goes to stdout, for people who watch the job's log; of
// the libraries' logs only errors are shown, on stderr, because leader election would report every attempt.
func runRelease(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	o, err := parseRelease(args, getenv, stdout)
	if err != nil {
		return err
	}
	// No TuneCollector, no traces, no probes: it is a job of a few minutes. Both libraries log through globals, so they
	// are told before anything of them runs.
	logger := zap.New(zap.JSONEncoder(), zap.Level(zapcore.ErrorLevel), zap.WriteTo(stderr))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	cfg, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "releasing the ApiKeys of %s, the Leases are in %s\n", process.Watched(o.namespaces), o.namespace)
	// The cause is what the error says at the end: "context deadline exceeded" would not say which deadline.
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("--timeout: not done within %s", o.timeout))
	// A signal ends it as well, by the context that this one is made of.
	defer cancel()
	// What was done until then stays done if it fails, and a second call goes on from there.
	done, err := controller.Release(ctx, cfg, controller.ReleaseOptions{
		Namespace:       o.namespace,
		WatchNamespaces: o.namespaces,
		// Random, because an identity that an earlier try had would hold its Lease already.
		Identity: "release_" + process.Hostname() + "_" + rand.Text()[:10],
		Clock:    clock.RealClock{},
		Progress: stdout,
	})
	if err != nil {
		return fmt.Errorf("release the ApiKeys: %w\nWhen no API process runs any more, this does it by hand: %s",
			err, byHand(o.namespaces))
	}
	fmt.Fprintf(stdout, "done: took the finalizer %s off %d ApiKeys, of which %d were being deleted and are gone; "+
		"keys and Secrets stay. To undo it, install again: the controller puts it back.\n",
		v1alpha1.FinalizerRevocation, done.Keys, done.Gone)
	return nil
}
