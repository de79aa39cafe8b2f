// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/revocation"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/test/kube"
)

func TestMain(m *testing.M) {
	kube.Main(m, kube.Options{Issuer: startIssuer, Manifests: []string{"config/crd", "config/rbac"}})
}

// system is the namespace of the processes.
const system = "letmepost-system"

// world is a dashboard over a real apiserver, with a real controller: made once, for all tests of the package.
type world struct {
	cluster   *kube.Cluster
	admin     client.Client
	index     *authn.Index
	admits    *admission.Admission
	log       writings // of the dashboard, and of the controller
	sessions  *session.Manager
	clock     *shifted
	unlisted  atomic.Value // the name of an organization without keys and profiles, as a string; nil: none
	dashboard *dashboard.Dashboard
	config    dashboard.Config // of it
	server    *httptest.Server // over TLS, as browsers want it for the cookie
	publishing
}

// shifted is the time, and more by as much as a test says, for sessions and pages: what they keep for some seconds is
// kept no more then.
type shifted struct{ by atomic.Int64 }

func (s *shifted) Now() time.Time { return time.Now().Add(time.Duration(s.by.Load())) }

func (s *shifted) Since(t time.Time) time.Duration { return s.Now().Sub(t) }

// maxFailures is how often one address may fail to be recognised, in an hour: more often than any test but one does.
const maxFailures = 100

// newWorld makes a dashboard, and runs a controller and what follows the cluster for as long as the test. mods change
// what the dashboard is made of.
func newWorld(t *testing.T, mods ...func(*dashboard.Config)) *world {
	t.Helper()
	w := &world{cluster: kube.Shared(t), index: authn.NewIndex(), clock: &shifted{}}
	scheme := runtime.NewScheme()
	check(t, clientgoscheme.AddToScheme(scheme))
	check(t, v1alpha1.AddToScheme(scheme))
	var err error
	w.admin, err = client.New(w.cluster.AdminConfig(), client.Options{Scheme: scheme})
	check(t, err)
	w.runController(t)

	logger := slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &w.log), &slog.HandlerOptions{Level: slog.LevelDebug}))
	config := w.processConfig(t, "letmepost-api-live")
	feed := authn.NewFeed(w.index, resources(t, config, scheme), clock.RealClock{})
	leases, err := coordinationclient.NewForConfig(config)
	check(t, err)
	replica := revocation.NewReplica(revocation.ReplicaOptions{
		Leases: leases.Leases(system), Store: feed, Name: "letmepost-api-live-" + strings.ToLower(rand.Text()[:8]),
		Holder: t.Name(), Environment: v1alpha1.EnvironmentLive, Duration: time.Minute,
		Cut: func() { w.index.CutAll(authn.ErrUnavailable) }, Clock: clock.RealClock{}, Logger: logger,
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { feed.Run(ctx) })
	running.Go(func() { replica.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })

	w.openDatabase(t, logger)
	limits, err := limit.NewCallers(limit.Options{})
	check(t, err)
	apiserver, err := session.NewApiserver(w.cluster.AdminConfig()) // of which it takes the address alone
	check(t, err)
	w.server = httptest.NewUnstartedServer(nil)
	by := w.provider(t)
	sessions, err := session.New(session.Options{
		Apiserver: apiserver, Environment: key.Live, Store: w.store, Listed: w.organizations, NewToken: rand.Text,
		Clock: w.clock, Logger: logger, Provider: by,
	})
	check(t, err)
	format := authntest.Format(t)
	admitted, err := admission.New(admission.Options{
		Authenticator: authn.NewAuthenticator(authn.Options{
			Index: w.index, Format: format, Environment: key.Live, Clock: clock.RealClock{},
			Serving: replica.Serving, CommitTimeout: time.Minute,
		}),
		Sessions: sessions.Admitting(), Limits: limits, Failures: limit.NewAddresses(rate.Rate{Requests: maxFailures, Window: time.Hour}),
	})
	check(t, err)
	w.admits = admitted
	c := dashboard.Config{
		Sessions: sessions, Admission: admitted, Directory: w.index, Random: rand.Reader,
		Store: w.store, Writes: w.writes, Posting: w.posting, Connecting: w.connecting,
		Namespace: system, Environment: key.Live, KeyFormat: format,
		ClientAddress: func(*http.Request) netip.Addr { return netip.MustParseAddr("127.0.0.1") },
		NewRequestID:  uuid.NewString, Clock: w.clock, Logger: logger, Audit: logger,
	}
	w.sessions = sessions
	for _, mod := range mods {
		mod(&c)
	}
	if c.ProviderName != "" {
		c.Provider = by
	}
	d, err := dashboard.New(c)
	check(t, err)
	w.dashboard, w.config, w.server.Config.Handler = d, c, d
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	eventually(t, "the replica serves", func() bool { return replica.Serving(time.Now()) })
	return w
}

// organizations are the namespaces of the cluster: a test's own has no key at first, and so is not in the index.
func (w *world) organizations() (all []caller.Organization) {
	var list corev1.NamespaceList
	if err := w.admin.List(context.Background(), &list); err != nil {
		return nil
	}
	for _, n := range list.Items {
		if w.unlisted.Load() != n.Name {
			all = append(all, caller.Organization{ID: string(n.UID), Name: n.Name})
		}
	}
	return all
}

func (w *world) runController(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	check(t, w.cluster.ServiceAccountKubeconfig(t.Context(), system, "letmepost-controller", kubeconfig))
	p, err := kube.Run(kube.Command{
		Name: "controller", Path: kube.Path("bin/controller"), Env: kube.MinimalEnv(), Log: w.log.also(filepath.Join(dir, "controller.log")),
		Args: []string{"--kubeconfig", kubeconfig, "--leader-elect=false", "--metrics-bind-address", "0", "--health-probe-bind-address", "0"},
	})
	check(t, err)
	t.Cleanup(func() { p.Kill(); <-p.Done() })
}

func (w *world) processConfig(t *testing.T, account string) *rest.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	check(t, w.cluster.ServiceAccountKubeconfig(t.Context(), system, account, path))
	config, err := clientcmd.BuildConfigFromFlags("", path)
	check(t, err)
	return config
}

func resources(t *testing.T, config *rest.Config, scheme *runtime.Scheme) rest.Interface {
	t.Helper()
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c, err := rest.RESTClientFor(config)
	check(t, err)
	return c
}

// credential makes a ServiceAccount in a namespace with these ClusterRoles there, and returns a token for it.
func (w *world) credential(t *testing.T, namespace, name string, roles ...string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	check(t, w.admin.Create(t.Context(), account))
	w.binds(t, namespace, namespace, name, roles...)
	request := &authenticationv1.TokenRequest{}
	check(t, w.admin.SubResource("token").Create(t.Context(), account, request))
	return request.Status.Token
}

// binds gives a ServiceAccount of one namespace these ClusterRoles in another one.
func (w *world) binds(t *testing.T, in, namespace, name string, roles ...string) {
	t.Helper()
	for _, role := range roles {
		check(t, w.admin.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: name + "-" + role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
		}))
	}
}

// visitor is somebody with a browser of their own.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
	// organization is the id of the one that their pages are of; "": none.
	organization string
}

// page is what a browser is shown in the end.
type page struct {
	status int
	path   string // where it ended up, with its query
	body   string
	header http.Header
}

func (w *world) visitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	check(t, err)
	transport := w.server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t: t, base: w.server.URL + dashboard.Base, client: &http.Client{Jar: jar, Transport: transport}}
}

// signedIn is somebody who has signed in with a token, and chosen an organization.
func (w *world) signedIn(t *testing.T, token, organization string) *visitor {
	t.Helper()
	v := w.visitor(t)
	if p := v.post("/sign-in", url.Values{"token": {token}}); p.status != http.StatusOK {
		t.Fatalf("sign in: %d at %s\n%s", p.status, p.path, p.body)
	}
	if p := v.post("/organizations", url.Values{"name": {organization}}); p.status != http.StatusOK {
		t.Fatalf("choose an organization: %d at %s\n%s", p.status, p.path, p.body)
	}
	v.organization = w.organizationID(t, organization)
	return v
}

// cookie is what the browser shows under a name.
func (v *visitor) cookie(name string) string {
	v.t.Helper()
	at, err := url.Parse(v.base)
	check(v.t, err)
	for _, c := range v.client.Jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	v.t.Fatalf("the browser has no cookie %s", name)
	return ""
}

func (v *visitor) get(path string) page { return v.do(http.MethodGet, path, "") }

// post sends a form of a page.
func (v *visitor) post(path string, form url.Values) page {
	return v.do(http.MethodPost, path, v.ofPage(form).Encode())
}

// ofPage is a form or an address as it stands on their pages: it says of which organization these are.
func (v *visitor) ofPage(of url.Values) url.Values {
	if v.organization != "" && !of.Has("organization") {
		of = maps.Clone(of)
		if of == nil {
			of = url.Values{}
		}
		of.Set("organization", v.organization)
	}
	return of
}

func (v *visitor) do(method, path, body string) page {
	v.t.Helper()
	return v.send(method, path, body, "same-origin")
}

// send sends what a page of a site has asked the browser for.
func (v *visitor) send(method, path, body, site string) page {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.base+path, strings.NewReader(body))
	check(v.t, err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", site)
	}
	resp, err := v.client.Do(r)
	check(v.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(v.t, err)
	return page{resp.StatusCode, resp.Request.URL.RequestURI(), string(text), resp.Header}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what comes by a watch.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in a minute: " + what)
		}
	}
}
