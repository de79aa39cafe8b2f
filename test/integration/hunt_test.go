// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("The plaintext of a key", func() {
	It("is nowhere but in its Secret", func(ctx SpecContext) {
		controller := startController(ctx, "--log-level", "debug", "--secret-recheck-interval", "1s")
		live := startAPI(ctx, "live", "--access-log", "all", "--log-level", "debug")
		test := startAPI(ctx, "test", "--access-log", "all", "--log-level", "debug")

		homes := mintAll(ctx, newNamespace(ctx), live)
		refuseAll(ctx)
		for _, plaintext := range slices.Collect(maps.Keys(homes)) {
			for _, text := range []string{plaintext, typo(plaintext), plaintext + "x"} {
				sendEverywhere(ctx, live, text)
				sendEverywhere(ctx, test, text)
			}
			homes[typo(plaintext)] = ""
		}
		for _, api := range []*server{live, test} {
			Expect(api.logText()).To(And(ContainSubstring(`"route":"/v1/api-keys/{id}"`), Not(ContainSubstring("suppressed"))), "every request was logged")
		}
		Expect(hunt(homes, haystack(ctx, controller, live, test))).To(BeEmpty())
	}, SpecTimeout(4*patience))

	It("would be found by this hunt", func(ctx SpecContext) {
		canary, namespace := newKey(key.Live), newNamespace(ctx)
		meta := metav1.ObjectMeta{Namespace: namespace, Name: "canary"}
		Expect(admin.Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "b" + canary + "c"}})).To(Succeed())
		Expect(admin.Create(ctx, &corev1.Event{
			ObjectMeta: meta, InvolvedObject: corev1.ObjectReference{Namespace: namespace, Name: "canary"}, Message: "minted " + canary,
		})).To(Succeed())
		Expect(admin.Create(ctx, &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"somebody-elses": []byte(canary)}})).To(Succeed())
		gone := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gone"}, Data: map[string]string{"a": canary}}
		Expect(admin.Create(ctx, gone)).To(Succeed())
		Expect(admin.Delete(ctx, gone)).To(Succeed())
		k := apiKey(namespace, "annotated")
		k.Annotations = map[string]string{"note": canary}
		Expect(admin.Create(ctx, k)).To(Succeed())

		file := filepath.Join(logDir, "canary.log")
		Expect(os.WriteFile(file, fmt.Appendf(nil, `{"msg":"%v"}`, []byte(canary)), 0o600)).To(Succeed())
		DeferCleanup(os.Remove, file)
		sleeper, err := kube.Run(kube.Command{
			Name: "sleeper", Path: "/bin/sh", Args: []string{"-c", "read _ < /dev/zero # " + canary}, Env: []string{"KEY=" + canary},
			Log: filepath.Join(GinkgoT().TempDir(), "sleeper.log"),
		})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(process{sleeper}.end)

		found := hunt(map[string]string{canary: namespace + "/not-there"}, append(haystack(ctx), told(sleeper)...))
		for _, where := range []string{
			"etcd /registry/configmaps/" + namespace + "/canary: ", "etcd /registry/events/" + namespace + "/canary: ",
			"etcd /registry/secrets/" + namespace + "/canary: ", "etcd /registry/letmepost.dev/apikeys/" + namespace + "/annotated: ",
			"etcd's past /registry/configmaps/" + namespace + "/gone: ",
			"log canary.log: ", "cmdline of sleeper: ", "environ of sleeper: ",
		} {
			Expect(found).To(ContainElement(HavePrefix(where)))
		}
		for _, where := range found {
			Expect(where).To(Or(ContainSubstring(namespace), ContainSubstring("canary.log"), ContainSubstring("sleeper")), "planted nowhere else")
		}
	}, SpecTimeout(2*patience))
})

// What all specs together have left behind, too, is searched for the key of every Secret that is there.
var _ = AfterSuite(func(ctx SpecContext) {
	secrets := &corev1.SecretList{}
	Expect(admin.List(ctx, secrets)).To(Succeed())
	homes := homeless()
	for _, s := range secrets.Items {
		if s.Type == v1alpha1.SecretType {
			homes[string(s.Data[v1alpha1.SecretKeyAPIKey])] = s.Namespace + "/" + s.Name
		}
	}
	found := hunt(homes, slices.Concat(logs(), files(storage()), files(filepath.Join(logDir, "..", "data"))))
	for _, where := range hunt(homes, append(stored(ctx), history(ctx)...)) {
		if !strings.Contains(where, looksLikeKey) { // the canaries of another spec
			found = append(found, where)
		}
	}
	Expect(found).To(BeEmpty())
}, NodeTimeout(soaking(2*patience, 10*patience)))

// mintAll makes a key of each kind, and revokes one. It returns the Secret's namespace/name of each plaintext.
func mintAll(ctx SpecContext, namespace string, live *server) map[string]string {
	GinkgoHelper()
	Expect(admin.Create(ctx, &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: profileName}})).To(Succeed())
	pinned, shaped, test := apiKey(namespace, "pinned"), apiKey(namespace, "shaped"), apiKey(namespace, "test")
	pinned.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: profileName}
	shaped.Spec.SecretName = "its-secret"
	shaped.Spec.SecretTemplate = &v1alpha1.SecretTemplate{
		Labels: map[string]v1alpha1.LabelValue{"team": "rockets"}, Annotations: map[string]v1alpha1.AnnotationValue{"note": "launch"},
	}
	test.Spec.Environment = v1alpha1.EnvironmentTest
	homes := map[string]string{}
	for _, k := range []*v1alpha1.ApiKey{apiKey(namespace, "plain"), pinned, shaped, test} {
		homes[minted(ctx, create(ctx, k))] = namespace + "/" + k.SecretName()
	}

	brought, plaintext := apiKey(namespace, "brought"), newKey(key.Live)
	brought.Spec.SecretHash = key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(namespace)).String()
	awaitReason(ctx, create(ctx, brought), v1alpha1.ReasonActive)
	Eventually(ctx, live.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
	homes[plaintext] = ""

	revoked := mint(ctx, namespace, "revoked")
	homes[revoked] = namespace + "/revoked"
	Eventually(ctx, live.whoami(ctx, revoked), patience, interval).Should(Equal(http.StatusOK))
	Expect(admin.Delete(ctx, apiKey(namespace, "revoked"))).To(Succeed())
	Eventually(ctx, live.whoami(ctx, revoked), patience, interval).Should(Equal(http.StatusUnauthorized))

	orphaned := mint(ctx, namespace, "orphaned")
	homes[orphaned] = namespace + "/orphaned"
	Expect(admin.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "orphaned"}})).To(Succeed())
	awaitCondition(ctx, apiKey(namespace, "orphaned"), v1alpha1.ConditionSecretAvailable, v1alpha1.ReasonSecretDeleted)
	return homes
}

// refuseAll lets the Secrets of keys be refused in each way: what the controller had made for them must be lost.
func refuseAll(ctx SpecContext) {
	GinkgoHelper()
	namespace := newNamespace(ctx)
	taken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "taken"}}
	Expect(admin.Create(ctx, taken)).To(Succeed())
	awaitReason(ctx, create(ctx, apiKey(namespace, "taken")), v1alpha1.ReasonSecretConflict)

	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "quota"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceSecrets: resource.MustParse("1")}},
	}
	Expect(admin.Create(ctx, quota)).To(Succeed())
	// It is counted first, and heard of by whoever admits Secrets after that: only a refusal tells.
	Eventually(ctx, func() error {
		return admin.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "probe"}}, client.DryRunAll)
	}, patience, interval).Should(Satisfy(apierrors.IsForbidden), "the quota is enforced")
	awaitReason(ctx, create(ctx, apiKey(namespace, "too-many")), v1alpha1.ReasonSecretRejected)

	// A namespace on its way out refuses what is new in it.
	leaving := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "it-"}}
	Expect(admin.Create(ctx, leaving)).To(Succeed())
	create(ctx, apiKey(leaving.Name, "late"))
	Expect(admin.Delete(ctx, leaving)).To(Succeed())
	Eventually(ctx, func() bool {
		return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(leaving), leaving))
	}, patience, interval).Should(BeTrue())
}

// pace keeps an API from being sent more requests than it logs: a hundred a second.
var pace = rate.NewLimiter(150, 50)

// sendEverywhere puts a text into every part of a request where somebody might put a key.
func sendEverywhere(ctx context.Context, api *server, text string) {
	GinkgoHelper()
	for _, header := range []http.Header{
		{"Authorization": {"Bearer " + text}},
		{"Authorization": {"bearer " + text}},
		{"Authorization": {text}},
		{"Authorization": {"Bearer " + text, "Bearer " + text}},
		{"Authorization": {"Basic " + url.UserPassword("key", text).String()}},
		{"Authorization": {"Bearer\t" + text}},
		{"Cookie": {"session=" + text}},
		{"X-Api-Key": {text}, "X-Request-Id": {text}, "User-Agent": {text}, "Referer": {"http://x/" + text}, text: {text}},
	} {
		send(ctx, http.MethodGet, api.url+"/v1/whoami", header)
	}
	authorized := http.Header{"Authorization": {"Bearer " + text}}
	for _, path := range []string{
		"/v1/profiles/" + text, "/v1/api-keys?cursor=" + text, "/v1/api-keys?limit=" + text, "/v1/" + text, "/" + text, "/v1/whoami?key=" + text,
	} {
		send(ctx, http.MethodGet, api.url+path, authorized)
	}
	sendNames(ctx, api, authorized, text)
	send(ctx, text, api.url+"/v1/whoami", authorized)
	send(ctx, http.MethodPost, api.url+"/v1/api-keys", authorized)
	send(ctx, http.MethodDelete, api.url+"/v1/api-keys/"+text, authorized)

	// What is no HTTP at all is answered, and perhaps logged, by another part of the server.
	connection, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", strings.TrimPrefix(api.url, "http://"))
	Expect(err).NotTo(HaveOccurred())
	defer connection.Close()
	Expect(connection.SetDeadline(time.Now().Add(patience))).To(Succeed())
	_, err = fmt.Fprintf(connection, "GET /%s HTTP/1.1\r\nHost: x\r\nBearer %s\r\n\r\n", text, text)
	Expect(err).NotTo(HaveOccurred())
	_, _ = io.Copy(io.Discard, connection)
}

// sendNames puts a text, as it is and in the ways that programs write bytes, where names and values belong: in the
// bodies, the query and the header of a write that is let in and keeps its answer.
func sendNames(ctx context.Context, api *server, authorized http.Header, text string) {
	GinkgoHelper()
	for i, form := range []string{
		text, hex.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)),
		strings.Trim(fmt.Sprintf("%d", []byte(text)), "[]"),
	} {
		header := authorized.Clone()
		header["X-Request-Id"] = []string{form}
		header["Content-Type"] = []string{"application/json"}
		for j, body := range []string{
			`{"` + form + `":1}`, `{"targets":[{"` + form + `":1}]}`, `{"` + form + `":1,"` + form + `":2}`, `{"targets":[{"platform":"` + form + `"}]}`,
		} {
			header["Idempotency-Key"] = []string{fmt.Sprint(text, i, j)} // each keeps its answer
			sendBody(ctx, http.MethodPost, api.url+"/v1/posts", header, body)
		}
		sendBody(ctx, http.MethodPost, api.url+"/v1/accounts/connect/bluesky/complete", header, `{"identifier":"a","appPassword":"b","`+form+`":"x"}`)
		send(ctx, http.MethodGet, api.url+"/v1/posts?"+url.QueryEscape(form)+"=1", header)
		send(ctx, http.MethodGet, api.url+"/v1/posts?status="+url.QueryEscape(form), header)
	}
}

func send(ctx context.Context, method, url string, header http.Header) {
	GinkgoHelper()
	sendBody(ctx, method, url, header, "")
}

func sendBody(ctx context.Context, method, url string, header http.Header, body string) {
	GinkgoHelper()
	Expect(pace.Wait(ctx)).To(Succeed())
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	request.Header = header
	response, err := httpClient.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	Expect(err).NotTo(HaveOccurred())
}
