// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package keyring is what a process that lets keys in knows of them, and whether it may rely on that: the index of all
// keys, the watches that feed it, and the process's place in the barrier that a revocation passes.
//
// A process that faces callers has one, and makes its Authenticators of it. It reads ApiKeys and Profiles, and writes
// nothing but a Lease of its own.
package keyring

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// Options are what a Keyring is made of. All are required except where they say otherwise.
type Options struct {
	// Kubeconfig is a file, KubeconfigEnv the value of $KUBECONFIG. Optional: without either, the cluster is the one that
	// the process runs in.
	Kubeconfig, KubeconfigEnv string
	// Namespace of the release, where the process has its Lease.
	Namespace string
	// Watched are the namespaces whose keys are served. Optional: all.
	Watched []string
	// UserAgent tells this process from others in the apiserver's audit log.
	UserAgent string

	// Lease is the name of this process's, which no process has had before: with a fixed one, a process that starts would
	// take over what the one before it has confirmed. An admission policy holds the process's ServiceAccount to it.
	Lease string
	// Holder says to people whose Lease it is, such as the pod's name.
	Holder string
	// Serves is what the Lease says of the process: an environment, where deletions may wait for it to cancel posts.
	Serves        v1alpha1.Environment
	LeaseDuration time.Duration

	Format key.Format
	// Audited are the environments whose refused keys have a line in the audit log here.
	Audited []key.Environment
	// Most is how many keys of one organization are served; 0: any number.
	Most int

	// Clock is read in full: the fence goes by both readings of time.Now, the wall clock's and the monotonic one.
	Clock  clock.WithTicker
	Logger *slog.Logger
	Audit  *slog.Logger
}

// Keyring is what a process knows of keys. It accepts nothing before Run has begun, and has heard of the cluster.
type Keyring struct {
	*authn.Index
	// Leaks takes reports of keys that have leaked.
	Leaks   *leak.Reporter
	o       Options
	feed    *authn.Feed
	replica *revocation.Replica
}

// New returns a Keyring. Nothing is dialed yet, so that a process starts while the apiserver is away. The error says
// that no cluster is configured.
func New(o Options) (*Keyring, error) {
	cluster, err := connect(o)
	if err != nil {
		return nil, err
	}
	k := &Keyring{Index: authn.NewIndex(), o: o}
	k.LimitKeys(o.Most)
	k.OnRevoked(k.audit)
	k.feed = authn.NewFeed(k.Index, cluster.resources, o.Clock, o.Watched...)
	k.feed.FollowLeaks(o.Namespace)
	k.Leaks = leak.New(leak.Options{
		Index: k.Index, Format: o.Format, Clock: o.Clock, Loaded: func() bool { return !k.feed.Heard().IsZero() },
	})
	k.replica = revocation.NewReplica(revocation.ReplicaOptions{
		Leases:      cluster.leases,
		Store:       k.feed,
		Reports:     k.Leaks,
		Name:        o.Lease,
		Holder:      o.Holder,
		Environment: o.Serves,
		Duration:    o.LeaseDuration,
		// When the fence shuts, so do the requests that were let in before it: they could be a revoked key's by now.
		Cut:       func() { k.CutAll(authn.ErrUnavailable) },
		Reconnect: cluster.reconnect,
		Clock:     o.Clock,
		Logger:    o.Logger,
	})
	return k, nil
}

// audit writes a line when a key is refused from now on because its ApiKey is being deleted. The index holds the keys
// of both environments; those that others serve, they write of.
func (k *Keyring) audit(of *authn.Key, running int) {
	for _, environment := range k.o.Audited {
		if of.Environment() == environment {
			k.o.Audit.Info("Key refused from now on", "event", "key.refused", "keyId", string(of.ID()),
				"key", of.Organization.Name+"/"+of.Name(), "environment", string(environment), "runningRequests", running)
		}
	}
}

// Run watches keys and holds the Lease, until ctx ends; then it gives the Lease up.
func (k *Keyring) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { k.feed.Run(ctx) })
	both.Go(func() { k.replica.Run(ctx) })
	both.Wait()
}

// ShownName is how people are told of this process: its Lease, and the pod or host in parentheses.
func (k *Keyring) ShownName() string { return k.replica.ShownName() }

// Serving tells whether keys may be accepted at this moment.
func (k *Keyring) Serving() bool { return k.replica.Serving(k.o.Clock.Now()) }

// Authenticator returns one for the keys of an environment.
func (k *Keyring) Authenticator(of key.Environment) *authn.Authenticator {
	return authn.NewAuthenticator(authn.Options{
		Index: k.Index, Format: k.o.Format, Environment: of, Clock: k.o.Clock, Serving: k.replica.Serving,
		// A write that takes longer could still run when this process is counted out.
		CommitTimeout: revocation.CommitWithin(k.o.LeaseDuration),
	})
}

// Collectors are the metrics of what the process knows, and whether it relies on it.
func (k *Keyring) Collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("lmp_index_keys", "Keys that this process knows, of all environments, served or not.",
			func() float64 { return float64(k.Size()) }),
		gauge("lmp_index_organizations_crowded",
			"Organizations that have more keys than this process serves of one.",
			func() float64 { return float64(k.Crowded()) }),
		gauge("lmp_leak_reports_waiting",
			"Keys that were reported as leaked to this process, which refuses them, and that the controller has not settled.",
			func() float64 { return float64(k.Leaks.Unsettled()) }),
		gauge("lmp_cache_staleness_seconds",
			"Time since the apiserver was last heard of by the watches of keys and profiles. "+
				"A quiet watch has a bookmark a minute.",
			func() float64 { return k.o.Clock.Since(k.feed.Heard()).Seconds() }),
		gauge("lmp_fenced",
			"1 while this process accepts no request, "+
				"because it has just started or can't be sure to know of every revocation; else 0.",
			func() float64 {
				if k.Serving() {
					return 0
				}
				return 1
			}),
	}
}
