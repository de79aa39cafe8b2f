// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/httpapi"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// options are the flags, checked.
type options struct {
	environment    key.Environment
	kubeconfig     string // "": see clusterConfig
	listenAddress  string
	metricsAddress string
	keyFormat      key.Format
	docsBaseURL    string
	accessLog      endpoint.AccessLog
	logLevel       slog.Level
	namespace      string
	leaseDuration  time.Duration
	drainDelay     time.Duration
	drainTimeout   time.Duration
	namespaces     []string // to watch; none: all
	tls            tlsFiles

	storage
	telemetry
}

// texts are the flags that are more than a text, as they were given.
type texts struct {
	environment, word, accessLog, logLevel, namespaces string
}

// Bounds of --lease-duration. A shorter one would not survive a slow answer of the apiserver.
const (
	minLease = 3 * time.Second
	maxLease = time.Minute
)

// usageError is a wrong call of the program.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message + " (see --help)" }

const usage = `Serves letmepost's HTTP API for one environment, live or test, to the keys of that environment. Keys are ApiKey
resources of a Kubernetes cluster; the process watches them, and is ready when it has them all.

Usage: api --environment live|test [flags]

`

// parse reads the flags. Asked for help or the version it writes that to stdout and returns pflag.ErrHelp; all other
// errors are usageErrors.
func parse(args []string, getenv func(string) string, stdout io.Writer) (options, error) {
	var o options
	var t texts
	flags := pflag.NewFlagSet("api", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.StringVar(
		&t.environment,
		"environment",
		"",
		"Environment to serve, live or test; keys of the other one are refused. Required.",
	)
	flags.StringVar(
		&o.kubeconfig,
		"kubeconfig",
		"",
		"Kubeconfig file of the cluster. Default: the files in $KUBECONFIG; without it, the cluster that the process runs in.",
	)
	flags.StringVar(&o.listenAddress, "listen-address", ":8080", "Address that the API listens on.")
	flags.StringVar(
		&o.metricsAddress,
		"metrics-bind-address",
		":9090",
		"Address that /metrics, /healthz and /readyz listen on.",
	)
	flags.StringVar(
		&t.word,
		"key-prefix",
		key.DefaultWord,
		"First part of every key: 1 to 16 letters and digits. It must be the controller's.",
	)
	flags.StringVar(
		&o.docsBaseURL,
		"docs-base-url",
		httpapi.DefaultDocsBaseURL,
		"Base URL of the error documentation, for docUrl in error responses.",
	)
	flags.StringVar(
		&t.accessLog,
		"access-log",
		string(endpoint.AccessLogErrors),
		"Requests to log: errors (those that fail, at most 100 a second), all, or none. Internal errors are logged always, and refusals in the audit log.",
	)
	flags.StringVar(&t.logLevel, "log-level", "info", "Least level to log: debug, info, warn or error.")
	flags.StringVar(
		&o.namespace,
		"namespace",
		"",
		"Namespace of the release, where this process has its Lease. Default: the pod's own; outside a pod, "+process.DefaultNamespace+".",
	)
	flags.DurationVar(
		&o.leaseDuration,
		"lease-duration",
		revocation.DefaultLeaseDuration,
		"How long a deletion waits for this process when it has crashed, in whole seconds from 3s to 60s. When it can't renew its Lease for two thirds of that, it answers 503 until it can.",
	)
	flags.DurationVar(
		&o.drainDelay,
		"drain-delay",
		0,
		"How long to go on taking requests after SIGTERM, with /readyz at 503. Behind a load balancer, make it longer than that takes to notice, such as 5s.",
	)
	flags.DurationVar(
		&o.drainTimeout,
		"drain-timeout",
		20*time.Second,
		"How long running requests may then take before they are cut off.",
	)
	flags.StringVar(
		&t.namespaces,
		"watch-namespaces",
		"",
		"Namespaces whose keys are served, separated by commas; the controller must have the same. Default: all.",
	)
	o.tls.addFlags(flags)
	o.storage.addFlags(flags)
	o.telemetry.addFlags(flags)
	showVersion := flags.Bool("version", false, "Print the version and end.")
	flags.Usage = func() { fmt.Fprint(stdout, usage+"Flags:\n"+flags.FlagUsagesWrapped(120)) }
	if err := flags.Parse(args); err != nil {
		if err == pflag.ErrHelp { //nolint:errorlint // pflag returns it bare.
			return o, err
		}
		return o, usageError{err.Error()}
	}
	if *showVersion {
		fmt.Fprint(stdout, process.VersionLine("api"))
		return o, pflag.ErrHelp
	}
	if flags.NArg() > 0 {
		return o, usageError{fmt.Sprintf("unexpected argument %q", flags.Arg(0))}
	}
	if err := o.check(t); err != nil {
		return o, err
	}
	if _, err := o.tracingOptions(nil); err != nil {
		return o, err
	}
	if err := o.tls.check(); err != nil {
		return o, err
	}
	return o, o.storage.check(o.environment, getenv)
}

// check takes in the flags that are more than a text or a duration. The error is a usageError.
func (o *options) check(t texts) (err error) {
	switch o.environment = key.Environment(t.environment); o.environment {
	case key.Live, key.Test:
	case "":
		return usageError{"--environment is required: live or test"}
	default:
		return usageError{fmt.Sprintf("--environment: want live or test, not %q", t.environment)}
	}
	if o.keyFormat, err = key.NewFormat(t.word); err != nil {
		return usageError{"--key-prefix: " + err.Error()}
	}
	if u, err := url.Parse(o.docsBaseURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return usageError{fmt.Sprintf("--docs-base-url: want an http or https URL, not %q", o.docsBaseURL)}
	}
	switch o.accessLog = endpoint.AccessLog(t.accessLog); o.accessLog {
	case endpoint.AccessLogErrors, endpoint.AccessLogAll, endpoint.AccessLogNone:
	default:
		return usageError{fmt.Sprintf("--access-log: want errors, all or none, not %q", t.accessLog)}
	}
	level, ok := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[strings.ToLower(t.logLevel)]
	if !ok {
		return usageError{fmt.Sprintf("--log-level: want debug, info, warn or error, not %q", t.logLevel)}
	}
	o.logLevel = level
	if o.namespace == "" {
		o.namespace = process.Namespace()
	}
	if o.namespaces, err = process.ParseNamespaces(t.namespaces); err != nil {
		return usageError{"--watch-namespaces: " + err.Error()}
	}
	return o.checkDurations()
}

func (o *options) checkDurations() error {
	if o.leaseDuration < minLease || o.leaseDuration > maxLease || o.leaseDuration%time.Second != 0 {
		return usageError{"--lease-duration: want whole seconds, from 3s to 60s"}
	}
	if o.drainDelay < 0 || o.drainTimeout <= 0 {
		return usageError{"--drain-delay must not be negative, and --drain-timeout must be positive"}
	}
	return nil
}
