// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command gate tells proxies who may pass: it lets the keys of ApiKey resources guard any service, and publishes
// nothing.
//
// It reads ApiKeys and Profiles from the apiserver, and writes nothing but a Lease of its own. Deletions of keys wait
// for it as they do for the API: when one returns, no gate lets the key pass. It may serve both environments, since
// it stores nothing that would have to be kept apart.
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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/gate"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keyring"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/serve"
	"github.com/letmepost/letmepost-operator/internal/tokenreview"
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal drains. The second one has its default effect, for whoever does not want to wait.
	context.AfterFunc(ctx, restore)
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr), os.Stderr))
}

// exitCode prints err in one line. 0: no error; 1: the process failed; 2: it was called wrongly.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "gate:", err)
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// run is the process: it wires the parts together and returns when ctx has ended and all is drained. Nothing of it
// serves or watches before serve.Run, which has the order in which the parts live and end.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	o, err := parse(args, getenv, stdout)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	logger, audit := process.NewLoggers(stderr, o.logLevel)
	// client-go says through klog what is wrong with a watch. Without this it would write lines that are no JSON.
	klog.SetSlogLogger(logger.With("component", "client-go"))
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
	// Not Prometheus's global one, into which any linked package could put its own.
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(keys.Collectors()...)
	admissions, err := newAdmissions(o, keys, registry, logger)
	if err != nil {
		return err
	}
	answers, err := gate.New(gate.Options{
		Admissions: admissions, Clock: clock.RealClock{}, Audit: audit, Registerer: registry,
	})
	if err != nil {
		return err
	}
	introspection, err := newIntrospection(o, getenv("KUBECONFIG"), answers, logger)
	if err != nil {
		return err
	}
	// It takes reports without a key, as the API does: whoever finds one need not know which of the two it is for.
	leaked := gate.Leaked{Leaks: keys.Leaks, Reports: limit.NewAddresses(leak.PerAddress), Clock: clock.RealClock{}}
	draining := new(atomic.Bool)
	// One answer for HTTP, gRPC and the kubelet: whoever asks by one of them is told what the others are.
	ready := func() bool { return keys.Serving() && !draining.Load() }
	// Opened here, and not by serve, which knows of HTTP alone: a port that is taken is told before anything runs, and the
	// log has the address even with port 0. If serve.Run then fails to open its own, nobody closes this one: the process
	// ends.
	envoy, err := new(net.ListenConfig).Listen(ctx, "tcp", o.grpcAddress)
	if err != nil {
		return fmt.Errorf("listen for Envoy: %w", err)
	}
	return serve.Run(ctx, serve.Options{
		Also: gate.NewServer(answers, gate.ServerOptions{
			Listener: envoy, TLS: certificate.Config(), Connections: o.maxConnections, Ready: ready,
		}),
		API:        handler(gate.NewForward(answers), introspection, leaked, ready),
		APIAddress: o.listenAddress, Certificate: certificate,
		Admin: adminHandler(ready, registry), AdminAddress: o.metricsAddress,
		// They run until the last question is answered: until then, each has to hear of revocations.
		Background: together(keys.Run, certificate.Run),
		Draining:   draining, DrainDelay: o.drainDelay, DrainTimeout: o.drainTimeout,
		Limits: serve.Limits{
			Connections: o.maxConnections, Clock: clock.RealClock{}, Overloaded: memory.Short,
			Busy: gate.Busy, Registerer: registry,
		},
		Logger: logger,
		Listening: func(address, admin net.Addr) {
			logger.Info("listening", "environments", o.environments, "gate", address.String(),
				"grpc", envoy.Addr().String(), "metrics", admin.String(), "tls", certificate != nil,
				"watching", process.Watched(o.keys.Watched))
		},
	})
}

// newKeyring makes what this process knows of keys. An admission policy holds its ServiceAccount to Leases of this
// name. Its end is random, because no process may ever have had it: one that starts would otherwise take over what
// the one before it has confirmed. It is in lower case, as names of objects have to be (RFC 1123).
func newKeyring(o options, kubeconfigEnv string, logger, audit *slog.Logger) (*keyring.Keyring, error) {
	return keyring.New(keyring.Options{
		Kubeconfig: o.keys.Kubeconfig, KubeconfigEnv: kubeconfigEnv, Namespace: o.keys.Namespace, Watched: o.keys.Watched,
		UserAgent: "letmepost-gate",
		Lease:     "letmepost-gate-" + strings.ToLower(rand.Text()[:10]),
		Holder:    process.Hostname(),
		// No environment: there are no posts here that a deletion could have canceled.
		Serves:        "gate",
		LeaseDuration: o.keys.LeaseDuration,
		Format:        o.keys.Format, Audited: o.environments, Most: o.keys.Most,
		Clock: clock.RealClock{}, Logger: logger, Audit: audit,
	})
}

// newAdmissions says who may come in, for each environment. One set of rates does for both: a key is of one of them, so
// what it has left is counted once, wherever it is shown.
func newAdmissions(
	o options, keys *keyring.Keyring, registry prometheus.Registerer, logger *slog.Logger,
) (map[key.Environment]*admission.Admission, error) {
	limits, err := limit.NewCallers(limit.Options{
		Default: o.keyRate, RedisURL: o.redisURL, Registerer: registry, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	all := map[key.Environment]*admission.Admission{}
	for _, environment := range o.environments {
		all[environment], err = admission.New(admission.Options{
			Authenticator: keys.Authenticator(environment), Limits: limits,
			// All questions come from proxies, so there is no address to count failed attempts against.
			Failures: limit.NewAddresses(rate.Rate{}),
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// newIntrospection returns what answers services that hold a key; nil: nothing is to. Its connection to the apiserver
// is its own: no flood of tokens stands in the way of the Lease.
func newIntrospection(o options, kubeconfigEnv string, answers *gate.Gate, logger *slog.Logger) (http.Handler, error) {
	if !o.introspection {
		return nil, nil //nolint:nilnil // nothing is wrong: it is off
	}
	cluster, err := keyring.ClusterConfig(o.keys.Kubeconfig, kubeconfigEnv)
	if err != nil {
		return nil, err
	}
	cluster.UserAgent = "letmepost-gate-introspection"
	accounts, err := tokenreview.New(tokenreview.Options{
		Config: cluster, Audience: tokenreview.Audience, Clock: clock.RealClock{},
	})
	if err != nil {
		return nil, err
	}
	// Its metric is registered with those of the Gate, so without introspection there is none.
	return gate.NewIntrospection(answers, accounts, logger)
}

// handler answers questions, introspections if there are to be any, reports of leaked keys, and probes of load
// balancers. /check is that very path: proxies that append the client's own ask below gate.PathPrefix. It takes any
// method, as some proxies ask by that of their client.
func handler(forward, introspection, leaked http.Handler, ready func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/check", forward)
	mux.Handle(leak.Path, leaked)
	if introspection != nil {
		mux.Handle(gate.IntrospectionPath, introspection)
	}
	addProbes(mux, ready)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Past the mux, which would clean the path, and send the proxy elsewhere.
		if strings.HasPrefix(r.URL.EscapedPath(), gate.PathPrefix) {
			forward.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// adminHandler serves metrics and, once more, the probes: a kubelet need not speak TLS for them.
func adminHandler(ready func() bool, registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	addProbes(mux, ready)
	return mux
}

// addProbes answers the same on both ports. /healthz asks nothing: to be started anew would not bring an apiserver
// back, and would lose the keys that this process knows. /readyz has proxies ask another gate while this one can't be
// sure to know of every revocation, or is about to end.
func addProbes(mux *http.ServeMux, ready func() bool) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
}

// together runs parts side by side, and returns when all have: the process must not end before its Lease is given up.
func together(parts ...func(context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		var running sync.WaitGroup
		for _, part := range parts {
			running.Go(func() { part(ctx) })
		}
		running.Wait()
	}
}
