// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keyring"
	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/serve"
)

// options are the flags, checked. Those that the API has as well (keys, tls) are defined in the room that they are for,
// so that both programs have the same names, defaults and errors. The zero keyRate is unlimited.
type options struct {
	environments   []key.Environment
	listenAddress  string
	grpcAddress    string
	metricsAddress string
	logLevel       slog.Level
	drainDelay     time.Duration
	drainTimeout   time.Duration
	maxConnections int
	introspection  bool
	keyRate        rate.Rate
	redisURL       string
	keys           keyring.Flags
	tls            serve.CertificateFlags
}

// usageError is a wrong call of the program: it ends with 2, so that whoever restarts it can tell that it is of no use.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message + " (see --help)" }

const usage = "Tells proxies who may pass, by the keys of ApiKey resources: Envoy, nginx, Caddy, Traefik, HAProxy.\n" +
	"See docs/guard.md for what to configure there.\n\n" +
	"Usage: gate [flags]\n\n"

// helpColumns is the width to which --help wraps the usages of flags, whatever the terminal.
const helpColumns = 120

// parse reads the flags. Asked for help or the version it writes that to stdout and returns pflag.ErrHelp; all other
// errors are usageErrors.
func parse(args []string, getenv func(string) string, stdout io.Writer) (o options, err error) {
	var environment, logLevel, keyRate string
	flags := pflag.NewFlagSet("gate", pflag.ContinueOnError)
	flags.SortFlags = false
	// Unlike the API's, it has a default: a test key passes only where both this and the question say so.
	flags.StringVar(&environment, "environment", "live", "Environments whose keys may pass: live, test or both.")
	flags.StringVar(&o.listenAddress, "listen-address", ":8080",
		"Address that proxies ask at over HTTP, at /check.")
	flags.StringVar(&o.grpcAddress, "grpc-listen-address", ":9000",
		"Address that Envoy asks at over gRPC (ext_authz, version 3).")
	// Off by default: it takes permissions at the apiserver that a gate has no other use for.
	flags.BoolVar(&o.introspection, "introspection", false,
		"Answer POST /introspect (RFC 7662): services that show a ServiceAccount's token for the audience letmepost, and "+
			"may create introspections.letmepost.dev, learn what a key is. "+
			"Needs create on tokenreviews and subjectaccessreviews.")
	// A port of its own: whoever reaches it may read the metrics, and proxies need not.
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":9090",
		"Address that /metrics, /healthz and /readyz listen on.")
	flags.StringVar(&logLevel, "log-level", "info", "Least level to log: debug, info, warn or error.")
	o.keys.Add(flags)
	o.tls.Add(flags)
	flags.StringVar(&keyRate, "default-rate-limit", rate.DefaultText,
		"Rate of keys that have none of their own and whose Profile has none: REQUESTS/WINDOW, or none.")
	flags.StringVar(&o.redisURL, "redis-url", "",
		"Redis or Valkey, which makes rate limits exact across replicas. Default: $LMP_REDIS_URL; without it, each replica "+
			"limits by itself.")
	// None, as only who put a load balancer there knows how long it takes to notice. The chart sets 5s.
	flags.DurationVar(&o.drainDelay, "drain-delay", 0,
		"How long to go on answering after SIGTERM, with /readyz at 503.")
	// Less than the API's, which waits for platforms.
	flags.DurationVar(&o.drainTimeout, "drain-timeout", 5*time.Second,
		"How long running requests may then take before they are cut off.")
	// Of HTTP, and as many again of gRPC.
	flags.IntVar(&o.maxConnections, "max-connections", serve.DefaultConnections, "Connections, and requests, at once.")
	showVersion := flags.Bool("version", false, "Print the version and end.")
	flags.Usage = func() { fmt.Fprint(stdout, usage+"Flags:\n"+flags.FlagUsagesWrapped(helpColumns)) }
	if err := flags.Parse(args); err != nil {
		if err == pflag.ErrHelp { //nolint:errorlint // pflag returns it bare.
			return o, err
		}
		return o, usageError{err.Error()}
	}
	// Before anything is checked: it needs no other flag.
	if *showVersion {
		fmt.Fprint(stdout, process.VersionLine("gate"))
		return o, pflag.ErrHelp
	}
	if flags.NArg() > 0 {
		return o, usageError{fmt.Sprintf("unexpected argument %q", flags.Arg(0))}
	}
	switch environment {
	case string(key.Live), string(key.Test):
		o.environments = []key.Environment{key.Environment(environment)}
	case "both":
		o.environments = []key.Environment{key.Live, key.Test}
	default:
		return o, usageError{fmt.Sprintf("--environment: want live, test or both, not %q", environment)}
	}
	// From the environment, too: it may hold a password, and arguments stand in the list of processes.
	if o.redisURL == "" {
		o.redisURL = getenv("LMP_REDIS_URL")
	}
	return o, o.check(logLevel, keyRate)
}

// check takes in the flags that are more than a text. The error is a usageError.
func (o *options) check(logLevel, keyRate string) (err error) {
	if o.logLevel, err = process.ParseLevel(logLevel); err != nil {
		return usageError{"--log-level: " + err.Error()}
	}
	// The rooms of these flags know nothing of usageError.
	if err := o.keys.Check(); err != nil {
		return usageError{err.Error()}
	}
	if err := o.tls.Check(); err != nil {
		return usageError{err.Error()}
	}
	if o.keyRate, err = rate.Parse(keyRate); err != nil {
		return usageError{"--default-rate-limit: " + err.Error()}
	}
	// The API's bounds: with fewer, a probe of a load balancer would push out a proxy.
	if o.maxConnections < 10 || o.maxConnections > 1_000_000 {
		return usageError{"--max-connections: want 10 to 1000000"}
	}
	// Without any time, questions that still run at a stop would be cut off at once, and the process would end with an
	// error.
	if o.drainDelay < 0 || o.drainTimeout <= 0 {
		return usageError{"--drain-delay must not be negative, and --drain-timeout must be positive"}
	}
	return nil
}
