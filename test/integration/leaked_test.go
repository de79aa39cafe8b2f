// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// reportTo reports a key to a replica, from an address of its own if the replica believes in that.
func reportTo(ctx context.Context, s *seat, plaintext, from string) error {
	return reportBy(ctx, httpClient, s, plaintext, from)
}

func reportBy(ctx context.Context, by *http.Client, s *seat, plaintext, from string) error {
	at, _, _ := strings.Cut(s.url, "/demand/")
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at+leak.Path,
		strings.NewReader(url.Values{"token": {plaintext}}.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Forwarded-For", from)
	response, err := by.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 200 || string(body) != `{"status":"received"}`+"\n" {
		return fmt.Errorf("report: %d %s, %w", response.StatusCode, body, err)
	}
	return nil
}

// refusedBy waits until a replica refuses a key.
func refusedBy(ctx SpecContext, s *seat, k *subject) {
	GinkgoHelper()
	Eventually(ctx, s.status(ctx, "/v1/whoami", k), patience, interval).Should(Equal(http.StatusUnauthorized), s.String())
}

var _ = Describe("A key that is reported as leaked", func() {
	It("is dead at once where it is reported, and then everywhere, whatever becomes of that replica", func(ctx SpecContext) {
		startController(ctx)
		api := seats(ctx, 2, "--trusted-proxies", "127.0.0.1/32")
		gate := gateSeats(ctx, 1)[0]
		replicas := append(slices.Clone(api), gate)
		namespace := newNamespace(ctx)
		subjects := mintMany(ctx, namespace, 24)
		awaitServed(ctx, urlsOf(replicas), subjects)
		goneKey := func(k *subject) {
			GinkgoHelper()
			Eventually(ctx, func() (left int, err error) {
				keys := &v1alpha1.ApiKeyList{}
				err = admin.List(ctx, keys, client.InNamespace(namespace))
				return len(slices.DeleteFunc(keys.Items, func(o v1alpha1.ApiKey) bool { return o.UID != k.UID })), err
			}, patience, interval).Should(BeZero())
		}

		By("reported to a gate")
		Expect(reportTo(ctx, gate, subjects[0].plaintext, "")).To(Succeed())
		Expect(decided(ctx, gate.status(ctx, "/v1/whoami", subjects[0]))).To(Equal(http.StatusUnauthorized))

		By("reported among very many that nobody has")
		var flood errgroup.Group
		flood.SetLimit(200)
		for i := range 2000 {
			flood.Go(func() error {
				return reportTo(ctx, api[i%2], newKey(key.Live), fmt.Sprintf("10.0.%d.%d", i/250, i%250))
			})
			if i%100 == 0 {
				k := subjects[1+i/100] // 1 to 20
				flood.Go(func() error { return reportTo(ctx, api[i/100%2], k.plaintext, fmt.Sprintf("10.1.0.%d", i/100)) })
			}
		}
		Expect(flood.Wait()).To(Succeed())

		By("reported, and brought again by its hash each time that it is applied")
		plaintext := newKey(key.Live)
		for n := range 3 {
			again := &subject{ApiKey: apiKey(namespace, "gitops"), plaintext: plaintext}
			again.Spec.SecretHash = key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(namespace)).String()
			Expect(admin.Create(ctx, again.ApiKey)).To(Succeed())
			if n == 0 {
				awaitServed(ctx, urlsOf(replicas), []*subject{again})
				Expect(reportTo(ctx, gate, plaintext, "")).To(Succeed())
			}
			Eventually(ctx, func() (string, error) {
				err := admin.Get(ctx, client.ObjectKeyFromObject(again.ApiKey), again.ApiKey)
				if ready := meta.FindStatusCondition(again.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
					return ready.Reason, err
				}
				return "", err
			}, patience, interval).Should(Equal(v1alpha1.ReasonLeaked))
			for _, s := range replicas {
				if n == 0 {
					refusedBy(ctx, s, again)
				}
				Expect(s.status(ctx, "/v1/whoami", again)()).NotTo(Equal(http.StatusOK), s.String())
			}
			Expect(admin.Delete(ctx, again.ApiKey)).To(Succeed())
			Eventually(ctx, func() error {
				return admin.Get(ctx, client.ObjectKeyFromObject(again.ApiKey), &v1alpha1.ApiKey{})
			}, patience, interval).Should(MatchError(apierrors.IsNotFound, "is not there"))
		}

		By("reported while the apiserver is away")
		away := subjects[21]
		api[0].proxy.SetMode(kube.Refuse)
		Expect(reportTo(ctx, api[0], away.plaintext, "10.2.0.1")).To(Succeed())
		Expect(api[0].status(ctx, "/v1/whoami", away)()).To(Or(Equal(http.StatusUnauthorized), Equal(http.StatusServiceUnavailable)))
		Expect(decided(ctx, api[1].status(ctx, "/v1/whoami", away))).To(Equal(http.StatusOK))
		api[0].proxy.SetMode(kube.Pass)

		By("reported to a replica that is killed as soon as it has answered")
		killed := subjects[22]
		Expect(reportTo(ctx, api[1], killed.plaintext, "10.2.0.2")).To(Succeed())
		api[1].kill()
		for _, k := range subjects[:23] {
			refusedBy(ctx, api[0], k)
			refusedBy(ctx, gate, k)
			goneKey(k)
		}
		Expect(decided(ctx, gate.status(ctx, "/v1/whoami", subjects[23]))).To(Equal(http.StatusOK), "nobody has reported it")
		leaked := &v1alpha1.LeakedKeyList{}
		Expect(admin.List(ctx, leaked)).To(Succeed())
		Expect(slices.DeleteFunc(leaked.Items, func(l v1alpha1.LeakedKey) bool { return l.Spec.ApiKeyNamespace != namespace })).To(HaveLen(24))
	}, SpecTimeout(4*patience))
})
