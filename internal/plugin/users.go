// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// user is something that is given a Secret, and how. Who reads the Secret from the apiserver, or has a copy of the key,
// is not seen by anything here.
type user struct {
	what    string   // as kubectl has it: pod/NAME
	account string   // its ServiceAccount
	how     []string // as given has it
}

// users are what is given Secrets, by Secret. What is no key's Secret is in it as well: which Secrets have keys is
// known only to whoever has the ApiKeys beside it.
type users map[types.NamespacedName][]user

// users looks at the Pods of a namespace, "" for all. Those that have ended are none: nothing runs in them. For all
// namespaces it is one list, in which list -A finds the Pods of every key.
func (c *cluster) users(ctx context.Context, namespace string) (users, error) {
	all := users{}
	options := metav1.ListOptions{Limit: page}
	for {
		pods, err := c.core.Pods(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range pods.Items {
			// By the phase and not by the deletion: in a Pod that is being deleted, containers run on for its grace period.
			if p := &pods.Items[i]; p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				all.add("pod", &p.ObjectMeta, &p.Spec)
			}
		}
		if options.Continue = pods.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

func (u users) add(kind string, object *metav1.ObjectMeta, spec *corev1.PodSpec) {
	for secret, how := range secretsOf(spec) {
		name := types.NamespacedName{Namespace: object.Namespace, Name: secret}
		// The apiserver fills it in for a Pod; a template may leave it out.
		account := cmp.Or(spec.ServiceAccountName, "default")
		u[name] = append(u[name], user{kind + "/" + object.Name, account, how})
	}
}

// addApps adds what Pods are made of, now and after the next rollout. Not ReplicaSets: a Deployment keeps old ones for
// a rollback, with the old Secret in their template, and the Secret would seem to be used for as long as they are kept.
// What is scaled to zero counts: as soon as it is scaled up, its Pods would be given the Secret.
func (u users) addApps(ctx context.Context, c *cluster, namespace string) error {
	all := metav1.ListOptions{}
	deployments, err := c.apps.Deployments(namespace).List(ctx, all)
	if err != nil {
		return err
	}
	for i := range deployments.Items {
		u.add("deployment", &deployments.Items[i].ObjectMeta, &deployments.Items[i].Spec.Template.Spec)
	}
	stateful, err := c.apps.StatefulSets(namespace).List(ctx, all)
	if err != nil {
		return err
	}
	for i := range stateful.Items {
		u.add("statefulset", &stateful.Items[i].ObjectMeta, &stateful.Items[i].Spec.Template.Spec)
	}
	daemons, err := c.apps.DaemonSets(namespace).List(ctx, all)
	if err != nil {
		return err
	}
	for i := range daemons.Items {
		u.add("daemonset", &daemons.Items[i].ObjectMeta, &daemons.Items[i].Spec.Template.Spec)
	}
	return nil
}

// addJobs adds what Pods are yet to be made of: a Secret that only the CronJob of the night names is in no Pod by day.
// A Job that is over makes no Pods any more. Only one that has succeeded has a completion time: of one that has failed,
// which a CronJob keeps, the condition says so.
func (u users) addJobs(ctx context.Context, c *cluster, namespace string) error {
	cron, err := c.batch.CronJobs(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range cron.Items {
		u.add("cronjob", &cron.Items[i].ObjectMeta, &cron.Items[i].Spec.JobTemplate.Spec.Template.Spec)
	}
	jobs, err := c.batch.Jobs(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range jobs.Items {
		if !isOver(&jobs.Items[i]) {
			u.add("job", &jobs.Items[i].ObjectMeta, &jobs.Items[i].Spec.Template.Spec)
		}
	}
	return nil
}

func isOver(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
}

// usersOf are what is given the Secret of a key, sorted by name. What the caller may not look at is in unseen, and is
// not an error: many may see no more than their own Pods. With an error, nothing is known.
func (c *cluster) usersOf(ctx context.Context, k *v1alpha1.ApiKey) (found []user, unseen, err error) {
	all, err := c.users(ctx, k.Namespace)
	if err != nil {
		all = users{}
	}
	for _, failure := range []error{err, all.addApps(ctx, c, k.Namespace), all.addJobs(ctx, c, k.Namespace)} {
		switch {
		// Only that stays as it is however often one looks. Whatever else goes wrong may pass, and rotate looks again.
		case apierrors.IsForbidden(failure):
			unseen = errors.Join(unseen, failure)
		case failure != nil:
			return nil, nil, failure
		}
	}
	found = all[types.NamespacedName{Namespace: k.Namespace, Name: k.SecretName()}]
	slices.SortFunc(found, func(a, b user) int { return strings.Compare(a.what, b.what) })
	return found, unseen, nil
}

// given are the Secrets that a Pod is given, and how. The texts are for people: "volume NAME", "env of CONTAINER",
// "envFrom of CONTAINER".
type given map[string][]string

// secretsOf finds the Secrets in what makes Pods: whole ones and single entries, in volumes and in the environment of
// any kind of container. It is pure. What pulls images is no key, and is not looked at.
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

// byEnvironment counts a container that takes one entry of the Secret like one that takes all: which entry has the key
// is not asked.
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

// add notes a way once: several entries of one Secret in one container are one way.
func (g given) add(secret, how string) {
	if !slices.Contains(g[secret], how) {
		g[secret] = append(g[secret], how)
	}
}
