package kube

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// proxyBed is a client of a proxy, in a namespace of its own, and an administrator who needs none.
type proxyBed struct {
	t         *testing.T
	cluster   *Cluster
	proxy     *Proxy
	config    *rest.Config
	client    dynamic.Interface
	admin     dynamic.ResourceInterface
	namespace string
}

func newProxyBed(t *testing.T) *proxyBed {
	t.Helper()
	cluster := Shared(t)
	if err := InstallManifests(t.Context(), cluster.AdminConfig(), Path("config/crd"), Path("config/rbac")); err != nil {
		t.Fatal(err)
	}
	proxy, err := cluster.StartProxy()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := proxy.ServiceAccountKubeconfig(t.Context(), "letmepost-system", "letmepost-api", path); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	b := &proxyBed{t: t, cluster: cluster, proxy: proxy, config: config, namespace: cluster.Namespace(t)}
	b.admin = dynamic.NewForConfigOrDie(cluster.AdminConfig()).Resource(apiKeys).Namespace(b.namespace)
	b.client = b.newClient()
	waitFor(t, "the role binding to take effect", func() error { return b.list(b.client) })
	return b
}

// newClient returns a client with connections of its own.
func (b *proxyBed) newClient() dynamic.Interface {
	config := rest.CopyConfig(b.config)
	config.Dial = (&net.Dialer{}).DialContext
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		b.t.Fatal(err)
	}
	return client
}

// connect opens a connection, and returns what waits until the proxy has answered with its certificate.
func (b *proxyBed) connect(ctx context.Context) func() error {
	b.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(b.proxy.url, "https://"))
	if err != nil {
		return func() error { return err } // a reset can be that quick
	}
	b.t.Cleanup(func() { conn.Close() })
	return func() error { return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) }
}

// accepted is how many connections the proxy has open.
func (b *proxyBed) accepted() int {
	b.proxy.mu.Lock()
	defer b.proxy.mu.Unlock()
	return len(b.proxy.connections)
}

// list asks for the keys, and waits for the answer as long as a loaded machine may take.
func (b *proxyBed) list(client dynamic.Interface) error { return b.listWithin(time.Minute, client) }

func (b *proxyBed) listWithin(bound time.Duration, client dynamic.Interface) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), bound)
	defer cancel()
	_, err := client.Resource(apiKeys).Namespace(b.namespace).List(ctx, metav1.ListOptions{})
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // client-go may tell of its own rate limiter
	}
	return err
}

func (b *proxyBed) create(name string) {
	b.t.Helper()
	_, err := b.admin.Create(b.t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "letmepost.dev/v1alpha1", "kind": "ApiKey", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"environment": "live"},
	}}, metav1.CreateOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *proxyBed) touch(name string) {
	b.t.Helper()
	patch := []byte(`{"metadata":{"labels":{"a":"` + time.Now().Format("150405.000000") + `"}}}`)
	if _, err := b.admin.Patch(b.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *proxyBed) delete(name string) {
	b.t.Helper()
	if err := b.admin.Delete(b.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// events are those of a watch, as "TYPE name".
type events struct {
	t       *testing.T
	results <-chan watch.Event
}

func (b *proxyBed) watch() events {
	b.t.Helper()
	return b.watchWith(metav1.ListOptions{})
}

func (b *proxyBed) watchWith(options metav1.ListOptions) events {
	b.t.Helper()
	w, err := b.client.Resource(apiKeys).Namespace(b.namespace).Watch(b.t.Context(), options)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(w.Stop)
	return events{b.t, w.ResultChan()}
}

func (e events) await(want ...string) {
	e.t.Helper()
	for _, want := range want {
		select {
		case event := <-e.results:
			object, ok := event.Object.(metav1.Object)
			if !ok {
				e.t.Fatalf("want %s, got %s %v", want, event.Type, event.Object)
			}
			if got := string(event.Type) + " " + object.GetName(); got != want {
				e.t.Fatalf("want %s, got %s", want, got)
			}
		case <-time.After(time.Minute):
			e.t.Fatalf("%s does not come", want)
		}
	}
}

func (e events) expectNothing() {
	e.t.Helper()
	select {
	case event, open := <-e.results:
		e.t.Errorf("want silence, got %v (%v)", event, open)
	case <-time.After(soon):
	}
}

// awaitEnd waits until the stream is cut.
func (e events) awaitEnd() {
	e.t.Helper()
	for {
		select {
		case _, open := <-e.results:
			if !open {
				return
			}
		case <-time.After(time.Minute):
			e.t.Fatal("the stream is not cut")
		}
	}
}
