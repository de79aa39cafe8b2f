// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keyring

import (
	"fmt"
	"net"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/connrotation"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// ClusterConfig finds the cluster: in the file given, else in the files of $KUBECONFIG, else around the process. Unlike
// kubectl it does not fall back on ~/.kube/config: which cluster's keys are served is said, and not found. $KUBECONFIG
// may list several files, which are merged as kubectl merges them.
func ClusterConfig(file, kubeconfigEnv string) (*rest.Config, error) {
	if file == "" && kubeconfigEnv == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no cluster: neither --kubeconfig nor $KUBECONFIG is given, and %w", err)
		}
		return config, nil
	}
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: file, Precedence: filepath.SplitList(kubeconfigEnv)}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).
		ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return config, nil
}

// cluster is the two kinds of access that this process has to the cluster. They share one client and so one connection:
// when renewing the Lease fails, it is the same connection that the watches hang on.
type cluster struct {
	resources *rest.RESTClient // of the letmepost.dev API group
	leases    coordinationclient.LeaseInterface
	// reconnect closes the connections of both. A machine that is gone closes none by itself, and an HTTP/2 connection
	// that has fallen silent would be used for every further request.
	reconnect func()
}

// Times of connections to the apiserver.
const (
	// dialTimeout is shorter than client-go's 30 seconds: with the default Lease this process is fenced after ten, and by
	// then a new attempt is worth more than the old one.
	dialTimeout = 10 * time.Second
	keepAlive   = 30 * time.Second // of TCP, as client-go has it
)

// connect finds the cluster as ClusterConfig does. It dials nothing yet. So the process starts while the apiserver is
// away, and is not ready until it has heard of it.
func connect(o Options) (*cluster, error) {
	config, err := ClusterConfig(o.Kubeconfig, o.KubeconfigEnv)
	if err != nil {
		return nil, err
	}
	// The one dialer of all connections, so that reconnect reaches each of them.
	dialer := connrotation.NewDialer((&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext)
	config.Dial = dialer.DialContext
	config.UserAgent = o.UserAgent
	config.QPS = -1 // the apiserver's priority and fairness decides, not a guess made here
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	leases, err := coordinationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("client of Leases: %w", err)
	}
	// A plain REST client, and not controller-runtime's: test/arch keeps that out of this process.
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config.APIPath = "/apis"
	config.GroupVersion = &v1alpha1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	resources, err := rest.RESTClientForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("client of letmepost.dev: %w", err)
	}
	return &cluster{resources: resources, leases: leases.Leases(o.Namespace), reconnect: dialer.CloseAll}, nil
}
