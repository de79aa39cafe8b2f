// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var _ = Describe("A key that GitHub has found", func() {
	It("is refused from then on, if it is GitHub who says so; and where nobody wants that, there is no such route", func(ctx SpecContext) {
		startController(ctx)
		signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		Expect(err).NotTo(HaveOccurred())
		publishes := publicKeys(signer)
		without := startAPI(ctx, "live", onSQLite()...)
		api := startAPI(ctx, "live", append(onSQLite(), "--github-secret-scanning", "--github-keys-url", publishes.URL+"/keys",
			"--outbound-allow", strings.TrimPrefix(publishes.URL, "http://"))...)
		namespace := newNamespace(ctx)
		found, other := mint(ctx, namespace, "found"), mint(ctx, namespace, "other")
		for _, secret := range []string{found, other} {
			Eventually(ctx, api.whoami(ctx, secret), patience, interval).Should(Equal(http.StatusOK))
		}
		forger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		Expect(err).NotTo(HaveOccurred())
		calls := func(signer *ecdsa.PrivateKey) func() (int, error) { // a call that can't be answered now is made again
			return func() (int, error) { return githubFinds(ctx, api, signer, found) }
		}
		Eventually(ctx, calls(forger), patience, interval).Should(Equal(http.StatusForbidden))
		Expect(githubFinds(ctx, without, signer, found)).To(Equal(http.StatusNotFound))
		Eventually(ctx, api.whoami(ctx, found), patience, interval).Should(Equal(http.StatusOK))

		Eventually(ctx, calls(signer), patience, interval).Should(Equal(http.StatusOK))
		Expect(decided(ctx, api.whoami(ctx, found))).To(Equal(http.StatusUnauthorized), "it is refused before GitHub is answered")
		Eventually(ctx, api.whoami(ctx, other), patience, interval).Should(Equal(http.StatusOK))
		Eventually(ctx, calls(signer), patience, interval).Should(Equal(http.StatusOK), "the same once more")
		Expect(api.logText()).To(And(ContainSubstring(`"event":"key.found"`), Not(ContainSubstring(found))))
		// What has leaked is no secret any more: the Lease has its digest. So it is not hunted for in the end.
		Expect(client.IgnoreNotFound(admin.Delete(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "found"},
		}))).To(Succeed())
	}, SpecTimeout(3*patience))
})

// publicKeys is where GitHub has its keys, of which there is one.
func publicKeys(signer *ecdsa.PrivateKey) *httptest.Server {
	GinkgoHelper()
	der, err := x509.MarshalPKIXPublicKey(&signer.PublicKey)
	Expect(err).NotTo(HaveOccurred())
	text, err := json.Marshal(map[string]any{"public_keys": []map[string]any{{
		"key_identifier": "one", "key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "is_current": true,
	}}})
	Expect(err).NotTo(HaveOccurred())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	DeferCleanup(server.Close)
	return server
}

// githubFinds calls an API as GitHub does, and returns the status of the answer.
func githubFinds(ctx SpecContext, api *server, signer *ecdsa.PrivateKey, secret string) (int, error) {
	body, err := json.Marshal([]map[string]string{{"token": secret, "type": "letmepost", "source": "commit", "url": "https://github.com/acme/shop"}})
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256(body)
	signature, err := ecdsa.SignASN1(rand.Reader, signer, digest[:])
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, api.url+"/v1/leaked/github", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Github-Public-Key-Identifier", "one")
	request.Header.Set("Github-Public-Key-Signature", base64.StdEncoding.EncodeToString(signature))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}
