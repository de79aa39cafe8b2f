// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
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
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/revocation"
	"github.com/letmepost/letmepost-operator/internal/serve"
	"github.com/letmepost/letmepost-operator/test/kube"
)

func TestMain(m *testing.M) {
	kube.Main(m, kube.Options{Manifests: []string{"config/crd", "config/rbac"}})
}

// TestDeletedWhileRunning: the whole way from a DELETE at the real apiserver, by the real controller, to a request that
// is running on a socket. The routes are this test's own: none of the product's takes long enough yet.
func TestDeletedWhileRunning(t *testing.T) {
	entered := make(chan struct{}, 1)
	finish := make(chan struct{})
	var written atomic.Int64
	write := func(ctx context.Context) error {
		return authn.Commit(ctx, func(context.Context) error { written.Add(1); return nil })
	}
	base := runReplica(t, []endpoint.Route{
		{Method: http.MethodGet, Path: "/v1/slow", ID: "slow", Endpoint: endpoint.Returns(func(r *endpoint.Request) (health, error) {
			entered <- struct{}{}
			<-r.Context().Done() // work that takes long
			return health{"ok"}, write(r.Context())
		})},
		{Method: http.MethodGet, Path: "/v1/stream", ID: "stream", Endpoint: endpoint.Streams("text/plain", func(r *endpoint.Request, w io.Writer) error {
			for {
				if _, err := io.WriteString(w, "more\n"); err != nil {
					return err
				}
				select {
				case <-r.Context().Done():
					return r.Context().Err()
				case <-time.After(5 * time.Millisecond):
				}
			}
		})},
		{Method: http.MethodPost, Path: "/v1/write", ID: "write", Endpoint: endpoint.Returns(func(r *endpoint.Request) (health, error) {
			return health{"written"}, authn.Commit(r.Context(), func(ctx context.Context) error {
				entered <- struct{}{}
				<-finish
				written.Add(1)
				return ctx.Err()
			})
		})},
	})

	t.Run("a slow handler: 401, and nothing was written", func(t *testing.T) {
		k, plaintext := mintedByController(t)
		answer := ask(t, http.MethodGet, base+"/v1/slow", plaintext)
		<-entered
		revokeByKubectl(t, k)
		got := <-answer
		if got.status != http.StatusUnauthorized || !strings.Contains(got.body, `"code":"unauthenticated"`) {
			t.Errorf("answered %d %s", got.status, got.body)
		}
		if n := written.Load(); n != 0 {
			t.Errorf("%d writes", n)
		}
	})
	t.Run("a stream is reset", func(t *testing.T) {
		k, plaintext := mintedByController(t)
		resp, err := sendWith(t, http.MethodGet, base+"/v1/stream", plaintext)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadFull(resp.Body, make([]byte, 20)); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", resp.Status, err)
		}
		revokeByKubectl(t, k)
		if _, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the stream ended with %v, as if it were whole", err)
		}
	})
	t.Run("a write that was committed first says so, and the deletion waits for it", func(t *testing.T) {
		k, plaintext := mintedByController(t)
		answer := ask(t, http.MethodPost, base+"/v1/write", plaintext)
		<-entered
		if err := admin(t).Delete(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		refusedSoon(t, base, plaintext)
		if got := get(t, k); apierrors.IsNotFound(got) {
			t.Error("the deletion completed while a write was under way")
		}
		close(finish)
		if got := <-answer; got.status != http.StatusOK || !strings.Contains(got.body, "written") {
			t.Errorf("answered %d %s", got.status, got.body)
		}
		awaitGone(t, k)
		if n := written.Load(); n != 1 {
			t.Errorf("%d writes", n)
		}
	})
}

// runReplica runs an API process' parts in this one, under its own ServiceAccount, and the controller. It returns the
// URL.
func runReplica(t *testing.T, more []endpoint.Route) string {
	t.Helper()
	cluster := kube.Shared(t)
	runController(t, cluster)
	config := credentials(t, cluster, "letmepost-api-live")
	format := authntest.Format(t)
	index := authn.NewIndex()
	feed := authn.NewFeed(index, resources(t, config), clock.RealClock{})
	leases, err := coordinationclient.NewForConfig(config)
	check(t, err)
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	replica := revocation.NewReplica(revocation.ReplicaOptions{
		Leases: leases.Leases("letmepost-system"), Store: feed, Name: "letmepost-api-live-" + strings.ToLower(rand.Text()[:8]),
		Holder: t.Name(), Environment: v1alpha1.EnvironmentLive, Duration: time.Minute,
		Cut: func() { index.CutAll(authn.ErrUnavailable) }, Clock: clock.RealClock{}, Logger: logger,
	})
	c := parts{Admission: admission.Options{Authenticator: authn.NewAuthenticator(authn.Options{
		Index: index, Format: format, Environment: key.Live, Clock: clock.RealClock{},
		Serving: replica.Serving, CommitTimeout: time.Minute,
	})}, Config: Config{
		Directory: index, Ready: func() bool { return replica.Serving(time.Now()) }, Environment: key.Live, KeyFormat: format,
		NewRequestID: uuid.NewString, Clock: clock.RealClock{}, Logger: logger, Registerer: prometheus.NewRegistry(),
	}}
	publishing(t, &c, "")
	api := c.api(t, func(a *API) []endpoint.Route { return append(slices.Clone(more), a.routes()...) })

	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	listening, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, serve.Options{
			API: api, APIAddress: "127.0.0.1:0", Admin: api, AdminAddress: "127.0.0.1:0",
			Background: func(ctx context.Context) {
				var running sync.WaitGroup
				running.Go(func() { feed.Run(ctx) })
				running.Go(func() { replica.Run(ctx) })
				running.Wait()
			},
			Draining: new(atomic.Bool), DrainTimeout: patience, Logger: logger, Limits: serve.Limits{Clock: clock.RealClock{}},
			Listening: func(api, _ net.Addr) { listening <- api.String() },
		})
	}()
	t.Cleanup(func() { stop(); check(t, <-ended) })
	base := "http://" + <-listening
	eventually(t, "the replica is ready", func() bool {
		resp, err := http.Get(base + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return base
}

func runController(t *testing.T, cluster *kube.Cluster) {
	t.Helper()
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	check(t, cluster.ServiceAccountKubeconfig(t.Context(), "letmepost-system", "letmepost-controller", kubeconfig))
	p, err := kube.Run(kube.Command{
		Name: "controller", Path: kube.Path("bin/controller"), Env: kube.MinimalEnv(), Log: filepath.Join(dir, "controller.log"),
		Args: []string{"--kubeconfig", kubeconfig, "--leader-elect=false", "--metrics-bind-address", "0", "--health-probe-bind-address", "0"},
	})
	check(t, err)
	t.Cleanup(func() { p.Kill(); <-p.Done() })
}

func credentials(t *testing.T, cluster *kube.Cluster, account string) *rest.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	check(t, cluster.ServiceAccountKubeconfig(t.Context(), "letmepost-system", account, path))
	config, err := clientcmd.BuildConfigFromFlags("", path)
	check(t, err)
	return config
}

func resources(t *testing.T, config *rest.Config) rest.Interface {
	t.Helper()
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme(t)).WithoutConversion()
	c, err := rest.RESTClientFor(config)
	check(t, err)
	return c
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	check(t, clientgoscheme.AddToScheme(s))
	check(t, v1alpha1.AddToScheme(s))
	return s
}

func admin(t *testing.T) client.Client {
	t.Helper()
	c, err := client.New(kube.Shared(t).AdminConfig(), client.Options{Scheme: scheme(t)})
	check(t, err)
	return c
}

// mintedByController creates a key, and returns it and its plaintext when the controller says that it is served.
func mintedByController(t *testing.T) (*v1alpha1.ApiKey, string) {
	t.Helper()
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: kube.Shared(t).Namespace(t), Name: "key"},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive},
	}
	check(t, admin(t).Create(t.Context(), k))
	eventually(t, "the key is served", func() bool {
		check(t, get(t, k))
		return meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionReady)
	})
	var s corev1.Secret
	check(t, admin(t).Get(t.Context(), client.ObjectKeyFromObject(k), &s))
	return k, string(s.Data[v1alpha1.SecretKeyAPIKey])
}

func get(t *testing.T, k *v1alpha1.ApiKey) error {
	t.Helper()
	return admin(t).Get(t.Context(), client.ObjectKeyFromObject(k), k)
}

// revokeByKubectl does what kubectl does: it returns when the key is gone.
func revokeByKubectl(t *testing.T, k *v1alpha1.ApiKey) {
	t.Helper()
	check(t, admin(t).Delete(t.Context(), k))
	awaitGone(t, k)
}

func awaitGone(t *testing.T, k *v1alpha1.ApiKey) {
	t.Helper()
	eventually(t, "the key is gone", func() bool { return apierrors.IsNotFound(get(t, k)) })
}

func refusedSoon(t *testing.T, base, plaintext string) {
	t.Helper()
	eventually(t, "new requests are refused", func() bool {
		resp, err := sendWith(t, http.MethodGet, base+"/v1/whoami", plaintext)
		check(t, err)
		resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized
	})
}

type outcome struct {
	status int
	body   string
}

// ask sends a request, and returns where its answer comes.
func ask(t *testing.T, method, url, plaintext string) <-chan outcome {
	t.Helper()
	answers := make(chan outcome, 1)
	go func() {
		resp, err := sendWith(t, method, url, plaintext)
		if err != nil {
			answers <- outcome{body: err.Error()}
			return
		}
		defer resp.Body.Close()
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		answers <- outcome{resp.StatusCode, body.String() + fmt.Sprint(err)}
	}()
	return answers
}

func sendWith(t *testing.T, method, url, plaintext string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+plaintext)
	return http.DefaultClient.Do(r)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
