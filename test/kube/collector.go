// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// AwaitCollector waits until the cluster's garbage collector has seen the Secrets that there are in a namespace.
// Whoever deletes an object that orphans its Secret waits for that: the collector may find none to orphan otherwise,
// and deletes the Secret once it sees it. It sees Secrets in the order in which they come, and removes one that comes
// after them, because its owner is nowhere.
func (c *Cluster) AwaitCollector(ctx context.Context, namespace string) error {
	admin, err := kubernetes.NewForConfig(c.AdminConfig())
	if err != nil {
		return err
	}
	secrets := admin.CoreV1().Secrets(namespace)
	last, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "of-nobody-", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "v1", Kind: "ConfigMap", Name: "nobody", UID: types.UID(uuid.NewString()),
		}},
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return poll(ctx, time.Minute, func() (done bool, err error) {
		_, err = secrets.Get(ctx, last.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}
