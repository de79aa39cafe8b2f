// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controller moves the cluster to what ApiKeys and Profiles ask for.
//
// One reconcile: fetch, decide by package lifecycle, act (create one Secret at most, never change or delete one), and
// write status once, in one epilogue that derives Ready. The Secret's creation is the lock that makes a key be minted
// once; from the moment its hash is in status, status is the truth, whatever becomes of the Secret.
//
// There are three reconcilers, each with a queue of its own. That of keys that live fetches and decides in apikey.go,
// acts in mint.go (what is in its way, duplicates.go, reservations.go, census.go and conflict.go say; leaks.go ends
// what has leaked) and writes in status.go. That of deletions asks the barrier in revocation.go, takes the finalizer
// off in lift.go, and tells in held.go of what others hold. That of Profiles counts, in profile.go. What any of them
// keeps in memory is this process's alone, and made anew by the next leader: what must survive it is in the cluster.
// release.go is none of it: a command for when no controller runs any more.
package controller

import (
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// Name identifies the controller: as field owner, as source of events, as name of its leader election Lease.
const Name = "letmepost-controller"

// Options are what the reconcilers need to know. NewManager checks none of it: flags are, where they are read.
type Options struct {
	// Format of the keys to mint.
	Format key.Format
	// BaseURLs of the API, by environment. They are minted into the Secrets beside the keys.
	BaseURLs map[v1alpha1.Environment]string
	// Random is a CSPRNG.
	Random io.Reader
	// Clock tells the time.
	Clock clock.PassiveClock
	// KeyQuota is how many keys are minted in one namespace; 0: any number.
	KeyQuota int
	// Concurrency is the number of ApiKeys reconciled at once.
	Concurrency int
	// Namespace that the API replicas have their Leases in.
	Namespace string
	// WatchNamespaces are those whose ApiKeys and Profiles are reconciled. Nothing of any other is read or written, nor
	// must there be a permission to. None: all namespaces.
	WatchNamespaces []string
	// Registerer takes the metrics of revocation and of quotas. Optional.
	Registerer prometheus.Registerer
	// Audit is the audit log. Optional: without it, the manager's log is, under the name audit.
	Audit logr.Logger
	// Tracer begins a trace for each reconcile. Optional: nil makes none.
	Tracer trace.Tracer
	// SecretRecheckInterval is how often a minted Secret is looked for, more or less: the controller may not watch
	// Secrets.
	SecretRecheckInterval time.Duration
}

// NewManager returns a manager with the reconcilers. What opts sets beside Scheme, Cache and Client is kept; a
// NewClient of opts is used, which is where tests put faults in.
func NewManager(cfg *rest.Config, opts manager.Options, controllers Options) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register core types: %w", err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register letmepost.dev types: %w", err)
	}
	// No limit on this side: the apiserver's Priority and Fairness decides what is too much. client-go's default is five
	// requests a second, and one new key takes as many.
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1

	replicas, err := labels.Parse(v1alpha1.LabelReplica)
	if err != nil {
		return nil, fmt.Errorf("select the Leases of API replicas: %w", err)
	}
	opts.Scheme = scheme
	opts.Cache = cache.Options{
		// No read may start a watch by accident, least of all on Secrets, which this process may not list.
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            slim,
		DefaultNamespaces:           watching(controllers.WatchNamespaces),
		ByObject: map[client.Object]cache.ByObject{
			&coordinationv1.Lease{}: {Namespaces: map[string]cache.Config{controllers.Namespace: {}}, Label: replicas},
			&v1alpha1.LeakedKey{}:   {Namespaces: map[string]cache.Config{controllers.Namespace: {}}},
		},
	}
	// Secrets are read one by one from the apiserver, when a key's own is looked for.
	opts.Client = client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}}
	mgr, err := manager.New(cfg, opts)
	if err != nil {
		return nil, fmt.Errorf("create manager: %w", err)
	}
	if controllers.Audit.GetSink() == nil { // the zero Logger
		// An audit log that nobody asked for is still written: it can't be made up for later.
		controllers.Audit = mgr.GetLogger().WithName("audit")
	}
	keys, err := setupApiKeys(mgr, controllers)
	if err != nil {
		return nil, fmt.Errorf("set up ApiKeys: %w", err)
	}
	if err := setupRevocations(mgr, controllers, keys); err != nil {
		return nil, fmt.Errorf("set up revocation: %w", err)
	}
	if err := setupProfiles(mgr, controllers); err != nil {
		return nil, fmt.Errorf("set up Profiles: %w", err)
	}
	return mgr, nil
}

// watching is what the cache is to hold of namespaced objects. nil: what is in any namespace. With names, the cache
// lists and watches each namespace by itself, so that Roles in those namespaces are enough.
func watching(namespaces []string) map[string]cache.Config {
	if len(namespaces) == 0 {
		return nil
	}
	configs := map[string]cache.Config{}
	for _, name := range namespaces {
		configs[name] = cache.Config{}
	}
	return configs
}
