// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// programs of a node, which `make node` builds.
var programs = []string{
	"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns",
	"containerd", "containerd-shim-runc-v2", "ctr", "pause",
}

// pollInterval is how often we look whether something has become ready.
const pollInterval = 50 * time.Millisecond

// cluster is a node's running processes.
type cluster struct {
	settings
	processes []*kube.Process
	clients   *kubernetes.Clientset
}

// start starts the cluster and waits until pods can run on it.
func start(ctx context.Context, s settings) (*cluster, error) {
	c := &cluster{settings: s}
	config, err := c.controlPlane(ctx)
	if err != nil {
		return nil, err
	}
	s.say("control plane ready, images imported")
	// The controller manager does not wait for the apiserver: started before it is ready, it backs off for seconds.
	if err := c.runAll("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns"); err != nil {
		return nil, err
	}
	if err := kube.InstallManifests(ctx, config, s.config("storage.yaml")); err != nil {
		return nil, err
	}
	return c, errors.Join(
		c.await(ctx, "the node", c.nodeReady),
		c.await(ctx, "the default ServiceAccount", c.accountReady),
		c.await(ctx, "DNS", dnsReady),
	)
}

// controlPlane starts what the rest needs, imports the images meanwhile, and returns an administrator's configuration.
func (c *cluster) controlPlane(ctx context.Context) (*rest.Config, error) {
	// The apiserver waits for etcd by itself.
	if err := c.runAll("etcd", "containerd", "kube-apiserver"); err != nil {
		return nil, err
	}
	if err := c.await(ctx, "containerd", c.containerdReady); err != nil {
		return nil, err
	}
	if err := c.importImages(ctx); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.config("admin.kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // no client-side limit
	if c.clients, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	return config, c.await(ctx, "kube-apiserver", c.apiserverReady)
}

// runAll starts processes of the node.
func (c *cluster) runAll(names ...string) error {
	for _, name := range names {
		process, err := kube.Run(kube.Command{
			Name: name,
			Path: filepath.Join(c.Bin, name),
			Args: c.arguments(name),
			// containerd looks for its shim there.
			Env: append(kube.MinimalEnv(), "PATH="+c.Bin+":"+systemPath),
			Log: filepath.Join(c.Logs, name+".log"),
		})
		if err != nil {
			return err
		}
		c.processes = append(c.processes, process)
	}
	return nil
}

// await polls until something is ready. It fails when ctx ends, and at once when a process has.
func (c *cluster) await(ctx context.Context, name string, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if lost := c.lost(); lost != nil {
			return lost
		}
		if !retry.Pause(ctx, pollInterval) {
			return fmt.Errorf("%s did not become ready in %v (the logs are in %s): %w", name, startBound, c.Logs, err)
		}
	}
}

// lost says which processes have ended by themselves, with the end of what they logged.
func (c *cluster) lost() error {
	const lines = 20
	var errs []error
	for _, process := range c.processes {
		if err := process.Err(); err != nil {
			errs = append(errs, fmt.Errorf("%w; the end of %s:\n%s", err, process.LogFile(), process.Tail(lines)))
		}
	}
	return errors.Join(errs...)
}

func (c *cluster) apiserverReady(ctx context.Context) error {
	return c.clients.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (c *cluster) nodeReady(ctx context.Context) error {
	node, err := c.clients.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("it has taints: %v", node.Spec.Taints)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("it is not Ready: %v", node.Status.Conditions)
}

// containerdReady: its socket is there before the services behind it are.
func (c *cluster) containerdReady(ctx context.Context) error {
	return c.ctr(ctx, "images", "list", "--quiet")
}

// accountReady: no pod can be made in the namespace before.
func (c *cluster) accountReady(ctx context.Context) error {
	_, err := c.clients.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	return err
}

func dnsReady(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:8181/ready", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
