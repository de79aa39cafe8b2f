// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command api serves letmepost's HTTP API for one environment.
//
// It reads ApiKeys and Profiles from the apiserver, and writes nothing but a Lease of its own. It has no permission on
// Secrets, and test/arch sees to it that the code that handles them is not even linked.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/httpapi"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keyring"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/serve"
	"github.com/letmepost/letmepost-operator/internal/session"
)

func main() {
	// Ids are no secret: a system call for 16 of them will do. Here, and not in run, because it is for the whole program.
	uuid.EnableRandPool()
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal drains. The second one has its default effect, for whoever does not want to wait.
	context.AfterFunc(ctx, restore)
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr), os.Stderr))
}

// klogOnce: there is one klog for the whole program, which may be reading it already where run runs twice, as in tests.
var klogOnce sync.Once

// exitCode prints err in one line. 0: no error; 1: the process failed; 2: it was called wrongly, so that trying again
// is of no use.
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

// run is the process: it wires the parts together and returns when ctx has ended and all is drained. Clock, randomness
// and the environment are read in this package alone (test/arch); everything below is given them.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	// Before the flags, which `api vault` has other ones of.
	if len(args) > 0 && args[0] == "vault" {
		return runVault(ctx, args[1:], getenv, os.Stdin, stdout, stderr)
	}
	// Flags first: a wrong call must not leave a folder behind, or wait for a cluster.
	o, err := parse(args, getenv, stdout)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	logger, audit := process.NewLoggers(stderr, o.logLevel)
	// client-go says through klog what is wrong with a watch. Without this it would write lines that are no JSON.
	klogOnce.Do(func() { klog.SetSlogLogger(logger.With("component", "client-go")) })

	// Before anything large is held: the list of all keys is when the heap grows most.
	memory := process.LimitMemory(getenv)
	go process.TuneCollector(ctx, getenv)
	// Until the last request has been answered, and not only until the signal.
	watching, watched := context.WithCancel(context.WithoutCancel(ctx))
	defer watched()
	go memory.Watch(watching)
	// Files come before the cluster: what is wrong on this machine is told even while the cluster is away.
	certificate, err := o.tls.Load(logger)
	if err != nil {
		return err
	}
	keys, err := newKeyring(o, getenv("KUBECONFIG"), logger, audit)
	if err != nil {
		return err
	}
	registry := newRegistry(keys)
	// Before all whose work is traced.
	traces, err := o.startTraces(ctx, logger)
	if err != nil {
		return err
	}
	defer traces.Stop(ctx) // last, so that the spans of what ends in between are sent, too
	publishing, err := newPublishing(ctx, o, registry, traces.Tracer(), logger)
	if err != nil {
		return err
	}
	// Deferred calls run when all parts have ended: the database is needed until the last attempt is recorded.
	defer publishing.close()
	// Before the feed runs: a deletion that is seen while nobody can cancel what the key has queued would wait for ever.
	keys.OnWithdraw(publishing.withdraw)
	who, err := newCallers(o, getenv("KUBECONFIG"), keys, publishing, registry, logger)
	if err != nil {
		return err
	}
	// Shared: serve sets it when the process is told to stop, and the API's /readyz reads it.
	draining := new(atomic.Bool)
	// Everything that the API needs has been made by now, and none of it runs.
	config := o.apiConfig()
	config.Admission, config.Directory, config.Uses = who.admission, keys, who.uses
	config.Leaks = keys.Leaks
	// A replica is sent requests once it knows the keys and has its database. That says nothing of a single request.
	config.Ready = func() bool { return keys.Serving() && publishing.ready() }
	config.Draining = draining.Load
	config.Store, config.Library = publishing.store, publishing.library
	config.Logger, config.Audit = logger, audit
	config.Registerer, config.Tracer = registry, traces.Tracer()
	config.Writes, config.Posting, config.Connecting = publishing.changing(o, keys, logger)
	api, handler, err := newAnswering(o, config, who, keys.Leaks)
	if err != nil {
		return err
	}
	// Nothing above has begun to serve or to watch. From here on, serve has the order in which the parts live and end.
	return serve.Run(ctx, serve.Options{
		API:          o.docs.before(handler, o.publicURL, api.Beside),
		APIAddress:   o.listenAddress,
		Certificate:  certificate,
		Admin:        adminHandler(api, registry),
		AdminAddress: o.metricsAddress,
		// They run until the last request is answered: until then, each has to hear of revocations and to store its end.
		Background:   together(keys.Run, publishing.run, who.uses.Run, certificate.Run),
		Draining:     draining,
		DrainDelay:   o.drainDelay,
		DrainTimeout: o.drainTimeout,
		Limits:       o.limits(memory.Short, api.Busy(), registry),
		Logger:       logger,
		Listening:    listening(o, certificate != nil, logger),
	})
}

// limits is what the servers take on: overloaded tells that the process is short of memory, busy is the body of the
// answer to those who have to come back.
func (o options) limits(overloaded func() bool, busy []byte, registry prometheus.Registerer) serve.Limits {
	return serve.Limits{
		Connections: o.maxConnections, Clock: clock.RealClock{}, Overloaded: overloaded,
		// Somebody whose file is too large by as much again still learns that.
		Discard: max(serve.DefaultDiscard, 2*o.maxMediaSize),
		Busy:    busy, Registerer: registry,
	}
}

// apiConfig is what flags say of the API, and where it has time and randomness from. The parts that it stands on are
// still to be added.
func (o options) apiConfig() httpapi.Config {
	return httpapi.Config{
		TrustedProxies: o.trustedProxies,
		Environment:    o.environment,
		KeyFormat:      o.keys.Format,
		DocsBaseURL:    o.docs.base(o.publicURL),
		PublicURL:      o.publicURL,
		SessionToken:   o.sessionTokenOf(),
		BytesInFlight:  o.maxBytesInFlight,
		NewRequestID:   newRequestID,
		Random:         rand.Reader, // ids of media are no secret, but must not be guessed one from another
		Clock:          clock.RealClock{},
		AccessLog:      o.accessLog,
	}
}

// listening logs where this process listens, once it does: with port 0, nothing else says it.
func listening(o options, tls bool, logger *slog.Logger) func(api, admin net.Addr) {
	return func(api, admin net.Addr) {
		logger.Info("listening", "environment", o.environment, "api", api.String(), "metrics", admin.String(),
			"tls", tls, "watching", process.Watched(o.keys.Watched))
	}
}

// newAdmission says who may come in: keys that are known, while they may be relied on, each at its own rate. The
// limits are asked last, so that what is refused anyway uses up nobody's rate; see package admission for the order.
// Without sessions, nobody is let in by one.
func newAdmission(
	o options, keys *keyring.Keyring, p *publishing, sessions *session.Manager,
) (*admission.Admission, error) {
	of := admission.Options{
		Authenticator: keys.Authenticator(o.environment),
		Limits:        p.limits,
		Failures:      limit.NewAddresses(o.failureRate),
	}
	if sessions != nil {
		of.Sessions = sessions.Admitting()
	}
	return admission.New(of)
}

// together runs parts side by side, and returns when all have: the process must not end before each has said what it
// has to say, such as that its Lease is given up. None of them ends by itself before ctx does.
func together(parts ...func(context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		var running sync.WaitGroup
		for _, part := range parts {
			running.Go(func() { part(ctx) })
		}
		running.Wait()
	}
}

// newKeyring makes what this process knows of keys. The name of its Lease begins with the environment, because an
// admission policy holds its ServiceAccount to such Leases. Its end is random, because no process may ever have had the
// name: one that starts would otherwise take over what the one before it has confirmed.
func newKeyring(o options, kubeconfigEnv string, logger, audit *slog.Logger) (*keyring.Keyring, error) {
	return keyring.New(keyring.Options{
		Kubeconfig: o.keys.Kubeconfig, KubeconfigEnv: kubeconfigEnv, Namespace: o.keys.Namespace, Watched: o.keys.Watched,
		UserAgent: "letmepost-api",
		Lease:     fmt.Sprintf("letmepost-api-%s-%s", o.environment, strings.ToLower(rand.Text()[:10])),
		Holder:    process.Hostname(),
		// A deletion asks which replicas serve the key's environment: with none, its queued posts can't be canceled.
		Serves:        v1alpha1.Environment(o.environment),
		LeaseDuration: o.keys.LeaseDuration,
		Format:        o.keys.Format, Audited: []key.Environment{o.environment}, Most: o.keys.Most,
		Clock: clock.RealClock{}, Logger: logger, Audit: audit,
	})
}

// newRegistry has the metrics of the process itself. All others stand in the room of what they count, and
// docs/observability.md has a row for each. The registry is not Prometheus's global one, into which any
// linked package could put its own.
func newRegistry(keys *keyring.Keyring) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(keys.Collectors()...)
	return registry
}

// adminHandler serves metrics and, once more, the API's probes: a kubelet need not speak TLS for them, and reaches them
// after the API's listener is closed. /metrics asks for no key. Whoever reaches the port may read it, so a network
// policy says who does.
func adminHandler(api http.Handler, registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	// The registry also counts errors of the scrape itself.
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.Handle("/healthz", api)
	mux.Handle("/readyz", api)
	return mux
}
