// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

var ignoreServerSide = cmpopts.IgnoreFields(metav1.ObjectMeta{}, "UID", "ResourceVersion", "CreationTimestamp", "ManagedFields")

var _ = Describe("Minting", func() {
	DescribeTable("puts a key into a Secret, and its hash into status", func(ctx SpecContext, environment v1alpha1.Environment, prefix string) {
		org := newOrg(ctx)
		before := time.Now().Truncate(time.Second)
		k := mintKey(ctx, org, func(k *v1alpha1.ApiKey) { k.Spec.Environment = environment })

		s := secretOf(ctx, k)
		plaintext := string(s.Data[v1alpha1.SecretKeyAPIKey])
		yes := true
		want := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: org.Name, Name: k.Name,
				Labels: map[string]string{"app.kubernetes.io/managed-by": "letmepost-operator"},
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: "letmepost.dev/v1alpha1", Kind: "ApiKey", Name: k.Name, UID: k.UID, Controller: &yes,
				}},
			},
			Immutable: &yes,
			Type:      "letmepost.dev/api-key",
			Data: map[string][]byte{
				"LMP_API_KEY": []byte(plaintext), "LMP_BASE_URL": []byte(baseURLs[environment]), "type": []byte("letmepost"),
			},
		}
		Expect(cmp.Diff(want, s, ignoreServerSide)).To(BeEmpty())
		Expect(plaintext).To(MatchRegexp(`^` + prefix + `[0-9A-Za-z]{38}$`))
		Expect(format.Parse(plaintext)).To(BeEquivalentTo(environment))

		mintedAt := k.Status.MintedAt
		Expect(mintedAt.Time).To(BeTemporally("~", before, 30*time.Second))
		wantStatus := v1alpha1.ApiKeyStatus{
			Hash: hashIn(s), Hint: prefix + "…" + plaintext[len(plaintext)-4:], OrganizationID: string(org.UID),
			MintedAt: mintedAt, Binding: &v1alpha1.Binding{Name: k.Name}, ObservedGeneration: 1,
			Conditions: []metav1.Condition{
				{Type: "Ready", Status: "True", Reason: "Active", Message: "The key is served", ObservedGeneration: 1},
				{Type: "SecretAvailable", Status: "True", Reason: "SecretCreated", Message: "Secret " + k.Name + " holds the key", ObservedGeneration: 1},
			},
		}
		Expect(cmp.Diff(wantStatus, k.Status, cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime"))).To(BeEmpty())
		for _, c := range k.Status.Conditions {
			Expect(c.LastTransitionTime.Time).To(BeTemporally("~", before, 30*time.Second), c.Type)
		}
	},
		Entry("of a live key", v1alpha1.EnvironmentLive, "lmp_live_"),
		Entry("of a test key", v1alpha1.EnvironmentTest, "lmp_test_"),
	)

	It("takes one write of a Secret, one of status, and one event; looking again takes none", func(ctx SpecContext) {
		k := mintKey(ctx, newOrg(ctx))
		minted := awaitEvent(ctx, k, "Minted")
		awaitLooks(ctx, k, 5)

		Expect(op.wire.count(http.MethodPost, secretsPath(k.Namespace))).To(Equal(1))
		Expect(op.wire.count(http.MethodPatch, statusPath(k))).To(Equal(1))
		Expect(fetch(ctx, k).ResourceVersion).To(Equal(k.ResourceVersion))
		all := eventsOf(ctx, k)
		Expect(all).To(HaveLen(1))
		Expect(all["Minted"]).To(HaveLen(1))
		Expect(all["Minted"][0].Series).To(BeNil(), "the event was repeated")
		Expect(minted.Type).To(Equal(corev1.EventTypeNormal))
		Expect(minted.ReportingController).To(Equal("letmepost-controller"))
		Expect(minted.Note).To(Equal("Minted " + k.Status.Hint + " into Secret " + k.Name))
	})

	It("follows secretName and secretTemplate, but for managed-by", func(ctx SpecContext) {
		k := mintKey(ctx, newOrg(ctx), func(k *v1alpha1.ApiKey) {
			k.Spec.SecretName = "website-credentials"
			k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{
				Labels:      map[string]v1alpha1.LabelValue{"example.com/team": "growth", "app.kubernetes.io/managed-by": "somebody-else"},
				Annotations: map[string]v1alpha1.AnnotationValue{"example.com/contact": "growth@example.com"},
			}
		})
		s := secretOf(ctx, k)
		Expect(s.Name).To(Equal("website-credentials"))
		Expect(s.Labels).To(Equal(map[string]string{"example.com/team": "growth", "app.kubernetes.io/managed-by": "letmepost-operator"}))
		Expect(s.Annotations).To(Equal(map[string]string{"example.com/contact": "growth@example.com"}))
		Expect(k.Status.Binding).To(Equal(&v1alpha1.Binding{Name: "website-credentials"}))
		Expect(k.Status.Hash).To(Equal(hashIn(s)))
	})

	It("makes no Secret that other programs would take for theirs, and adopts one that is there", func(ctx SpecContext) {
		org := newOrg(ctx)
		helms := func(k *v1alpha1.ApiKey) {
			k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Labels: map[string]v1alpha1.LabelValue{"owner": "helm"}}
		}
		k := await(ctx, createKey(ctx, org, helms), haveReason(v1alpha1.ReasonSecretRejected), beStalled(v1alpha1.ReasonSecretRejected))
		Expect(readyCondition(k).Message).To(ContainSubstring("other programs act on owner. Leave it out of secretTemplate"))
		awaitEvent(ctx, k, v1alpha1.ReasonSecretRejected)
		Expect(op.wire.count(http.MethodPost, secretsPath(org.Name))).To(BeZero())

		By("with one that a controller has made before there was this rule")
		op.stop()
		k = createKey(ctx, org, helms)
		plaintext, err := format.Mint(rand.Reader, key.Environment(k.Spec.Environment))
		Expect(err).NotTo(HaveOccurred())
		Expect(admin.Create(ctx, keysecret.Encode(k, plaintext, ""))).To(Succeed())
		op = startOperator()
		k = awaitReason(ctx, k, v1alpha1.ReasonActive)
		Expect(k.Status.Hash).To(Equal(hashIn(secretOf(ctx, k))))
	})

	It("gives every key another secret", func(ctx SpecContext) {
		org := newOrg(ctx)
		Expect(hashIn(secretOf(ctx, mintKey(ctx, org)))).NotTo(Equal(hashIn(secretOf(ctx, mintKey(ctx, org)))))
	})

	It("minds a name as long as a name can be", func(ctx SpecContext) {
		k := mintKey(ctx, newOrg(ctx), func(k *v1alpha1.ApiKey) {
			for len(k.Name) < 253 {
				k.Name += "x"
			}
		})
		Expect(k.Status.Hash).To(Equal(hashIn(secretOf(ctx, k))))
		awaitEvent(ctx, k, "Minted")
	})
})

var _ = Describe("A key brought by hash", func() {
	It("is served, and nothing is minted", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		k := mintKey(ctx, org, withHash(hash), func(k *v1alpha1.ApiKey) { k.Spec.Environment = v1alpha1.EnvironmentTest })
		want := v1alpha1.ApiKeyStatus{
			Hash: hash, Hint: "lmp_test_…", OrganizationID: string(org.UID), MintedAt: k.Status.MintedAt, ObservedGeneration: 1,
			Conditions: []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Active", Message: "The key is served", ObservedGeneration: 1}},
		}
		Expect(cmp.Diff(want, k.Status, cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime"))).To(BeEmpty())
		awaitEvent(ctx, k, "HashTaken")
		Expect(op.wire.count(http.MethodPost, secretsPath(org.Name))).To(BeZero())
		Expect(op.wire.count(http.MethodGet, secretPath(org.Name, k.Name))).To(BeZero())
		var secrets corev1.SecretList
		Expect(admin.List(ctx, &secrets, inNamespace(org))).To(Succeed())
		Expect(secrets.Items).To(BeEmpty())
	})
})
