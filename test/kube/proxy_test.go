package kube

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

var apiKeys = schema.GroupVersionResource{Group: "letmepost.dev", Version: "v1alpha1", Resource: "apikeys"}

// soon is how long a test waits for what must not happen.
const soon = 500 * time.Millisecond

func TestProxyPasses(t *testing.T) {
	b := newProxyBed(t)
	seen := b.watch()
	b.create("one")
	b.touch("one")
	b.delete("one")
	seen.await("ADDED one", "MODIFIED one", "DELETED one")

	httpClient, err := rest.HTTPClientFor(b.config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.proxy.url+"/version", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := httpClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.Proto != "HTTP/2.0" {
		t.Errorf("the proxy speaks %s, and the apiserver HTTP/2.0", response.Proto)
	}
}

// TestProxyWithoutApiserver is what clients of an apiserver that is away see: no answer, and not one of the proxy's.
func TestProxyWithoutApiserver(t *testing.T) {
	b := newProxyBed(t)
	seen := b.watch()
	b.cluster.apiServer.Kill() // asked to stop, it would wait for the watch to end
	<-b.cluster.apiServer.Done()
	seen.awaitEnd()
	if err := b.list(b.client); err == nil {
		t.Error("a list without an apiserver succeeded")
	}
	if err := b.cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the proxy to find the apiserver again", func() error { return b.list(b.client) })
}

func TestProxyRefuses(t *testing.T) {
	b := newProxyBed(t)
	seen := b.watch()
	b.proxy.SetMode(Refuse)
	seen.awaitEnd()
	if err := b.connect(t.Context())(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("want a new connection to be reset, got %v", err)
	}
	b.proxy.SetMode(Pass)
	if err := b.list(b.client); err != nil {
		t.Errorf("a client that was refused does not recover: %v", err)
	}
}

func TestProxyIsSilent(t *testing.T) {
	b := newProxyBed(t)
	seen := b.watch()
	b.proxy.SetMode(Silent)
	b.create("one")
	seen.expectNothing()
	for name, client := range map[string]dynamic.Interface{"old": b.client, "new": b.newClient()} {
		if err := b.listWithin(soon, client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the %s connection: want no answer, got %v", name, err)
		}
	}
	accepted := b.accepted()
	ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
	defer cancel()
	during := b.connect(ctx)
	waitFor(t, "the proxy to accept a connection", func() error {
		if b.accepted() == accepted {
			return errors.New("not yet")
		}
		return nil
	})

	b.proxy.SetMode(Pass)
	b.create("two")
	seen.expectNothing()
	for name, request := range map[string]func() error{"before": func() error { return b.listWithin(soon, b.client) }, "during": during} {
		if err := request(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a connection opened %s the silence must stay dead, got %v", name, err)
		}
	}
	if err := b.list(b.newClient()); err != nil {
		t.Errorf("a connection opened after the silence: %v", err)
	}
}

func TestProxyPauses(t *testing.T) {
	b := newProxyBed(t)
	seen := b.watch()
	b.proxy.SetMode(Paused)
	b.create("one")
	seen.expectNothing()
	late := make(chan error, 2)
	for _, client := range []dynamic.Interface{b.client, b.newClient()} {
		go func() {
			_, err := client.Resource(apiKeys).Namespace(b.namespace).List(t.Context(), metav1.ListOptions{})
			late <- err
		}()
	}
	select {
	case err := <-late:
		t.Errorf("a request was answered: %v", err)
	case <-time.After(soon):
	}
	b.proxy.SetMode(Pass)
	seen.await("ADDED one")
	for range 2 {
		if err := <-late; err != nil {
			t.Errorf("a request that was held back: %v", err)
		}
	}
}

func TestProxySwallows(t *testing.T) {
	b := newProxyBed(t)
	seen := b.watch()
	b.create("one")
	seen.await("ADDED one")

	b.proxy.SetMode(Swallow)
	b.touch("one")
	b.delete("one")
	b.create("two")
	seen.await("ADDED two")
	if n := b.proxy.Swallowed(); n != 2 {
		t.Errorf("%d events were swallowed, not 2", n)
	}
	list, err := b.client.Resource(apiKeys).Namespace(b.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].GetName() != "two" {
		t.Errorf("a list passes as it is; got %v, %v", list, err)
	}
	sendInitial := true
	b.watchWith(metav1.ListOptions{
		AllowWatchBookmarks: true, SendInitialEvents: &sendInitial, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}).await("ADDED two", "BOOKMARK ")

	b.proxy.SetMode(Pass)
	b.touch("two")
	seen.await("MODIFIED two")
}

func TestProxyModesFollowEachOther(t *testing.T) {
	b := newProxyBed(t)
	for _, mode := range []Mode{Silent, Paused, Refuse, Swallow, Silent, Refuse, Paused, Silent, Pass} {
		b.proxy.SetMode(mode)
		ctx, cancel := context.WithTimeout(t.Context(), soon/5)
		_, _ = b.newClient().Resource(apiKeys).Namespace(b.namespace).Watch(ctx, metav1.ListOptions{})
		cancel()
	}
	if err := b.list(b.newClient()); err != nil {
		t.Error(err)
	}
}

// TestProxyClose closes a proxy in each mode, while a watch and a request are under way.
func TestProxyClose(t *testing.T) {
	for _, mode := range []Mode{Pass, Refuse, Silent, Paused, Swallow} {
		t.Run(string(mode), func(t *testing.T) {
			b := newProxyBed(t)
			before := runtime.NumGoroutine()
			proxy, err := b.cluster.StartProxy()
			if err != nil {
				t.Fatal(err)
			}
			b.config.Host = proxy.url
			b.client = b.newClient()
			seen := b.watch()
			proxy.SetMode(mode)
			if err := proxy.Close(); err != nil {
				t.Error(err)
			}
			seen.awaitEnd()
			if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(proxy.url, "https://")); err == nil {
				conn.Close()
				t.Error("it still listens")
			}
			waitFor(t, "every goroutine to end", func() error {
				if now := runtime.NumGoroutine(); now > before {
					buffer := make([]byte, 1<<20)
					return errors.New(string(buffer[:runtime.Stack(buffer, true)]))
				}
				return nil
			})
			if err := proxy.Close(); err != nil {
				t.Errorf("a second time: %v", err)
			}
		})
	}
}
