// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// wire stands between a controller and the apiserver: it notes every request, and cuts in where a test wants.
type wire struct {
	mu    sync.Mutex
	calls []call
	keys  map[string]bool // every key that was ever sent, accepted or not
	cuts  []*cut
	dead  bool

	refuses map[refused]int // with which status
}

// refused are the requests with a method and an end of path.
type refused struct{ method, path string }

type call struct {
	method, path string
	status       int // 0: no answer
}

// cut is a fault at one point, for one request.
type cut struct {
	method, path string // a suffix
	delivered    bool   // the apiserver got the request, and only the answer is lost
	fatal        bool   // nothing goes through any more: the process is as good as dead
	instead      func() // what happens instead of a fault, before the request goes on
	struck       chan struct{}
}

var errCut = errors.New("the wire is cut")

var keyPattern = regexp.MustCompile(`lmp_(?:live|test)_[0-9A-Za-z]{38}`)

func (w *wire) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Query().Get("watch") != "" {
			return next.RoundTrip(req)
		}
		if err := w.listen(req); err != nil {
			return nil, err
		}
		if status := w.refusalOf(req); status != 0 {
			return answerWith(req, status)
		}
		c := w.take(req)
		if c != nil && c.instead != nil {
			c.instead()
			w.strike(c)
			c = nil
		}
		if c != nil && !c.delivered {
			w.strike(c)
		}
		if w.isDead() || c != nil && !c.delivered {
			return nil, errCut
		}
		resp, err := next.RoundTrip(req)
		w.note(req, resp)
		if c != nil && err == nil {
			_ = resp.Body.Close()
			w.strike(c)
			return nil, errCut
		}
		return resp, err
	})
}

// refuse has requests answered with a status, as a webhook that is down or a permission that is missing would, until
// the result is called.
func (w *wire) refuse(method, path string, status int) (lift func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuses == nil {
		w.refuses = map[refused]int{}
	}
	w.refuses[refused{method, path}] = status
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.refuses, refused{method, path})
	}
}

func (w *wire) refusalOf(req *http.Request) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for r, status := range w.refuses {
		if r.method == req.Method && strings.HasSuffix(req.URL.Path, r.path) {
			return status
		}
	}
	return 0
}

// answerWith answers as the apiserver does, and quotes what was sent.
func answerWith(req *http.Request, status int) (*http.Response, error) {
	var sent []byte
	if req.Body != nil {
		sent, _ = io.ReadAll(req.Body)
	}
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(status), Reason: reasons[status],
		Message: fmt.Sprintf("%s of a spec: %s", reasons[status], sent),
	})
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
	}, err
}

// reasons are what may be wrong for longer, by the apiserver's word for it.
var reasons = map[int]metav1.StatusReason{
	http.StatusBadRequest:          metav1.StatusReasonBadRequest,
	http.StatusUnauthorized:        metav1.StatusReasonUnauthorized,
	http.StatusForbidden:           metav1.StatusReasonForbidden,
	http.StatusUnprocessableEntity: metav1.StatusReasonInvalid,
	http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
	http.StatusInternalServerError: metav1.StatusReasonInternalError,
	http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
	http.StatusGatewayTimeout:      metav1.StatusReasonTimeout,
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// listen remembers the keys in a request's body.
func (w *wire) listen(req *http.Request) error {
	if req.Body == nil {
		return nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, found := range keyPattern.FindAll(body, -1) {
		if w.keys == nil {
			w.keys = map[string]bool{}
		}
		w.keys[string(found)] = true
	}
	return nil
}

// take returns the cut that is meant for req, and spends it.
func (w *wire) take(req *http.Request) *cut {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range w.cuts {
		if c.method == req.Method && strings.HasSuffix(req.URL.Path, c.path) {
			w.cuts = append(w.cuts[:i], w.cuts[i+1:]...)
			return c
		}
	}
	return nil
}

func (w *wire) strike(c *cut) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = w.dead || c.fatal
	close(c.struck)
}

func (w *wire) isDead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

func (w *wire) note(req *http.Request, resp *http.Response) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := call{method: req.Method, path: req.URL.Path}
	if resp != nil {
		c.status = resp.StatusCode
	}
	w.calls = append(w.calls, c)
}

// cutAt makes the next such request fail; the result is closed when that has happened.
func (w *wire) cutAt(c cut) <-chan struct{} {
	c.struck = make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts = append(w.cuts, &c)
	return c.struck
}

// count is how many requests there were with a method and an end of path.
func (w *wire) count(method, path string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, c := range w.calls {
		if c.method == method && strings.HasSuffix(c.path, path) {
			n++
		}
	}
	return n
}

// named are the objects of the requests with a method and a kind of path, such as /apikeys/, in their order.
func (w *wire) named(method, kind string) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if _, name, found := strings.Cut(c.path, kind); found && c.method == method && !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	return names
}

// Ends of paths.
func secretPath(namespace, name string) string {
	return "/namespaces/" + namespace + "/secrets/" + name
}
func secretsPath(namespace string) string { return "/namespaces/" + namespace + "/secrets" }
func statusPath(k *v1alpha1.ApiKey) string {
	return "/namespaces/" + k.Namespace + "/apikeys/" + k.Name + "/status"
}

// audit looks at all that was asked in a life. The apiserver's RBAC has the last word on what the controller may do;
// this is on what it tries.
func (w *wire) audit() {
	GinkgoHelper()
	w.mu.Lock()
	defer w.mu.Unlock()
	secrets := regexp.MustCompile(`^/api/v1/(namespaces/[^/]+/)?secrets(/[^/]+)?$`)
	for _, c := range w.calls {
		if parts := secrets.FindStringSubmatch(c.path); parts != nil {
			get, create := c.method == http.MethodGet && parts[2] != "", c.method == http.MethodPost
			Expect(get || create).To(BeTrue(), "the controller tried to %s %s", c.method, c.path)
			continue // a Secret may be forbidden by a quota or a policy
		}
		if c.status == http.StatusForbidden {
			Expect(c.path).To(HaveSuffix("/events"), "%s was forbidden, and only events of a namespace that is going may be", c.method)
		}
	}
}
