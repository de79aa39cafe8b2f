// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/httpapi"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/media"
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
	accessLog      httpapi.AccessLog
	logLevel       slog.Level
	namespace      string
	leaseDuration  time.Duration
	drainDelay     time.Duration
	drainTimeout   time.Duration

	databaseURL    string
	mediaURL       string
	maxMediaSize   int64 // bytes
	redisURL       string
	publicURL      string
	keyRate        authn.Rate
	failureRate    authn.Rate
	trustedProxies []netip.Prefix
}

// texts are the flags that are more than a text, as they were given.
type texts struct {
	environment, word, accessLog, logLevel string

	dataDir, maxMediaSize, keyRate, failureRate string
	trustedProxies                              []string
}

// Defaults of flags.
const (
	defaultDataDir = "/var/lib/letmepost"
	defaultRate    = "6000/1m"
)

// Bounds of --lease-duration. A shorter one would not survive a slow answer of the apiserver.
const (
	minLease = 3 * time.Second
	maxLease = time.Minute
)

// defaultNamespace is that of the release, for a process outside a pod.
const defaultNamespace = "letmepost-system"

// podNamespace is the namespace of the pod that this process runs in.
func podNamespace() string {
	if name, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil && len(name) > 0 {
		return string(name)
	}
	return defaultNamespace
}

// usageError is a wrong call of the program.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message + " (see --help)" }

const usage = `Serves letmepost's HTTP API for one environment, live or test, to the keys of that environment. Keys are ApiKey
resources of a Kubernetes cluster; the process watches them, and is ready when it has them all.

Usage: api --environment live|test [flags]

`

// parse reads the flags. Asked for help it writes that to stdout and returns pflag.ErrHelp; all other errors are
// usageErrors.
func parse(args []string, getenv func(string) string, stdout io.Writer) (options, error) {
	var o options
	var t texts
	flags := pflag.NewFlagSet("api", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.StringVar(&t.environment, "environment", "", "Environment to serve, live or test; keys of the other one are refused. Required.")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "Kubeconfig file of the cluster. Default: the files in $KUBECONFIG; without it, the cluster that the process runs in.")
	flags.StringVar(&o.listenAddress, "listen-address", ":8080", "Address that the API listens on.")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":9090", "Address that /metrics, /healthz and /readyz listen on.")
	flags.StringVar(&t.word, "key-prefix", key.DefaultWord, "First part of every key: 1 to 16 letters and digits. It must be the controller's.")
	flags.StringVar(&o.docsBaseURL, "docs-base-url", httpapi.DefaultDocsBaseURL, "Base URL of the error documentation, for docUrl in error responses.")
	flags.StringVar(&t.accessLog, "access-log", string(httpapi.AccessLogErrors), "Requests to log: errors (those that fail, at most 100 a second), all, or none. Internal errors are logged always.")
	flags.StringVar(&t.logLevel, "log-level", "info", "Least level to log: debug, info, warn or error.")
	flags.StringVar(&o.namespace, "namespace", "", "Namespace of the release, where this process has its Lease. Default: the pod's own; outside a pod, "+defaultNamespace+".")
	flags.DurationVar(&o.leaseDuration, "lease-duration", revocation.DefaultLeaseDuration, "How long a deletion waits for this process when it has crashed, in whole seconds from 3s to 60s. When it can't renew its Lease for two thirds of that, it answers 503 until it can.")
	flags.DurationVar(&o.drainDelay, "drain-delay", 0, "How long to go on taking requests after SIGTERM, with /readyz at 503. Behind a load balancer, make it longer than that takes to notice, such as 5s.")
	flags.DurationVar(&o.drainTimeout, "drain-timeout", 20*time.Second, "How long running requests may then take before they are cut off.")
	storageFlags(flags, &o, &t)
	flags.Usage = func() { fmt.Fprint(stdout, usage+"Flags:\n"+flags.FlagUsagesWrapped(120)) }
	if err := flags.Parse(args); err != nil {
		if err == pflag.ErrHelp { //nolint:errorlint // pflag returns it bare.
			return o, err
		}
		return o, usageError{err.Error()}
	}
	if flags.NArg() > 0 {
		return o, usageError{fmt.Sprintf("unexpected argument %q", flags.Arg(0))}
	}
	if err := o.check(t); err != nil {
		return o, err
	}
	return o, o.checkStorage(t, getenv)
}

// storageFlags are those of what the publishing API stands on.
func storageFlags(flags *pflag.FlagSet, o *options, t *texts) {
	flags.StringVar(&t.dataDir, "data-dir", defaultDataDir, "Folder of the database and the media, unless --database-url and --media-url say otherwise. It is made if it is missing.")
	flags.StringVar(&o.databaseURL, "database-url", "", "Database: sqlite:FILE, for replicas on one machine, or postgres://…. Default: $LMP_DATABASE_URL, which does not show in the list of processes; without it, a SQLite file in --data-dir.")
	flags.StringVar(&o.mediaURL, "media-url", "", "Where media are: a folder that all replicas share (file:///…) or a bucket (s3://NAME?region=…&endpoint=…). Default: a folder in --data-dir.")
	flags.StringVar(&t.maxMediaSize, "max-media-size", "200Mi", "Size above which a media file is refused.")
	flags.StringVar(&o.redisURL, "redis-url", "", "Redis or Valkey, redis://… or rediss://…, that makes the rate limits of keys exact across replicas. Default: $LMP_REDIS_URL; without it, each replica limits by itself.")
	flags.StringVar(&t.keyRate, "default-rate-limit", defaultRate, "Rate of keys that have none of their own and whose Profile has none: REQUESTS/WINDOW, or none.")
	flags.StringVar(&t.failureRate, "failed-auth-limit", defaultRate, "Rate at which one client address may send requests without a valid key until it gets 429: REQUESTS/WINDOW, or none.")
	flags.StringSliceVar(&t.trustedProxies, "trusted-proxies", nil, "Networks (CIDR) of proxies whose X-Forwarded-For is believed. Without any, the client is the peer of the connection.")
	flags.StringVar(&o.publicURL, "public-url", "", "Where callers reach this API, for URLs in its answers. Default: http:// and the host that they ask for.")
}

// checkStorage takes in the flags of storageFlags. The error is a usageError.
func (o *options) checkStorage(t texts, getenv func(string) string) (err error) {
	if o.databaseURL == "" {
		o.databaseURL = getenv("LMP_DATABASE_URL")
	}
	if o.redisURL == "" {
		o.redisURL = getenv("LMP_REDIS_URL")
	}
	dir, err := filepath.Abs(t.dataDir)
	if err != nil || t.dataDir == "" {
		return usageError{fmt.Sprintf("--data-dir: want a folder, not %q", t.dataDir)}
	}
	if o.databaseURL == "" {
		o.databaseURL = "sqlite:" + filepath.Join(dir, string(o.environment)+".db")
	}
	if o.mediaURL == "" {
		o.mediaURL = (&url.URL{Scheme: "file", Path: filepath.Join(dir, "media-"+string(o.environment))}).String()
	}
	size, err := resource.ParseQuantity(t.maxMediaSize)
	if o.maxMediaSize = size.Value(); err != nil || o.maxMediaSize < 1 || o.maxMediaSize > 10*media.MaxSize {
		return usageError{fmt.Sprintf("--max-media-size: want bytes, such as 200Mi, up to 2000Mi, not %q", t.maxMediaSize)}
	}
	if o.keyRate, err = parseRate(t.keyRate); err != nil {
		return usageError{"--default-rate-limit: " + err.Error()}
	}
	if o.failureRate, err = parseRate(t.failureRate); err != nil {
		return usageError{"--failed-auth-limit: " + err.Error()}
	}
	for _, text := range t.trustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return usageError{fmt.Sprintf("--trusted-proxies: want networks such as 10.0.0.0/8, not %q", text)}
		}
		o.trustedProxies = append(o.trustedProxies, prefix)
	}
	if u, err := url.Parse(o.publicURL); o.publicURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return usageError{fmt.Sprintf("--public-url: want an http or https URL, not %q", o.publicURL)}
	}
	return nil
}

// Bounds of rates, those of spec.rateLimit.
const (
	maxRequests = 1_000_000
	minWindow   = time.Second
	maxWindow   = 24 * time.Hour
)

// parseRate reads "REQUESTS/WINDOW", or "none".
func parseRate(text string) (authn.Rate, error) {
	if text == "none" {
		return authn.Rate{}, nil
	}
	requests, window, _ := strings.Cut(text, "/")
	n, err := strconv.ParseInt(requests, 10, 64)
	d, windowErr := time.ParseDuration(window)
	if err != nil || windowErr != nil || n < 1 || n > maxRequests || d < minWindow || d > maxWindow {
		return authn.Rate{}, fmt.Errorf("want REQUESTS/WINDOW, such as 6000/1m, with 1 to 1000000 requests and a window of 1s to 24h, or none; not %q", text)
	}
	return authn.Rate{Requests: n, Window: d}, nil
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
	switch o.accessLog = httpapi.AccessLog(t.accessLog); o.accessLog {
	case httpapi.AccessLogErrors, httpapi.AccessLogAll, httpapi.AccessLogNone:
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
		o.namespace = podNamespace()
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
