// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// server speaks as much of the apiserver's protocol as a reflector needs.
type server struct {
	*httptest.Server

	mu      sync.Mutex
	held    map[string]func() // called between making up an answer to a list and sending it
	objects map[string][]runtime.Object
	events  map[string][]string // all that were sent, by resource
	sent    chan struct{}       // closed with the next event of any resource
	queries []url.Values
	asked   map[string]int  // lists, by resource
	watched map[string]int  // watches, by resource
	closed  map[string]bool // resources that are forbidden
	refused int
}

// forbid closes a resource to lists and watches that come, or opens it again.
func (s *server) forbid(resource string, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed[resource] = closed
}

func (s *server) forbids(resource string, watch bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed[resource] && !watch {
		s.refused++
	}
	return s.closed[resource]
}

// refusals is how many lists were refused. Of the last one, the client need not know yet, and never will of one before
// it that a relist has cut off.
func (s *server) refusals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// listed is how often each resource was listed.
func (s *server) listed() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.asked)
}

// watches is how often a resource was watched. A reflector watches what it has listed once the list was applied.
func (s *server) watches(resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watched[resource]
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{
		objects: map[string][]runtime.Object{},
		events:  map[string][]string{},
		sent:    make(chan struct{}),
		asked:   map[string]int{},
		watched: map[string]int{},
		closed:  map[string]bool{},
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) client(t *testing.T) rest.Interface {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, v1alpha1.AddToScheme(scheme))
	client, err := rest.RESTClientFor(&rest.Config{Host: s.URL, APIPath: "/apis", ContentConfig: rest.ContentConfig{
		GroupVersion:         &v1alpha1.GroupVersion,
		NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion(),
	}})
	must(t, err)
	return client
}

// hold holds the answer to the next list back until answer is called. arrived is closed when it is asked for.
func (s *server) hold(resource string) (arrived <-chan struct{}, answer func()) {
	came, release := make(chan struct{}), make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = map[string]func(){resource: func() {
		close(came)
		<-release
	}}
	return came, func() { close(release) }
}

func (s *server) set(resource string, objects ...runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[resource] = objects
}

func (s *server) send(resource, event string, o runtime.Object) {
	object, _ := json.Marshal(o)
	s.tell(resource, fmt.Sprintf(`{"type":%q,"object":%s}`, event, object))
}

func (s *server) tell(resource, event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events[resource] = append(s.events[resource], event)
	close(s.sent)
	s.sent = make(chan struct{})
}

// after returns the events of a resource after the first n, and what is closed when there are more.
func (s *server) after(resource string, n int) (events []string, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events[resource][n:], s.sent
}

// expire ends the watch as the apiserver does when its history no longer reaches back far enough.
func (s *server) expire(resource string) {
	s.tell(resource, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure",`+
		`"reason":"Expired","code":410,"message":"too old"}}`)
}

func (s *server) lists() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]url.Values(nil), s.queries...)
}

func (s *server) lastList() url.Values {
	lists := s.lists()
	return lists[len(lists)-1]
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, resource, _ := strings.Cut(r.URL.Path, "/v1alpha1/")
	resource = strings.TrimPrefix(resource, "namespaces/") // apikeys, or acme/apikeys
	watch := r.URL.Query().Get("watch") != ""
	if s.forbids(resource, watch) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if watch {
		s.watch(w, r, resource)
		return
	}
	page, wait := s.page(r, resource)
	if wait != nil {
		wait()
	}
	_ = json.NewEncoder(w).Encode(page)
}

// page makes up the answer to a list, and returns what to wait for before it is sent.
func (s *server) page(r *http.Request, resource string) (page map[string]any, wait func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = s.held[resource]
	delete(s.held, resource)
	s.queries = append(s.queries, r.URL.Query())
	s.asked[resource]++
	page = map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": map[string]string{"apikeys": "ApiKeyList", "profiles": "ProfileList"}[path.Base(resource)]}
	meta := map[string]any{"resourceVersion": strconv.Itoa(firstVersion + len(s.events[resource]))}
	items := s.objects[resource]
	if len(items) > 1 { // two pages, whatever the limit
		if r.URL.Query().Get("continue") == "" {
			meta["continue"], items = "rest", items[:1]
		} else {
			items = items[1:]
		}
	}
	page["metadata"], page["items"] = meta, items
	return page, wait
}

// firstVersion is the resourceVersion of a list before any event. That of a later one says how many there were.
const firstVersion = 100

// watch tells of what has happened since the list that it follows, whoever else watches: one whose client has gone may
// take its time to find that out, and must not take an event away from the next one.
func (s *server) watch(w http.ResponseWriter, r *http.Request, resource string) {
	version, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	told := version - firstVersion
	s.mu.Lock()
	s.watched[resource]++
	ofAList := err == nil && told >= 0 && told <= len(s.events[resource])
	s.mu.Unlock()
	if !ofAList {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for {
		events, more := s.after(resource, told)
		for _, event := range events {
			_, _ = fmt.Fprintln(w, event)
			_ = http.NewResponseController(w).Flush()
			if strings.Contains(event, `"ERROR"`) {
				return
			}
		}
		told += len(events)
		select {
		case <-r.Context().Done():
			return
		case <-more:
		}
	}
}
