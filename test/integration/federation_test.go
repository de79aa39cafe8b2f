// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/tracing/tracingtest"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/browser"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/oauth"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// issuer is the OpenID provider that the apiserver of this suite trusts. It ends with the suite's process.
var issuer *oauth.Issuer

// idTokens is how long its ID tokens last, by its own clock.
const idTokens = 10 * time.Minute

func startIssuer(folder string) (_ kube.Issuer, err error) {
	if issuer, err = oauth.StartIssuer(context.Background(), folder, idTokens, "https://127.0.0.1/none"); err != nil {
		return kube.Issuer{}, err
	}
	pem, err := os.ReadFile(issuer.CAFile)
	return kube.Issuer{URL: issuer.URL, CA: pem, Client: oauth.Dashboard}, err
}

// federation is a live API of two replicas on PostgreSQL, with one address that people know, and a provider that they
// sign in by.
type federation struct {
	one, other *server
	front      *server // the address
	database   string
	collector  *tracingtest.Collector
	places     []place // what is searched in the end

	behind atomic.Pointer[server] // whom the front leads to

	mu     sync.Mutex
	said   []place         // all that has gone out by the front
	cookie string          // of the session that a browser has shown last
	kept   map[string]bool // secrets of sign-ins, which a browser alone keeps
	back   string          // where the provider has sent a browser last
}

func startFederation(ctx SpecContext) *federation {
	GinkgoHelper()
	f := &federation{kept: map[string]bool{}, collector: tracingtest.Start(GinkgoTB())}
	DeferCleanup(func(ctx SpecContext) { Expect(issuer.Restored(ctx)).To(Succeed()) })
	front := httptest.NewTLSServer(f.balancer())
	DeferCleanup(front.Close)
	f.front = &server{url: front.URL}

	dir := GinkgoT().TempDir()
	keyset, secret := filepath.Join(dir, "keyset.json"), filepath.Join(dir, "client-secret")
	keys, err := vault.NewKeyset()
	Expect(err).NotTo(HaveOccurred())
	Expect(vault.CreateFile(keyset, keys, nil)).To(Succeed())
	Expect(os.WriteFile(secret, []byte(issuer.ClientSecret+"\n"), 0o600)).To(Succeed())
	f.database = postgres.Start(GinkgoTB())
	// What the docs say, with what is this test's own.
	said := strings.NewReplacer("api --environment live", "", "\\\n", "", "https://api.example.com", front.URL,
		"https://id.example.com", issuer.URL, "letmepost-live", oauth.Dashboard, "/etc/letmepost/oidc/client-secret", secret,
	).Replace(documented("api --environment live"))
	flags := append(strings.Fields(said), "--oidc-ca-file", issuer.CAFile, "--vault-keyset", keyset,
		"--database-url", f.database, "--access-log", "all", "--log-level", "debug",
		"--otlp-endpoint", f.collector.URL, "--trace-sample-ratio", "1")
	startController(ctx)
	f.awaitTrust(ctx)
	f.one, f.other = startAPI(ctx, "live", flags...), startAPI(ctx, "live", flags...)
	return f
}

// awaitTrust waits until the apiserver takes what the provider gives: it has asked it when it started, and takes its
// time to know that it has.
func (f *federation) awaitTrust(ctx SpecContext) {
	GinkgoHelper()
	provider, err := oidc.New(oidc.Config{
		Issuer: issuer.URL, ClientID: oauth.Dashboard, Roots: issuer.Roots, RedirectURL: f.front.url,
		ClientSecret: func() (string, error) { return issuer.ClientSecret, nil }, Random: rand.Reader, Clock: clock.RealClock{},
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(provider.Close)
	begun, err := provider.Begin(ctx, "/")
	Expect(err).NotTo(HaveOccurred())
	page, err := url.Parse(begun.URL)
	Expect(err).NotTo(HaveOccurred())
	back, err := issuer.SignIn(ctx, page, "first")
	Expect(err).NotTo(HaveOccurred())
	tokens, _, err := provider.Finish(ctx, begun.Kept, back.Query())
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, func() error { return reviewed(ctx, tokens.ID) }, patience, interval).Should(Succeed())
}

// documented is the command of docs/dashboard.md that begins so.
func documented(begin string) string {
	GinkgoHelper()
	for _, s := range tourOf("docs/dashboard.md", wholePage) {
		if strings.HasPrefix(s.command, begin) {
			return s.command
		}
	}
	Fail("docs/dashboard.md has no command that begins with " + begin)
	return ""
}

// grant gives a group a role in a namespace, as the docs say it, and waits until it lets them do something with
// ApiKeys: what is in the roles of Kubernetes itself is gathered by its controller manager.
func (f *federation) grant(ctx SpecContext, namespace, role, group, verb string) {
	GinkgoHelper()
	command := strings.NewReplacer(
		"--namespace acme", "--namespace "+namespace, "oidc:acme-developers", group, "--clusterrole edit", "--clusterrole "+role,
	).Replace(documented("kubectl create rolebinding"))
	output, err := kubectl(ctx, "", strings.Fields(command)[1:]...)
	Expect(err).NotTo(HaveOccurred(), output)
	Expect(output).To(ContainSubstring("created"))
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		Groups: []string{group}, ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: v1alpha1.GroupVersion.Group, Resource: "apikeys",
		},
	}}
	Eventually(ctx, func() (bool, error) {
		asked := review.DeepCopy()
		err := admin.Create(ctx, asked)
		return asked.Status.Allowed, err
	}, patience, interval).Should(BeTrue())
}

// balancer is what stands before the replicas, and ends TLS. It knows all that goes out to browsers.
func (f *federation) balancer() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			replica, _ := url.Parse(f.behind.Load().url)
			r.SetURL(replica)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Accept-Encoding") // what is compressed can't be searched
			f.note(r.In)
		},
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			head := r.Header.Clone()
			head.Del("Set-Cookie") // which is where secrets belong
			var text bytes.Buffer
			_ = head.Write(&text)
			text.Write(body)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.said = append(f.said, place{"answer to " + r.Request.Method + " " + r.Request.URL.Path, text.Bytes()})
			return nil
		},
	}
}

// note takes down what a browser has shown.
func (f *federation) note(r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range r.Cookies() {
		switch name := dashboard.CookieName(key.Live); {
		case c.Name == name:
			f.cookie = c.String()
		case strings.HasPrefix(c.Name, name+"-oidc-"):
			secret, _, _ := strings.Cut(c.Value, ".")
			f.kept[secret] = true
		}
	}
	if r.URL.Path == dashboard.OIDCCallback {
		f.back = strings.TrimPrefix(r.URL.RequestURI(), dashboard.Base)
	}
}

// visitor is somebody who was never here: their browser knows neither the front nor the provider.
func (f *federation) visitor(ctx SpecContext) *visitor {
	GinkgoHelper()
	chromium, err := browser.Start(context.WithoutCancel(ctx), chromedp.IgnoreCertErrors,
		// The provider's pages want a font of somebody else's, for which they would wait.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(chromium.Stop)
	tab, done := chromium.Person()
	DeferCleanup(done)
	return &visitor{tab, f.front}
}

// signInAt gives the provider their name.
func (f *federation) signInAt(v *visitor, name string) {
	GinkgoHelper()
	login := chromedp.CSS("input[name=login]")
	v.do(
		chromedp.WaitVisible(login), chromedp.SetValue(login, name),
		chromedp.SetValue(chromedp.CSS("input[name=password]"), "any"), chromedp.Submit(login),
	)
}

// consent allows the dashboard to know who they are, and waits until they are back. The provider's clock is set back
// for that, until it is restored, so that each ID token is good for so long by everybody else's, and about to end.
func (f *federation) consent(ctx SpecContext, v *visitor, good time.Duration) {
	GinkgoHelper()
	button := chromedp.CSS("input[value=consent] + button")
	v.do(chromedp.WaitVisible(button))
	Expect(issuer.Ahead(ctx, good-idTokens)).To(Succeed())
	v.do(chromedp.Submit(button), chromedp.WaitVisible(chromedp.CSS("#name")))
}

// choose chooses an organization on the page for that.
func (f *federation) choose(v *visitor, organization string) {
	GinkgoHelper()
	v.do(chromedp.SetValue(chromedp.CSS("#name"), organization))
	v.press("#name ~ button")
}

// keep keeps places for the search in the end.
func (f *federation) keep(places ...place) { f.places = append(f.places, places...) }

// shown are the secret of a session, the secrets of sign-ins, and the path by which a browser came back, with its code.
func (f *federation) shown() (cookie string, kept []string, back string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cookie, slices.Collect(maps.Keys(f.kept)), f.back
}

// answers is all that the front has let out.
func (f *federation) answers() []place {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.said)
}

// lastIDToken is the one that the provider has given last.
func lastIDToken() string {
	GinkgoHelper()
	for _, secret := range slices.Backward(issuer.Secrets()) {
		if strings.Count(secret, ".") == 2 {
			return secret
		}
	}
	Fail("the provider has given no ID token")
	return ""
}

// reviewed asks the apiserver who shows a token.
func reviewed(ctx SpecContext, token string) error {
	config := rest.AnonymousClientConfig(cluster.AdminConfig())
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err == nil {
		_, err = client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	}
	return err
}
