// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// user is a Pod that has a Secret, and how it comes to it.
type user struct {
	pod *corev1.Pod
	how []string // volume NAME, envFrom of CONTAINER, env of CONTAINER
}

// users are the Pods that have Secrets, by Secret.
type users map[types.NamespacedName][]user

// users looks at the Pods of a namespace, "" for all. Those that have ended are none: nothing runs in them.
func (c *cluster) users(ctx context.Context, namespace string) (users, error) {
	all := users{}
	options := metav1.ListOptions{Limit: page}
	for {
		pods, err := c.core.Pods(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range pods.Items {
			all.add(&pods.Items[i])
		}
		if options.Continue = pods.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

func (u users) add(pod *corev1.Pod) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	for secret, how := range secretsOf(&pod.Spec) {
		name := types.NamespacedName{Namespace: pod.Namespace, Name: secret}
		u[name] = append(u[name], user{pod, how})
	}
}

// given are the Secrets that a Pod is given, and how.
type given map[string][]string

func secretsOf(spec *corev1.PodSpec) given {
	g := given{}
	for i := range spec.Volumes {
		g.byVolume(&spec.Volumes[i])
	}
	containers := slices.Concat(spec.InitContainers, spec.Containers)
	for i := range spec.EphemeralContainers { // they have all fields of a container, by a type of their own
		containers = append(containers, corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	for i := range containers {
		g.byEnvironment(&containers[i])
	}
	return g
}

func (g given) byVolume(v *corev1.Volume) {
	if v.Secret != nil {
		g.add(v.Secret.SecretName, "volume "+v.Name)
	}
	if v.Projected == nil {
		return
	}
	for _, s := range v.Projected.Sources {
		if s.Secret != nil {
			g.add(s.Secret.Name, "volume "+v.Name)
		}
	}
}

func (g given) byEnvironment(c *corev1.Container) {
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil {
			g.add(from.SecretRef.Name, "envFrom of "+c.Name)
		}
	}
	for _, env := range c.Env {
		if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
			g.add(env.ValueFrom.SecretKeyRef.Name, "env of "+c.Name)
		}
	}
}

func (g given) add(secret, how string) {
	if !slices.Contains(g[secret], how) {
		g[secret] = append(g[secret], how)
	}
}
