// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

// A shape is what an ApiKey asks for its Secret to be.
type shape func(k *v1alpha1.ApiKey)

// shaped creates an ApiKey of the test environment whose Secret is as a test wants it.
func shaped(change shape) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		k := apiKey(namespace, "lmp-new", v1alpha1.EnvironmentTest)
		change(k)
		return c.Create(ctx, k, client.DryRunAll)
	}
}

// stored is the controller's creation of the Secret of such an ApiKey.
func stored(change shape) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		k := apiKey(namespace, "lmp-new", v1alpha1.EnvironmentTest)
		k.UID = "0000"
		change(k)
		return c.Create(ctx, keysecret.Encode(k, "lmp_test_x", "http://api"), client.DryRunAll)
	}
}

func named(secret string) shape { return func(k *v1alpha1.ApiKey) { k.Spec.SecretName = secret } }

func called(name string) shape { return func(k *v1alpha1.ApiKey) { k.Name = name } }

func generated(k *v1alpha1.ApiKey) { k.Name, k.GenerateName = "", "x-" }

func labelled(label, value string) shape {
	return func(k *v1alpha1.ApiKey) {
		k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Labels: map[string]v1alpha1.LabelValue{label: v1alpha1.LabelValue(value)}}
	}
}

func annotated(annotation, value string) shape {
	return func(k *v1alpha1.ApiKey) {
		k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{
			Annotations: map[string]v1alpha1.AnnotationValue{annotation: v1alpha1.AnnotationValue(value)},
		}
	}
}

func brought(k *v1alpha1.ApiKey) {
	k.Name, k.Spec.SecretHash = "x-tls", "bound:"+strings.Repeat("0", 32)+":"+strings.Repeat("0", 32)
}

// namer has the permission to create apikeys/secrets and test keys, and no other.
const namer = "namer"

// shapes are what is asked for, and what is said to whoever may not create Secrets: "" if they may have it. Which ones
// nobody may have is what the controller says.
var shapes = []struct {
	reason string
	shape  shape
	says   string
}{
	{"a kept name", named("lmp-ci"), ""},
	{"none, for a key that is brought along", brought, ""},
	{"the name that others wait for", named("x-tls"), "may not have a Secret x-tls minted in namespace"},
	{"the same, told what to do", named("x-tls"), "Set spec.secretName to a name that begins with lmp-, or ask an administrator"},
	{"the same, by the ApiKey's name", called("x-tls"), "may not have a Secret x-tls minted"},
	{"a generated name", generated, "may not have a Secret x-"},
	{"a name of Helm's", named("sh.helm.release.v1.x.v1"), "may not have a Secret sh.helm.release.v1.x.v1 minted"},
	{"a name of Helm's, by the ApiKey's", called("sh.helm.release.v1.x.v1"), "may not have a Secret sh.helm.release.v1.x.v1 minted"},
	{"a team", labelled("team", "rockets"), "may not choose labels and annotations"},
	{"a recommended label", labelled("app.kubernetes.io/part-of", "shop"), "may not choose labels and annotations"},
	{"a backup's label", labelled("velero.io/exclude-from-backup", "true"), "may not choose labels and annotations"},
	{"an owner", labelled("owner", "rockets"), "may not choose labels and annotations"},
	{"a mirror's annotation", annotated("replicator.v1.mittwald.de/replicate-to", "kube-system"), "may not choose labels and annotations"},
	{"another mirror's", annotated("reflector.v1.k8s.emberstack.com/reflection-auto-enabled", "true"), "may not choose labels and annotations"},
	{"Helm, as owner", labelled("owner", "helm"), "may not choose labels and annotations"},
	{"Helm's adoption", annotated("meta.helm.sh/release-name", "x"), "may not choose labels and annotations"},
	{"a cluster of Argo CD", labelled("argocd.argoproj.io/secret-type", "cluster"), "may not choose labels and annotations"},
	{"a ServiceAccount", annotated("kubernetes.io/service-account.name", "default"), "may not choose labels and annotations"},
	{"what kubectl apply --prune removes", labelled("applyset.kubernetes.io/part-of", "x"), "may not choose labels and annotations"},
	{"a subproject's", annotated("kustomize.config.k8s.io/x", "x"), "may not choose labels and annotations"},
}

var _ = Describe("Names and metadata of minted Secrets", func() {
	It("are for those who may create Secrets, and some for nobody", func(ctx context.Context) {
		install(ctx, renderRules(ctx, nil))
		namespace := newStage(ctx)
		bindNamer(ctx, namespace)
		awaitPolicies(ctx, namespace)
		Eventually(ctx, creating(v1alpha1.EnvironmentTest)).WithArguments(as(namer), namespace).Should(Succeed())
		for _, row := range shapes {
			k := apiKey(namespace, "lmp-new", v1alpha1.EnvironmentTest)
			row.shape(k)
			reserved := k.Spec.SecretHash == "" && keysecret.Reserved(k) != ""
			for _, who := range []string{"letmepost-apikey-test-minter", "letmepost-apikey-minter"} {
				err := shaped(row.shape)(ctx, as(who), namespace)
				if row.says == "" {
					Expect(err).NotTo(HaveOccurred(), "%s, with %s", row.reason, who)
					continue
				}
				Expect(err).To(MatchError(ContainSubstring(row.says)), "%s, with %s", row.reason, who)
				Expect(apierrors.IsForbidden(err)).To(BeTrue(), "403: %v", err)
			}
			for _, who := range []string{namer, "edit", clusterAdmin, masters} {
				err := shaped(row.shape)(ctx, as(who), namespace)
				Expect(err != nil).To(Equal(reserved), "%s, with %s: %v", row.reason, who, err)
				if reserved {
					Expect(err).To(MatchError(Or(ContainSubstring("Choose another spec.secretName."), ContainSubstring("Leave it out of spec.secretTemplate."))))
				}
			}
			if k.Name != "" && k.Spec.SecretHash == "" {
				err := stored(row.shape)(ctx, as(controllerUser), namespace)
				Expect(err != nil).To(Equal(reserved), "%s, by the controller: %v", row.reason, err)
			}
		}
		By("of keys that exist already, which are changed and deleted as ever")
		Expect(labelling(ctx, as("edit"), namespace)).To(Succeed())
	}, SpecTimeout(2*patience))

	It("leave keys alone that were there before", func(ctx context.Context) {
		namespace := newOrganization(ctx)
		old := apiKey(namespace, aKey, v1alpha1.EnvironmentTest)
		labelled("owner", "helm")(old)
		Eventually(ctx, func() error { return admin.Create(ctx, old) }).Should(Succeed(), "no policy of another spec is left")
		install(ctx, renderRules(ctx, nil))
		invite(ctx, namespace)
		Expect(admin.Create(ctx, &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: aProfile}})).To(Succeed())
		awaitPolicies(ctx, namespace)
		Expect(labelling(ctx, as("edit"), namespace)).To(Succeed())
		Expect(patchingKeyStatus(ctx, as(controllerUser), namespace)).To(Succeed())
		Expect(deleting(ctx, as("edit"), namespace)).To(Succeed())
	}, SpecTimeout(2*patience))
})

// bindNamer makes a role as the chart's page describes it.
func bindNamer(ctx context.Context, namespace string) {
	GinkgoHelper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: namer}
	Expect(admin.Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"apikeys", "apikeys/secrets"}, Verbs: []string{"create"},
	}}})).To(Succeed())
	Expect(admin.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: namer},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: namer}},
	})).To(Succeed())
}
