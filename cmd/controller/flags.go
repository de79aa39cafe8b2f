// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// errUsage is what every error about the command line wraps: the process then ends with 2 rather than 1, as most
// programs do, and its user is pointed to --help.
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
	keyQuota      int // 0: any number
	secretRecheck time.Duration

	traces tracing.Flags
}

const usage = "Mints API keys from ApiKey resources of a Kubernetes cluster, once each, " +
	"and keeps only their hashes.\n\n" +
	"Usage: controller [flags]\n" +
	"       controller release [flags]   before it is gone for good: let ApiKeys be deleted without it\n\n"

// parse reads the flags. Asked for help or for the version it writes that to stdout and returns pflag.ErrHelp; all
// other errors are errUsage. It connects to nothing, so that a mistake is told even where no cluster can be reached.
func parse(args []string, getenv func(string) string, stdout io.Writer) (options, error) {
	var o options
	fs := pflag.NewFlagSet("controller", pflag.ContinueOnError)
	fs.SortFlags = false // they are explained in the order in which one needs them
	fs.Usage = func() { fmt.Fprint(stdout, usage, fs.FlagUsages()) }
	o.addProcessFlags(fs, getenv)
	o.addElectionFlags(fs)
	namespaces := o.addKeyFlags(fs)
	addTraceFlags(fs, &o.traces)
	keyQuota := fs.String("max-organization-keys", strconv.Itoa(lifecycle.DefaultKeyQuota),
		"`number` of keys of one namespace, those that have leaked among them, or none for any number; beyond it none is "+
			"minted. The API must have the same")
	showVersion := fs.Bool("version", false, "print the version and end")
	// pflag has printed the help by itself, through Usage.
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
	// By the same function as the API's, since the two must agree.
	if o.namespaces, err = process.ParseNamespaces(*namespaces); err != nil {
		return o, fmt.Errorf("%w: --watch-namespaces: %w", errUsage, err)
	}
	if err := o.traces.Check(); err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	// Only now, when the flags have been read: neither default can stand in the flag's own, because one is read from the
	// pod, and the other is another flag's value.
	if o.namespace == "" {
		// Where the API replicas have their Leases: the chart puts both programs into one namespace.
		o.namespace = process.Namespace()
	}
	// The Role that the chart grants is in the release's namespace, and nowhere else.
	if o.leaderElectNamespace == "" {
		o.leaderElectNamespace = o.namespace
	}
	quota, quotaErr := process.ParseQuota(*keyQuota)
	// ParseQuota takes 64 bits, and where an int has 32, a larger number would become another one.
	o.keyQuota = int(min(quota, math.MaxInt32))
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%w: unexpected argument %q", errUsage, fs.Arg(0))
	case quotaErr != nil:
		return o, fmt.Errorf("%w: --max-organization-keys: %w", errUsage, quotaErr)
	case o.concurrency < 1:
		return o, fmt.Errorf("%w: --concurrency must be at least 1", errUsage)
	case o.secretRecheck < time.Second:
		return o, fmt.Errorf("%w: --secret-recheck-interval must be at least 1s", errUsage)
	}
	return o, nil
}

// addProcessFlags adds what has nothing to do with keys: the cluster, the listeners, the log.
//
// Metrics and probes have a port each, so that a network policy can let Prometheus reach the one and nobody but the
// kubelet the other. Both are plain HTTP: nothing secret is on them.
func (o *options) addProcessFlags(fs *pflag.FlagSet, getenv func(string) string) {
	addKubeconfigFlag(fs, &o.kubeconfig, getenv)
	fs.StringVar(&o.metricsAddr, "metrics-bind-address", ":8080", "`address` of /metrics; 0 switches it off")
	fs.StringVar(&o.probeAddr, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz")
	fs.StringVar(&o.logLevel, "log-level", "info", "error, info or debug")
}

// addElectionFlags adds who may reconcile. Leader election is on by default: a rollout has two controllers for a while,
// and without it they would contend for every write.
//
// The durations are those that Kubernetes' own controllers use. The deadline is less than the Lease's duration, so that
// a leader has stopped before anybody can take over. Even if one has not, each key is minted once: what guards that is
// the creation of its Secret, not the Lease.
func (o *options) addElectionFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.leaderElect, "leader-elect", true,
		"reconcile only while holding the leader election Lease, so that replicas can stand by")
	fs.StringVar(&o.leaderElectNamespace, "leader-election-namespace", "",
		"`namespace` of that Lease; empty: that of --namespace")
	fs.DurationVar(&o.leaseDuration, "leader-elect-lease-duration", 15*time.Second,
		"how long a replica that stands by waits for a silent leader")
	fs.DurationVar(&o.renewDeadline, "leader-elect-renew-deadline", 10*time.Second,
		"how long a leader tries to renew before it gives up; less than the lease duration")
	fs.DurationVar(&o.retryPeriod, "leader-elect-retry-period", 2*time.Second,
		"time between attempts to get or renew the Lease")
}

// addKeyFlags adds what is minted, and where. It returns the value of --watch-namespaces, which is still to be parsed.
//
// The base URLs are those of letmepost itself; whoever runs an API of their own sets both, or the apps that are given
// its keys would send them elsewhere. A reconcile mostly waits for the apiserver: eight at once keep it busy without
// taking more than a fair share of it. A Secret that somebody deletes goes on being missing, and its key on working, so
// that to look every ten minutes is soon enough, and 100,000 keys are then 170 requests a second. Less than a second,
// which parse refuses, would be a loop.
func (o *options) addKeyFlags(fs *pflag.FlagSet) (namespaces *string) {
	fs.StringVar(&o.namespace, "namespace", "",
		"`namespace` of the release, where the API replicas have their Leases; empty: the pod's own, or "+
			process.DefaultNamespace)
	fs.StringVar(&o.keyPrefix, "key-prefix", key.DefaultWord,
		"`word` that every key begins with; the API must have the same")
	fs.StringVar(&o.liveBaseURL, "live-base-url", "https://api.letmepost.dev",
		"`URL` of the live API, minted into the Secrets of live keys as LMP_BASE_URL")
	fs.StringVar(&o.testBaseURL, "test-base-url", "https://api.test.letmepost.dev",
		"`URL` of the test API, minted into the Secrets of test keys as LMP_BASE_URL")
	fs.IntVar(&o.concurrency, "concurrency", 8, "number of ApiKeys reconciled at once")
	fs.DurationVar(&o.secretRecheck, "secret-recheck-interval", 10*time.Minute,
		"how often each minted Secret is looked for, to report it in SecretAvailable")
	return fs.String("watch-namespaces", "",
		"`namespaces` whose ApiKeys and Profiles are reconciled, separated by commas; the API must have the same; "+
			"empty: all")
}

// addKubeconfigFlag adds the flag that both commands have. $KUBECONFIG is taken as one file, as kubectl takes it when
// there is one; in a pod it is not set. Unlike the API, it takes no list of files.
func addKubeconfigFlag(fs *pflag.FlagSet, kubeconfig *string, getenv func(string) string) {
	fs.StringVar(kubeconfig, "kubeconfig", getenv("KUBECONFIG"),
		"`file` with the cluster's address and credentials; empty: those of the pod")
}
