// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

// request is a real one: what is promised of RBAC is proved with the requests themselves.
type request struct {
	what  string
	allow bool
	send  func(SpecContext, client.WithWatch, rbacObjects) error
}

// rbacObjects are what the requests are about. All of them exist.
type rbacObjects struct {
	key       *v1alpha1.ApiKey
	profile   *v1alpha1.Profile
	secret    *corev1.Secret
	namespace *corev1.Namespace
	leader    *coordinationv1.Lease
}

// newReplica is the Lease of a live replica.
func newReplica() *coordinationv1.Lease {
	l := newLease("letmepost-api-live-new")
	l.Labels = map[string]string{v1alpha1.LabelReplica: "live"}
	return l
}

func newLease(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name}}
}

var mergePatch = client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))

// both are requests that are answered alike to either account.
var both = []request{
	{"list apikeys of all organizations", true, listing(&v1alpha1.ApiKeyList{})},
	{"watch apikeys of all organizations", true, watching(&v1alpha1.ApiKeyList{})},
	{"list profiles of all organizations", true, listing(&v1alpha1.ProfileList{})},
	{"watch profiles of all organizations", true, watching(&v1alpha1.ProfileList{})},
	{"list secrets of all organizations", false, listing(&corev1.SecretList{})},
	{"list secrets of one organization", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
		return c.List(ctx, &corev1.SecretList{}, client.InNamespace(o.secret.Namespace))
	}},
	{"list one secret by its name", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
		return c.List(ctx, &corev1.SecretList{}, client.InNamespace(o.secret.Namespace), client.MatchingFields{"metadata.name": o.secret.Name})
	}},
	{"watch secrets of all organizations", false, watching(&corev1.SecretList{})},
	{"update a secret", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error { return c.Update(ctx, o.secret) }},
	{"patch a secret", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
		return c.Patch(ctx, o.secret, mergePatch)
	}},
	{"delete a secret", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error { return c.Delete(ctx, o.secret) }},
	{"delete all secrets", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
		return c.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(o.secret.Namespace))
	}},
	{"create an apikey", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
		return c.Create(ctx, apiKey(o.key.Namespace, "another"))
	}},
	{"update an apikey", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error { return c.Update(ctx, o.key) }},
	{"update an apikey's status", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error { return c.Status().Update(ctx, o.key) }},
	{"patch a profile", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
		return c.Patch(ctx, o.profile, mergePatch)
	}},
	{"list namespaces", false, listing(&corev1.NamespaceList{})},
	{"list pods", false, listing(&corev1.PodList{})},
	{"list configmaps", false, listing(&corev1.ConfigMapList{})},
	{"create a replica's lease", true, func(ctx SpecContext, c client.WithWatch, _ rbacObjects) error {
		return c.Create(ctx, newReplica())
	}},
	{"patch a replica's lease", true, func(ctx SpecContext, c client.WithWatch, _ rbacObjects) error {
		return c.Patch(ctx, newReplica(), mergePatch)
	}},
	{"delete a replica's lease", true, func(ctx SpecContext, c client.WithWatch, _ rbacObjects) error {
		return c.Delete(ctx, newReplica())
	}},
	{"delete all leases", false, func(ctx SpecContext, c client.WithWatch, _ rbacObjects) error {
		return c.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(systemNamespace))
	}},
	{"read the leases of others", false, func(ctx SpecContext, c client.WithWatch, _ rbacObjects) error {
		return c.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: "kube-controller-manager"}, &coordinationv1.Lease{})
	}},
}

// ofAPI and ofController are those that tell the two apart.
var ofAPI, ofController = apart(false), apart(true)

func apart(controller bool) []request {
	return []request{
		{"get an apikey", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Get(ctx, client.ObjectKeyFromObject(o.key), &v1alpha1.ApiKey{})
		}},
		{"patch an apikey", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Patch(ctx, o.key, mergePatch)
		}},
		{"patch an apikey's status", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Status().Patch(ctx, o.key, client.RawPatch(types.MergePatchType, []byte(`{"status":{"observedGeneration":1}}`)))
		}},
		{"list the replicas' leases", controller, func(ctx SpecContext, c client.WithWatch, _ rbacObjects) error {
			return c.List(ctx, &coordinationv1.LeaseList{}, client.InNamespace(systemNamespace))
		}},
		{"read the leader's lease", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Get(ctx, client.ObjectKeyFromObject(o.leader), o.leader)
		}},
		{"patch the leader's lease", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Patch(ctx, o.leader, mergePatch)
		}},
		{"delete the leader's lease", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Delete(ctx, o.leader)
		}},
		{"create a lease that is no replica's", controller, func(ctx SpecContext, c client.WithWatch, _ rbacObjects) error {
			return c.Create(ctx, newLease("another-controller"))
		}},
		{"get a secret", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Get(ctx, client.ObjectKeyFromObject(o.secret), &corev1.Secret{})
		}},
		{"create a minted secret", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			minted := keysecret.Encode(o.key, "lmp_live_"+strings.Repeat("x", 38), "http://api")
			minted.Name = "another"
			return c.Create(ctx, minted)
		}},
		{"create another secret", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.secret.Namespace, Name: "another"}})
		}},
		{"get a namespace", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Get(ctx, client.ObjectKeyFromObject(o.namespace), &corev1.Namespace{})
		}},
		{"create an event of the old kind", false, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error {
			return c.Create(ctx, &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Namespace: o.key.Namespace, Name: "an-event"},
				InvolvedObject: corev1.ObjectReference{Namespace: o.key.Namespace, Name: o.key.Name},
			})
		}},
		// Of keys that have leaked. The last of all: the key is gone then.
		{"delete an apikey", controller, func(ctx SpecContext, c client.WithWatch, o rbacObjects) error { return c.Delete(ctx, o.key) }},
	}
}

func listing(of client.ObjectList) func(SpecContext, client.WithWatch, rbacObjects) error {
	return func(ctx SpecContext, c client.WithWatch, _ rbacObjects) error {
		return c.List(ctx, of.DeepCopyObject().(client.ObjectList))
	}
}

func watching(of client.ObjectList) func(SpecContext, client.WithWatch, rbacObjects) error {
	return func(ctx SpecContext, c client.WithWatch, _ rbacObjects) error {
		w, err := c.Watch(ctx, of.DeepCopyObject().(client.ObjectList))
		if err == nil {
			w.Stop()
		}
		return err
	}
}

var _ = Describe("The real apiserver", func() {
	for account, requests := range map[string][]request{liveAccount: slices.Concat(both, ofAPI), controllerAccount: slices.Concat(both, ofController)} {
		It("refuses what "+account+" may not do", func(ctx SpecContext) {
			objects := newRBACObjects(ctx)
			c, err := client.NewWithWatch(configOf(account), client.Options{Scheme: admin.Scheme()})
			Expect(err).NotTo(HaveOccurred())
			for _, r := range requests {
				err := r.send(ctx, c, objects)
				if r.allow {
					Expect(err).NotTo(HaveOccurred(), r.what)
				} else {
					Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%s: %v", r.what, err)
				}
			}
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(objects.secret), objects.secret)).To(Succeed(), "it is still there")
			Expect(objects.secret.Labels).To(BeEmpty())
		}, SpecTimeout(2*patience))
	}
})

func newRBACObjects(ctx SpecContext) rbacObjects {
	GinkgoHelper()
	namespace := newNamespace(ctx)
	o := rbacObjects{
		key:       apiKey(namespace, "a-key"),
		profile:   &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "a-profile"}},
		secret:    &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "a-secret"}},
		namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		leader:    newLease("letmepost-controller"),
	}
	Expect(client.IgnoreNotFound(admin.Delete(ctx, newLease("another-controller")))).To(Succeed())
	Expect(client.IgnoreAlreadyExists(admin.Create(ctx, o.leader.DeepCopy()))).To(Succeed())
	for _, object := range []client.Object{o.key, o.profile, o.secret} {
		Expect(admin.Create(ctx, object)).To(Succeed())
	}
	return o
}

// configOf is the client configuration of one of our ServiceAccounts.
func configOf(account string) *rest.Config {
	GinkgoHelper()
	config, err := clientcmd.BuildConfigFromFlags("", credentials(account))
	Expect(err).NotTo(HaveOccurred())
	config.QPS = -1
	return config
}
