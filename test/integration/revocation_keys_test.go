// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// mintMany makes live keys, and returns them when the controller says that they are served.
func mintMany(ctx SpecContext, namespace string, n int) []*subject {
	GinkgoHelper()
	DeferCleanup(func(ctx SpecContext) { forgetKeys(ctx, namespace) }, NodeTimeout(patience))
	group, life := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for i := range n {
		group.Go(func() error { return admin.Create(life, apiKey(namespace, fmt.Sprintf("key-%d", i))) })
	}
	Expect(group.Wait()).To(Succeed())

	keys := &v1alpha1.ApiKeyList{}
	Eventually(ctx, func() (ready int, err error) {
		if err = admin.List(ctx, keys, client.InNamespace(namespace)); err != nil {
			return 0, err
		}
		for _, k := range keys.Items {
			if meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			}
		}
		return ready, nil
	}, 2*patience, 10*interval).Should(Equal(n), "keys that are ready")

	secrets := &corev1.SecretList{}
	Expect(admin.List(ctx, secrets, client.InNamespace(namespace))).To(Succeed())
	plaintexts := map[string]string{}
	for _, s := range secrets.Items {
		plaintexts[s.Name] = string(s.Data[v1alpha1.SecretKeyAPIKey])
	}
	subjects := make([]*subject, 0, n)
	for i := range keys.Items {
		k := &keys.Items[i]
		Expect(plaintexts).To(HaveKey(k.SecretName()))
		subjects = append(subjects, &subject{ApiKey: k, plaintext: plaintexts[k.SecretName()]})
	}
	return subjects
}

// forgetKeys removes the keys of a namespace without waiting for anybody: later specs would have so many more to look
// at.
func forgetKeys(ctx SpecContext, namespace string) {
	GinkgoHelper()
	keys := &v1alpha1.ApiKeyList{}
	Expect(admin.List(ctx, keys, client.InNamespace(namespace))).To(Succeed())
	// The policy wants to hear that it is meant.
	release := []byte(`{"metadata":{"finalizers":null,"annotations":{"` + v1alpha1.AnnotationUnconfirmed + `":"true"}}}`)
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for _, k := range keys.Items {
		group.Go(func() error {
			deleted := admin.Delete(ctx, &k)
			let := admin.Patch(ctx, &k, client.RawPatch(types.MergePatchType, release))
			return errors.Join(client.IgnoreNotFound(deleted), client.IgnoreNotFound(let))
		})
	}
	Expect(group.Wait()).To(Succeed())
}

// awaitServed waits until each API accepts all keys.
func awaitServed(ctx SpecContext, urls []string, subjects []*subject) {
	GinkgoHelper()
	for _, url := range urls {
		for _, s := range subjects {
			Expect(accepts(ctx, url, s)).To(Succeed())
		}
	}
}

// accepts waits until an API accepts a key.
func accepts(ctx context.Context, url string, s *subject) error {
	status := 0
	err := wait.PollUntilContextTimeout(ctx, interval, patience, true, func(ctx context.Context) (bool, error) {
		status, _, _ = get(ctx, url+"/v1/whoami", "Bearer "+s.plaintext) // none while a process is started
		return status == http.StatusOK, nil
	})
	if err != nil {
		return fmt.Errorf("%s does not accept %s, but answers %d: %w", url, s.Name, status, err)
	}
	return nil
}

// deleteKey deletes a key, and returns when it is gone, as `kubectl delete` does.
func deleteKey(ctx context.Context, k *v1alpha1.ApiKey) error {
	events, err := admin.Watch(ctx, &v1alpha1.ApiKeyList{}, client.InNamespace(k.Namespace), client.MatchingFields{"metadata.name": k.Name})
	if err != nil {
		return fmt.Errorf("watch it: %w", err)
	}
	defer events.Stop()
	if err := admin.Delete(ctx, k, client.Preconditions{UID: &k.UID}); err != nil {
		return fmt.Errorf("delete it: %w", err)
	}
	for event := range events.ResultChan() {
		if event.Type == watch.Deleted {
			return nil
		}
	}
	return errors.Join(errors.New("the watch has ended"), context.Cause(ctx))
}

// kubectlDelete lets the real kubectl do it.
func kubectlDelete(ctx context.Context, k *v1alpha1.ApiKey) error {
	program, err := exec.LookPath("kubectl")
	if err != nil {
		program = kube.Path("bin/k8s/kubectl") // built where there is none
	}
	cmd := exec.CommandContext(ctx, program, "--kubeconfig", cluster.KubeconfigPath(), "delete", "apikey", k.Name, "--namespace", k.Namespace)
	cmd.Env = kube.MinimalEnv()
	if output, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("kubectl: %w: %s", err, output), context.Cause(ctx))
	}
	return nil
}

// whyHeld says what is known of a key that does not go, and of all replicas.
func whyHeld(ctx context.Context, k *v1alpha1.ApiKey) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var text strings.Builder
	held := &v1alpha1.ApiKey{}
	if err := admin.Get(ctx, client.ObjectKeyFromObject(k), held); err != nil {
		fmt.Fprintf(&text, "%v\n", err)
	} else {
		fmt.Fprintf(&text, "UID %s, deleted at %v, resourceVersion %s, finalizers %v\n", held.UID, held.DeletionTimestamp, held.ResourceVersion, held.Finalizers)
		for _, c := range held.Status.Conditions {
			fmt.Fprintf(&text, "condition %s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	leases := &coordinationv1.LeaseList{}
	if err := admin.List(ctx, leases, client.InNamespace(systemNamespace)); err != nil {
		fmt.Fprintf(&text, "%v\n", err)
	}
	fmt.Fprintf(&text, "at %s:\n", time.Now().UTC().Format(time.StampMicro))
	for _, l := range leases.Items {
		fmt.Fprintf(&text, "Lease %s renewed %s, %v\n", l.Name, l.Spec.RenewTime.UTC().Format(time.StampMicro), l.Annotations)
	}
	return text.String()
}

// exists tells whether a key is still there, finalizers or not.
func exists(ctx context.Context, k *v1alpha1.ApiKey) bool {
	GinkgoHelper()
	err := admin.Get(ctx, client.ObjectKeyFromObject(k), &v1alpha1.ApiKey{})
	Expect(client.IgnoreNotFound(err)).To(Succeed())
	return !apierrors.IsNotFound(err)
}

// awaitRevoking waits until a key's deletion is said to wait for a replica.
func awaitRevoking(ctx SpecContext, k *v1alpha1.ApiKey, lease string) {
	GinkgoHelper()
	Eventually(ctx, func() (string, error) {
		found := &v1alpha1.ApiKey{}
		if err := admin.Get(ctx, client.ObjectKeyFromObject(k), found); err != nil {
			return "", StopTrying(err.Error())
		}
		if c := meta.FindStatusCondition(found.Status.Conditions, v1alpha1.ConditionRevoking); c != nil && c.Status == metav1.ConditionTrue {
			return c.Message, nil
		}
		return "", nil
	}, patience, interval).Should(ContainSubstring(lease), "the condition Revoking of %s", k.Name)
}
