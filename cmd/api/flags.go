// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keyring"
	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/serve"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// options are the flags, checked. Nothing below this package reads a flag or a variable of the environment. Flags of a
// part that has a file of its own are in that file.
type options struct {
	environment    key.Environment
	listenAddress  string
	metricsAddress string
	docs           docsFlags
	accessLog      endpoint.AccessLog
	logLevel       slog.Level
	drainDelay     time.Duration
	drainTimeout   time.Duration
	maxConnections int
	keys           keyring.Flags
	tls            serve.CertificateFlags
	traces         tracing.Flags
	quotas         quotas
	platforms      platformFlags
	github         githubFlags
	dashboard      dashboardFlags
	oidc           oidcFlags

	storage
	vault vaultFlags
}

// texts are the flags that are more than a text, as they were given. They are apart from options so that what comes
// after check can't use one that was not looked at.
type texts struct {
	environment, accessLog, logLevel string
}

// Defaults of flags that belong to no other room.
const (
	// The two listeners have ports of their own, so that a network policy can let callers at the one and Prometheus at the
	// other. Both are above 1024: the process has no right to bind lower ones.
	defaultListenAddress  = ":8080"
	defaultMetricsAddress = ":9090"

	// defaultDrainDelay is none: only who put the load balancer there knows how long it takes to notice. The chart, which
	// puts a Service there, sets 5s.
	defaultDrainDelay = 0

	// defaultDrainTimeout is as long as one attempt to publish may take: a request that has just begun one gets its
	// answer.
	defaultDrainTimeout = 20 * time.Second
)

// usageError is a wrong call of the program. The process ends with 2 then, and with 1 for whatever else goes wrong.
// Kubernetes restarts both, but whoever reads the exit code of a crash loop knows where to look.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message + " (see --help)" }

const usage = "Serves letmepost's HTTP API for one environment, live or test, to the keys of that environment. " +
	"Keys are ApiKey\n" +
	"resources of a Kubernetes cluster; the process watches them, and is ready when it has them all.\n\n" +
	"Usage: api --environment live|test [flags]\n\n"

// helpColumns is the width to which --help wraps the usages of flags, whatever the terminal: it is the same everywhere,
// so that two versions can be compared.
const helpColumns = 120

// parse reads the flags. Asked for help or the version it writes that to stdout and returns pflag.ErrHelp; all other
// errors are usageErrors.
func parse(args []string, getenv func(string) string, stdout io.Writer) (options, error) {
	var o options
	var t texts
	flags := pflag.NewFlagSet("api", pflag.ContinueOnError)
	flags.SortFlags = false // help has them in the order below: what everybody needs comes first
	o.addFlags(flags, &t)
	o.keys.Add(flags)
	o.tls.Add(flags)
	o.storage.addFlags(flags)
	o.vault.addFlags(flags)
	o.quotas.addFlags(flags)
	o.platforms.addFlags(flags)
	o.github.addFlags(flags)
	o.dashboard.addFlags(flags)
	o.oidc.addFlags(flags)
	addTraceFlags(flags, &o.traces)
	showVersion := flags.Bool("version", false, "Print the version and end.")
	flags.Usage = func() { fmt.Fprint(stdout, usage+"Flags:\n"+flags.FlagUsagesWrapped(helpColumns)) }
	if err := flags.Parse(args); err != nil {
		if err == pflag.ErrHelp { //nolint:errorlint // pflag returns it bare.
			return o, err
		}
		return o, usageError{err.Error()}
	}
	if *showVersion { // before anything is checked: it needs no other flag
		fmt.Fprint(stdout, process.VersionLine("api"))
		return o, pflag.ErrHelp
	}
	if flags.NArg() > 0 {
		// Most often a flag whose dashes were forgotten: the process would start without what it says.
		return o, usageError{fmt.Sprintf("unexpected argument %q", flags.Arg(0))}
	}
	if err := o.check(t); err != nil {
		return o, err
	}
	// The parts that cmd/controller has too check themselves, and know nothing of usageError.
	if err := o.traces.Check(); err != nil {
		return o, usageError{err.Error()}
	}
	if err := o.tls.Check(); err != nil {
		return o, usageError{err.Error()}
	}
	if err := o.vault.check(); err != nil {
		return o, err
	}
	if err := o.quotas.check(); err != nil {
		return o, err
	}
	if err := o.platforms.check(getenv); err != nil {
		return o, err
	}
	// After the platforms' flags: GitHub's keys may be at an address that --outbound-allow names, which is parsed by then.
	err := cmp.Or(o.github.check(o.platforms.allowed), o.dashboard.check(), o.oidc.check(o.publicURL, o.dashboard.enabled))
	if err != nil {
		return o, err
	}
	return o, o.storage.check(o.environment, getenv) // last: it needs the environment, checked
}

// addFlags adds the flags that belong to no part with a file of its own. Those that check reads are put into t.
func (o *options) addFlags(flags *pflag.FlagSet, t *texts) {
	// There is no default: a process that served live keys by mistake would publish what was meant as a test.
	flags.StringVar(&t.environment, "environment", "",
		"Environment to serve, live or test; keys of the other one are refused. Required.")
	flags.StringVar(&o.listenAddress, "listen-address", defaultListenAddress, "Address that the API listens on.")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", defaultMetricsAddress,
		"Address that /metrics, /healthz and /readyz listen on.")
	o.docs.addFlags(flags)
	// Failures are what somebody asks about. A line for each success would be most of what the process does at full load.
	flags.StringVar(&t.accessLog, "access-log", string(endpoint.AccessLogErrors),
		"Requests to log: errors (those that fail, at most 100 a second), all, or none. "+
			"Internal errors are logged always, and refusals in the audit log.")
	flags.StringVar(&t.logLevel, "log-level", "info", "Least level to log: debug, info, warn or error.")
	flags.DurationVar(&o.drainDelay, "drain-delay", defaultDrainDelay,
		"How long to go on taking requests after SIGTERM, with /readyz at 503. "+
			"Behind a load balancer, make it longer than that takes to notice, such as 5s.")
	flags.DurationVar(&o.drainTimeout, "drain-timeout", defaultDrainTimeout,
		"How long running requests may then take before they are cut off.")
	// Each takes memory, whoever opened it. More need more of it, and file descriptors.
	flags.IntVar(&o.maxConnections, "max-connections", serve.DefaultConnections,
		"Connections, and requests, at once. Beyond it, idle connections are closed for new ones, "+
			"then those whose header does not come to its end; then new ones get 503.")
}

// check takes in the flags that are more than a text or a duration. The error is a usageError. Nothing is connected to:
// a wrong call is to fail at once, wherever it is made. The first mistake is told, and no list of them: one often
// follows from another.
func (o *options) check(t texts) error {
	switch o.environment = key.Environment(t.environment); o.environment {
	case key.Live, key.Test:
	case "":
		return usageError{"--environment is required: live or test"}
	default:
		return usageError{fmt.Sprintf("--environment: want live or test, not %q", t.environment)}
	}
	if err := o.keys.Check(); err != nil {
		return usageError{err.Error()}
	}
	if err := o.docs.check(); err != nil {
		return err
	}
	switch o.accessLog = endpoint.AccessLog(t.accessLog); o.accessLog {
	case endpoint.AccessLogErrors, endpoint.AccessLogAll, endpoint.AccessLogNone:
	default:
		return usageError{fmt.Sprintf("--access-log: want errors, all or none, not %q", t.accessLog)}
	}
	level, err := process.ParseLevel(t.logLevel)
	if err != nil {
		return usageError{"--log-level: " + err.Error()}
	}
	o.logLevel = level
	return o.checkNumbers()
}

// checkNumbers looks at flags that pflag has parsed. The error is a usageError. pflag only sees that they are numbers.
func (o *options) checkNumbers() error {
	// With fewer, a probe of a load balancer would push out callers.
	if o.maxConnections < 10 || o.maxConnections > 1_000_000 {
		return usageError{"--max-connections: want 10 to 1000000"}
	}
	// Without any time, requests that still run at a stop would be cut off at once, and the process would end with an
	// error.
	if o.drainDelay < 0 || o.drainTimeout <= 0 {
		return usageError{"--drain-delay must not be negative, and --drain-timeout must be positive"}
	}
	return nil
}
