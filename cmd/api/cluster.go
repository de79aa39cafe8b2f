// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// clusterConfig finds the cluster: in the file given, else in the files of $KUBECONFIG, else around the process.
func clusterConfig(file, kubeconfigEnv string) (*rest.Config, error) {
	if file == "" && kubeconfigEnv == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no cluster: neither --kubeconfig nor $KUBECONFIG is given, and %w", err)
		}
		return config, nil
	}
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: file, Precedence: filepath.SplitList(kubeconfigEnv)}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return config, nil
}

// resourceClient returns a client of the letmepost.dev API group.
func resourceClient(config *rest.Config) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.APIPath = "/apis"
	config.GroupVersion = &v1alpha1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.UserAgent = "letmepost-api"
	config.QPS = -1 // the apiserver's priority and fairness decides, not a guess made here
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return client, nil
}

// How often, and after what time, a first sync that does not come is reported.
const (
	syncPatience = 2 * time.Second
	syncReminder = 15 * time.Second
)

// reportSync says in plain words that the process is not ready yet and why that is, and when it is. It returns when
// synced is true or ctx ends.
func reportSync(ctx context.Context, synced func() bool, keys func() int, host string, logger *slog.Logger) {
	started := time.Now()
	remind := started.Add(syncPatience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !synced() {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.After(remind) {
				logger.Warn("not ready: the apiserver has not listed all keys and profiles yet; trying on", "apiserver", host)
				remind = now.Add(syncReminder)
			}
		}
	}
	logger.Info("ready: all keys and profiles are loaded", "keys", keys(), "after", time.Since(started).Round(time.Millisecond).String())
}
