// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionreviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var _ = Describe("A Secret that the apiserver refuses", func() {
	It("for a quota is tried again until there is room", func(ctx SpecContext) {
		org := newOrg(ctx)
		quota := &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Namespace: org.Name, Name: "no-secrets"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceSecrets: resource.MustParse("0")}},
		}
		Expect(admin.Create(ctx, quota)).To(Succeed())
		awaitRefusal(ctx, org.Name)

		k := await(ctx, createKey(ctx, org), haveReason(v1alpha1.ReasonSecretRejected), beStalled(v1alpha1.ReasonSecretRejected))
		Expect(readyCondition(k).Message).To(And(HavePrefix("The apiserver refused the Secret: "), ContainSubstring("exceeded quota: no-secrets")))
		Expect(k.Status.Hash).To(BeEmpty())
		awaitEvent(ctx, k, v1alpha1.ReasonSecretRejected)

		tries := op.wire.count(http.MethodPost, secretsPath(org.Name))
		Eventually(ctx, func() int { return op.wire.count(http.MethodPost, secretsPath(org.Name)) }).Should(BeNumerically(">=", tries+3))
		Expect(fetch(ctx, k).ResourceVersion).To(Equal(k.ResourceVersion), "the same refusal is no news")
		Expect(eventsOf(ctx, k)[v1alpha1.ReasonSecretRejected]).To(HaveExactElements(HaveField("Series", BeNil())))

		Expect(admin.Delete(ctx, quota)).To(Succeed())
		k = await(ctx, k, haveReason(v1alpha1.ReasonActive), lackCondition(v1alpha1.ConditionStalled))
		Expect(k.Status.Hash).To(Equal(hashIn(secretOf(ctx, k))))
	})

	DescribeTable("with a message that quotes it gives no key away:", func(ctx SpecContext, refuse refusal, redacted string) {
		org := newOrg(ctx)
		lift := refuse(ctx, org.Name)
		k := await(ctx, createKey(ctx, org), haveReason(v1alpha1.ReasonSecretRejected))
		Expect(readyCondition(k).Message).To(ContainSubstring(redacted))
		Expect(keyPattern.FindString(readyCondition(k).Message)).To(BeEmpty())
		Expect(awaitEvent(ctx, k, v1alpha1.ReasonSecretRejected).Note).To(ContainSubstring(redacted))
		Expect(said.lines(0, k.Name, "SecretRejected")).NotTo(BeEmpty())
		// Whatever is left of the key in status, events or the log, the ledger finds.
		lift()
		awaitReason(ctx, k, v1alpha1.ReasonActive)
	},
		Entry("a policy, in base64", byPolicy(`"no " + object.data.LMP_API_KEY + "!"`), "no [redacted]!"),
		Entry("a policy, more than once", byPolicy(`"no " + object.data.LMP_API_KEY + object.data.LMP_API_KEY + "!"`), "no [redacted][redacted]!"),
		Entry("a webhook, in clear", byWebhook(func(key string, _ []byte) string { return "no " + key + "!" }), "no [redacted]!"),
		Entry("a webhook, the whole object", byWebhook(func(_ string, object []byte) string { return string(object) }), `"LMP_API_KEY":"[redacted]"`),
	)

	It("with more to say than an event can hold is told of, cut short", func(ctx SpecContext) {
		org := newOrg(ctx)
		byPolicy(`["`+strings.Repeat("ü", 700)+`"].join()`)(ctx, org.Name)
		k := await(ctx, createKey(ctx, org), haveReason(v1alpha1.ReasonSecretRejected))
		Expect(readyCondition(k).Message).To(HaveSuffix("ü…"))
		Expect(awaitEvent(ctx, k, v1alpha1.ReasonSecretRejected).Note).To(Equal(readyCondition(k).Message))
	})
})

var _ = Describe("A webhook that is down", func() {
	DescribeTable("is told of in status and by an event, dated now, and is no matter once it is up again:", func(ctx SpecContext, resource, group, says string) {
		org := newOrg(ctx)
		before := metav1.Now()
		lift := byNobody(ctx, org.Name, resource, group)
		k := await(ctx, createKey(ctx, org), haveCondition(v1alpha1.ConditionReady, "Unknown", v1alpha1.ReasonRetrying))
		ready := readyCondition(k)
		Expect(ready.Status).To(Equal(metav1.ConditionUnknown))
		Expect(ready.Message).To(And(HavePrefix(says), ContainSubstring("nobody.example.com"), HaveSuffix("It is tried again within half a minute")))
		Expect(ready.LastTransitionTime.Time).To(BeTemporally(">=", before.Truncate(time.Second)))
		Expect(keyPattern.FindString(ready.Message)).To(BeEmpty())
		Expect(awaitEvent(ctx, k, v1alpha1.ReasonRetrying).Note).To(Equal(ready.Message))
		lift()
		await(ctx, k, haveReason(v1alpha1.ReasonActive), lackCondition(v1alpha1.ConditionStalled))
	},
		Entry("that of Secrets", "secrets", "", "create Secret: "),
		Entry("that of ApiKeys", "apikeys", "letmepost.dev", "put the finalizer on: "),
	)
})

// byNobody has a webhook asked about what is written to a resource in a namespace, at an address where nobody is.
func byNobody(ctx context.Context, namespace, resource, group string) (lift func()) {
	GinkgoHelper()
	nowhere := "https://127.0.0.1:1/"
	webhook := &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "nobody.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: new(admissionv1.SideEffectClassNone),
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{map[string]admissionv1.OperationType{"secrets": admissionv1.Create, "apikeys": admissionv1.Update}[resource]},
				Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: []string{resource}},
			}},
			NamespaceSelector: only(namespace),
			ClientConfig:      admissionv1.WebhookClientConfig{URL: &nowhere},
		}},
	}
	lift = func() { Expect(client.IgnoreNotFound(admin.Delete(context.Background(), webhook))).To(Succeed()) }
	DeferCleanup(lift)
	Expect(admin.Create(ctx, webhook)).To(Succeed())
	probe := keyIn(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, withHash(newHash()))
	if resource == "apikeys" {
		Expect(admin.Create(ctx, probe)).To(Succeed())
	}
	Eventually(ctx, func() error { // the apiserver takes a moment to hear of it
		if resource == "apikeys" {
			return admin.Patch(ctx, probe, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`)), client.DryRunAll)
		}
		return admin.Create(ctx, foreignSecret(namespace, "probe"), client.DryRunAll)
	}).Should(Satisfy(apierrors.IsInternalError))
	return lift
}

// refusal makes the apiserver refuse every Secret of a namespace, and returns when it does. Its result ends that.
type refusal func(ctx context.Context, namespace string) (lift func())

// byPolicy refuses with what a CEL expression makes of the Secret.
func byPolicy(expression string) refusal {
	return func(ctx context.Context, namespace string) func() {
		GinkgoHelper()
		policy := &admissionv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: namespace},
			Spec: admissionv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: &admissionv1.MatchResources{
					ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: creationOfSecrets()}},
				},
				Validations: []admissionv1.Validation{{Expression: "false", MessageExpression: expression, Message: "the expression failed"}},
			},
		}
		binding := &admissionv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: namespace},
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
				MatchResources: &admissionv1.MatchResources{NamespaceSelector: only(namespace)},
			},
		}
		return install(ctx, namespace, policy, binding)
	}
}

// byWebhook refuses with what a function makes of the key in the Secret, and of the Secret in JSON.
func byWebhook(message func(key string, object []byte) string) refusal {
	return func(ctx context.Context, namespace string) func() {
		GinkgoHelper()
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			var review admissionreviewv1.AdmissionReview
			var s corev1.Secret
			if json.NewDecoder(req.Body).Decode(&review) != nil || json.Unmarshal(review.Request.Object.Raw, &s) != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			review.Response = &admissionreviewv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{
				Message: message(string(s.Data[v1alpha1.SecretKeyAPIKey]), review.Request.Object.Raw),
			}}
			_ = json.NewEncoder(w).Encode(review)
		}))
		DeferCleanup(server.Close)
		return install(ctx, namespace, &admissionv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: namespace},
			Webhooks: []admissionv1.ValidatingWebhook{{
				Name: "quote.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: new(admissionv1.SideEffectClassNone),
				Rules: []admissionv1.RuleWithOperations{creationOfSecrets()}, NamespaceSelector: only(namespace),
				ClientConfig: admissionv1.WebhookClientConfig{
					URL:      &server.URL,
					CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
				},
			}},
		})
	}
}

func creationOfSecrets() admissionv1.RuleWithOperations {
	return admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
	}
}

func only(namespace string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
}

// install creates what refuses, waits until it does, and returns what removes it.
func install(ctx context.Context, namespace string, objects ...client.Object) (lift func()) {
	GinkgoHelper()
	lift = func() { // with a context of its own, since it also runs when the spec's has ended
		for _, object := range objects {
			Expect(client.IgnoreNotFound(admin.Delete(context.Background(), object))).To(Succeed())
		}
	}
	DeferCleanup(lift)
	for _, object := range objects {
		Expect(admin.Create(ctx, object)).To(Succeed())
	}
	awaitRefusal(ctx, namespace)
	return lift
}

// awaitRefusal waits until the apiserver refuses Secrets: quotas and policies take a moment to be heard of.
func awaitRefusal(ctx context.Context, namespace string) {
	GinkgoHelper()
	Eventually(ctx, func() error {
		s := foreignSecret(namespace, "probe")
		s.Data[v1alpha1.SecretKeyAPIKey] = []byte("probe")
		return admin.Create(ctx, s, client.DryRunAll)
	}).Should(Satisfy(func(err error) bool {
		return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
	}))
}
