// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// The proxies are real; each is configured as docs/examples/guard says.
var _ = Describe("A service behind a proxy that asks the gate", func() {
	for _, name := range slices.Sorted(maps.Keys(proxies)) {
		p := proxies[name]
		It("is reached by those alone who may pass: "+name, func(ctx SpecContext) {
			startController(ctx)
			api := startAPI(ctx, "live")
			gate, cut := launchGate(ctx)
			upstream := newService()
			url := p.guard(ctx, gate, upstream.URL)
			namespace := newNamespace(ctx)
			good := mint(ctx, namespace, "good")
			ask := func(headers ...string) (int, http.Header, string) { return askProxy(ctx, url, headers...) }
			// answered waits for an answer, which may be another one while the machine stands still, and the gate is fenced.
			answered := func(want int, reason string, headers ...string) (header http.Header, told string) {
				GinkgoHelper()
				Eventually(ctx, func() (status int) {
					status, header, told = ask(headers...)
					return status
				}, patience, interval).Should(Equal(want), reason)
				return header, told
			}

			By("good, bad, none, another environment, too few scopes, too often")
			_, told := answered(http.StatusOK, "a good key", "Authorization", "Bearer "+good)
			var seen http.Header
			Expect(json.Unmarshal([]byte(told), &seen)).To(Succeed())
			Expect(seen.Get("X-Letmepost-Organization")).To(Equal(namespace))
			Expect(seen.Get("X-Letmepost-Key")).To(Equal("good"))
			Expect(seen.Get("X-Letmepost-Scopes")).To(ContainSubstring("posts:read"))
			Expect(seen).NotTo(HaveKey("Authorization"), "the key stays with the proxy")

			By("as many scopes and claims as a key may have, and as long")
			large := create(ctx, crowded(apiKey(namespace, "large")))
			crowd := minted(ctx, large)
			Eventually(ctx, func(g Gomega) {
				status, _, told := ask("Authorization", "Bearer "+crowd)
				g.Expect(status).To(Equal(http.StatusOK))
				var seen http.Header
				g.Expect(json.Unmarshal([]byte(told), &seen)).To(Succeed())
				g.Expect(seen["X-Letmepost-Scopes"]).To(Equal([]string{caller.ScopesOf(large.Spec.Scopes).String()}))
				g.Expect(seen["X-Letmepost-Claims"]).To(Equal([]string{caller.ClaimsOf(large.Spec.Claims).String()}))
			}, patience, interval).Should(Succeed())

			reader := create(ctx, scoped(apiKey(namespace, "media"), v1alpha1.ScopeMediaRead))
			slow := apiKey(namespace, "slow")
			slow.Spec.RateLimit = &v1alpha1.RateLimit{Requests: 1, Window: metav1.Duration{Duration: time.Hour}}
			create(ctx, slow)
			media, limited := minted(ctx, reader), minted(ctx, slow)
			answered(http.StatusOK, "the one request that it may make", "Authorization", "Bearer "+limited)
			for _, c := range []struct {
				reason, authorization string
				status                int
				header                string
			}{
				{"no key", "", http.StatusUnauthorized, "Www-Authenticate"},
				{"an unknown key", "Bearer " + newKey(key.Live), http.StatusUnauthorized, "Www-Authenticate"},
				{"a test key", "Bearer " + newKey(key.Test), http.StatusUnauthorized, "Www-Authenticate"},
				{"no scope", "Bearer " + media, http.StatusForbidden, ""},
				{"used up", "Bearer " + limited, http.StatusTooManyRequests, "Retry-After"},
			} {
				header, _ := answered(c.status, c.reason, "Authorization", c.authorization)
				if c.header != "" {
					Expect(header).To(HaveKey(c.header), c.reason)
				}
			}

			By("a client that says who it is")
			for _, header := range []string{
				"X-Letmepost-Organization", "X_Letmepost_Organization", "X-Letmepost_Organization", "x_letmepost-organization",
				"X-Letmepost-Profile", "X_Letmepost_Profile", "X-Letmepost-Refused", "X-Letmepost-Claims", "X_Letmepost_Claims",
				"X-Letmepost_Claims",
			} {
				status, _, told := ask("Authorization", "Bearer "+good, header, "globex")
				Expect(told).NotTo(ContainSubstring("globex"), "%s: %d", header, status)
			}
			_, _, told = ask("Authorization", "Bearer "+good, "Connection", "close, X-Letmepost-Organization")
			Expect(told).NotTo(ContainSubstring("globex"))
			status, _, _ := ask("Authorization", "Bearer "+good, "Authorization", "Bearer "+good)
			Expect(status).NotTo(Equal(http.StatusOK), "two keys")

			By("a key that is revoked while it is in use")
			victim := mint(ctx, namespace, "victim")
			Eventually(ctx, func() int { return passed(ctx, url, victim, 200) }, patience, interval).
				Should(Equal(200), "the connections are kept")
			deleteNow(ctx, namespace, "victim")
			Expect(passed(ctx, url, victim, 1000)).To(BeZero(), "passed after the deletion was over")
			Expect(decided(ctx, api.whoami(ctx, victim))).To(Equal(http.StatusUnauthorized))

			By("a gate that can't say who may pass")
			cut.SetMode(kube.Refuse)
			answered(http.StatusServiceUnavailable, "the fence", "Authorization", "Bearer "+good)
			Expect(passed(ctx, url, good, 96)).To(BeZero())
			cut.SetMode(kube.Pass)
			answered(http.StatusOK, "the fence opens again", "Authorization", "Bearer "+good)

			By("no gate at all")
			gate.end()
			before := upstream.reached.Load()
			Expect(passed(ctx, url, good, 96)).To(BeZero())
			Expect(upstream.reached.Load()).To(Equal(before))
		}, SpecTimeout(3*patience))
	}
})

// crowded gives a key as many scopes and claims as one may have, each as long as it may be.
func crowded(k *v1alpha1.ApiKey) *v1alpha1.ApiKey {
	k = scoped(k, v1alpha1.ScopePostsRead)
	for i := len(k.Spec.Scopes); i < v1alpha1.MaxScopes; i++ {
		k.Spec.Scopes = append(k.Spec.Scopes, v1alpha1.Scope(fmt.Sprintf("%s.dev:s%02d", strings.Repeat("a", 55), i)))
	}
	k.Spec.Claims = map[string]v1alpha1.ClaimValue{}
	for i := range 8 {
		k.Spec.Claims[fmt.Sprintf("%s%d", strings.Repeat("n", 62), i)] = v1alpha1.ClaimValue(strings.Repeat("v", 128))
	}
	return k
}

func scoped(k *v1alpha1.ApiKey, scopes ...v1alpha1.Scope) *v1alpha1.ApiKey {
	k.Spec.Scopes = scopes
	return k
}

// askProxy sends a request with headers (name, value, …), and returns what came of it; 0: nothing did.
func askProxy(ctx SpecContext, url string, headers ...string) (int, http.Header, string) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/any/path", http.NoBody)
	Expect(err).NotTo(HaveOccurred())
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			request.Header[headers[i]] = append(request.Header[headers[i]], headers[i+1]) // as it is spelt
		}
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	return response.StatusCode, response.Header, string(body)
}

// passed sends n requests with a key over eight connections that are kept, and counts those that the service answered.
func passed(ctx SpecContext, url, plaintext string, n int) int {
	GinkgoHelper()
	var mu sync.Mutex
	var all sync.WaitGroup
	count := 0
	for range 8 {
		all.Go(func() {
			defer GinkgoRecover()
			for range n / 8 {
				status, _, _ := askProxy(ctx, url, "Authorization", "Bearer "+plaintext)
				mu.Lock()
				if status == http.StatusOK {
					count++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return count
}
