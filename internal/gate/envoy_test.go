// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/gate"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// serveGRPC serves, and connects to it as Envoy does: by the published protocol. There is no Envoy here.
func (f *fixture) serveGRPC(t testing.TB, g *gate.Gate) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.Server = gate.NewServer(g, gate.ServerOptions{Listener: l, Connections: 10, Ready: f.serving.Load})
	ended := make(chan error, 1)
	go func() { ended <- f.Serve() }()
	f.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.conn.Close()
		f.Stop(time.Minute)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A process may be told to end before all of it has begun.
func TestStoppedBeforeItServes(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := gate.NewServer(newFixture(t).gate, gate.ServerOptions{Listener: l, Connections: 1})
	s.Stop(time.Minute)
	if err := s.Serve(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
}

// envoy asks. Headers are lower case there, and there is one value of each name.
func (f *fixture) envoy(
	t testing.TB, extensions map[string]string, headers map[string]string,
) *authv3.CheckResponse {
	t.Helper()
	r, err := authv3.NewAuthorizationClient(f.conn).Check(t.Context(), request(extensions, headers))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func request(extensions map[string]string, headers map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: extensions,
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "POST", Path: "/admin", Host: "service", Headers: headers, Body: "a body that nobody reads",
		}},
	}}
}

// extensionsOf is a query as context_extensions; false: it can't be said there.
func extensionsOf(query string) (map[string]string, bool) {
	values, err := url.ParseQuery(query)
	extensions := map[string]string{}
	for name, list := range values {
		switch {
		case name == "scope":
			extensions["scopes"] = strings.Join(list, " ")
		case name == "scopes": // which is as wrong in a query as this is here
			extensions["scope"] = list[0]
		case name == "refuse" || len(list) > 1:
			return nil, false
		default:
			extensions[name] = list[0]
		}
	}
	return extensions, err == nil
}

// headersOf are those that an answer sets, and sees that each takes the place of one that is there.
func headersOf(t *testing.T, options []*corev3.HeaderValueOption) map[string]string {
	t.Helper()
	headers := map[string]string{}
	for _, o := range options {
		name := o.GetHeader().GetKey()
		if o.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD || headers[name] != "" {
			t.Errorf("%s is added to what is there, or set twice", name)
		}
		headers[name] = o.GetHeader().GetValue()
	}
	return headers
}

// TestEnvoy asks what TestForward asks: the answers are the same.
func TestEnvoy(t *testing.T) {
	f := newWorld(t)
	asked := 0
	for _, c := range f.questions {
		extensions, ok := extensionsOf(c.query)
		if !ok {
			continue
		}
		asked++
		headers := map[string]string{"authorization": "Bearer " + c.key, "cookie": "a=b"}
		if c.key == "" {
			delete(headers, "authorization")
		}
		r := f.envoy(t, extensions, headers)
		if c.status == http.StatusOK {
			if r.GetStatus().GetCode() != int32(codes.OK) || r.GetOkResponse() == nil {
				t.Errorf("%s: refused with %v", c.reason, r)
			}
			continue
		}
		denied := r.GetDeniedResponse()
		got := headersOf(t, denied.GetHeaders())
		if r.GetStatus().GetCode() == int32(codes.OK) || denied == nil || int(denied.GetStatus().GetCode()) != c.status ||
			got["X-Letmepost-Refused"] != c.code || !strings.Contains(denied.GetBody(), `"code":"`+c.code+`"`) {
			t.Errorf("%s: %v, want %d %s", c.reason, r, c.status, c.code)
		}
		if (got["Www-Authenticate"] != "") != (c.status == 401 || c.code == "unauthorized") ||
			(got["Retry-After"] != "") != (c.code == "rate_limited") {
			t.Errorf("%s: %v", c.reason, got)
		}
		if r.GetDynamicMetadata() != nil {
			t.Errorf("%s: refused, and the proxy is told who it is", c.reason)
		}
	}
	if asked < 25 {
		t.Errorf("%d questions were asked", asked)
	}
}

// TestEnvoyIdentity: who it is stands in headers and in metadata; what is empty, and what a client may have sent in its
// place, is removed.
func TestEnvoyIdentity(t *testing.T) {
	f := newWorld(t)
	ok := f.envoy(t, nil, map[string]string{"authorization": "Bearer " + f.pinnedKey})
	want := map[string]string{
		"X-Letmepost-Organization": f.pinned.Namespace, "X-Letmepost-Organization-Id": f.pinned.Status.OrganizationID,
		"X-Letmepost-Profile": f.shop.Name, "X-Letmepost-Profile-Id": string(f.shop.UID), "X-Letmepost-Environment": "live",
		"X-Letmepost-Key": f.pinned.Name, "X-Letmepost-Key-Id": string(f.pinned.UID),
		"X-Letmepost-Scopes": "posts:read posts:write media:read media:write accounts:read accounts:write",
	}
	if got := headersOf(t, ok.GetOkResponse().GetHeaders()); !maps.Equal(got, want) {
		t.Errorf("headers %v, want %v", got, want)
	}
	fields := ok.GetDynamicMetadata().AsMap()
	if len(fields) != len(want) || fields["key_id"] != string(f.pinned.UID) || fields["organization"] != f.pinned.Namespace {
		t.Errorf("metadata %v", fields)
	}
	unpinned := f.envoy(t, nil, map[string]string{"authorization": "Bearer " + f.orgKey}).GetOkResponse()
	set := headersOf(t, unpinned.GetHeaders())
	for _, name := range gate.IdentityHeaders {
		removed := slices.Contains(unpinned.GetHeadersToRemove(), name)
		if _, there := set[name]; there == removed {
			t.Errorf("%s is set: %t, and removed: %t: it must be one of the two", name, there, removed)
		}
		if twin := strings.ReplaceAll(strings.ToLower(name), "-", "_"); !slices.Contains(unpinned.GetHeadersToRemove(), twin) {
			t.Errorf("%s is not removed", twin)
		}
	}
}

// TestEnvoyClaims: claims are one header for services, and a struct for filters, which find each by its name. An answer
// is kept for who it is, so that one with other claims is another one.
func TestEnvoyClaims(t *testing.T) {
	format := authntest.Format(t)
	claiming := func(plan v1alpha1.ClaimValue) (*v1alpha1.ApiKey, string) {
		return authntest.Minted(t, format, key.Live, authntest.Scoped("billing.example.com:read"),
			authntest.Claiming(map[string]v1alpha1.ClaimValue{"plan": plan, "customer": "acme-42"}))
	}
	gold, goldKey := claiming("gold")
	free, freeKey := claiming("free")
	large, largeKey := authntest.Minted(t, format, key.Live, longest)
	f := newFixture(t, gold, free, large)
	demand := map[string]string{"scopes": "billing.example.com:read"}
	for range 2 {
		for plan, plaintext := range map[string]string{"gold": goldKey, "free": freeKey} {
			ok := f.envoy(t, demand, map[string]string{"authorization": "Bearer " + plaintext})
			got := headersOf(t, ok.GetOkResponse().GetHeaders())
			if got["X-Letmepost-Claims"] != `customer="acme-42", plan="`+plan+`"` ||
				got["X-Letmepost-Scopes"] != "billing.example.com:read" {
				t.Errorf("%s: headers %v", plan, got)
			}
			want := map[string]any{"plan": plan, "customer": "acme-42"}
			if claims, _ := ok.GetDynamicMetadata().AsMap()["claims"].(map[string]any); !maps.Equal(claims, want) {
				t.Errorf("%s: metadata %v", plan, ok.GetDynamicMetadata())
			}
		}
	}
	ok := f.envoy(t, nil, map[string]string{"authorization": "Bearer " + largeKey})
	if claims, _ := ok.GetDynamicMetadata().AsMap()["claims"].(map[string]any); len(claims) != 8 {
		t.Errorf("%d of 8 claims", len(claims))
	}
}

// TestEnvoyHeaders: however Envoy shows them, two keys are none, and nobody says themselves who they are.
func TestEnvoyHeaders(t *testing.T) {
	f := newWorld(t)
	good := "Bearer " + f.orgKey
	raw := func(values ...string) *authv3.AttributeContext_HttpRequest {
		list := &corev3.HeaderMap{}
		for i := 0; i < len(values); i += 2 {
			list.Headers = append(list.Headers, &corev3.HeaderValue{Key: values[i], RawValue: []byte(values[i+1])})
		}
		return &authv3.AttributeContext_HttpRequest{HeaderMap: list}
	}
	for _, c := range []struct {
		reason string
		http   *authv3.AttributeContext_HttpRequest
		status int
	}{
		{"raw", raw("authorization", good), 200},
		{"a list that is not raw", &authv3.AttributeContext_HttpRequest{HeaderMap: &corev3.HeaderMap{
			Headers: []*corev3.HeaderValue{{Key: "authorization", Value: good}},
		}}, 200},
		{"raw, twice", raw("authorization", good, "authorization", good), 401},
		{"joined", &authv3.AttributeContext_HttpRequest{Headers: map[string]string{"authorization": good + "," + good}}, 401},
		{"in both", &authv3.AttributeContext_HttpRequest{
			Headers: map[string]string{"authorization": good}, HeaderMap: raw("authorization", good).HeaderMap,
		}, 401},
		{"an identity", raw("authorization", good, "x-letmepost-organization", "globex"), 403},
		{"its twin", raw("authorization", good, "x_letmepost_organization", "globex"), 403},
		{"claims", raw("authorization", good, "x-letmepost-claims", `plan="gold"`), 403},
		{"the twin of claims", raw("authorization", good, "x_letmepost_claims", `plan="gold"`), 403},
		{"its other twin", &authv3.AttributeContext_HttpRequest{
			Headers: map[string]string{"authorization": good, "x-letmepost_key": "k"},
		}, 403},
		{"nothing at all", nil, 401},
	} {
		r, err := authv3.NewAuthorizationClient(f.conn).Check(t.Context(), &authv3.CheckRequest{
			Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: c.http}},
		})
		got := int(r.GetDeniedResponse().GetStatus().GetCode())
		if r.GetOkResponse() != nil {
			got = 200
		}
		if err != nil || got != c.status {
			t.Errorf("%s: %v %v, want %d", c.reason, r, err, c.status)
		}
	}
}

// TestEnvoyFenced: a gate that can't say who may pass answers neither yes nor no, and health follows it.
func TestEnvoyFenced(t *testing.T) {
	f := newWorld(t)
	health := func() healthv1.HealthCheckResponse_ServingStatus {
		t.Helper()
		r, err := healthv1.NewHealthClient(f.conn).Check(t.Context(), &healthv1.HealthCheckRequest{
			Service: "envoy.service.auth.v3.Authorization",
		})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetStatus()
	}
	if got := health(); got != healthv1.HealthCheckResponse_SERVING {
		t.Error(got)
	}
	f.serving.Store(false)
	r := f.envoy(t, nil, map[string]string{"authorization": "Bearer " + f.orgKey})
	if r.GetErrorResponse().GetStatus().GetCode() != 503 || r.GetOkResponse() != nil || r.GetDeniedResponse() != nil ||
		r.GetStatus().GetCode() != int32(codes.Unavailable) {
		t.Errorf("%v", r)
	}
	if got := health(); got != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Error(got)
	}
}

// TestRefusalsAreNoted: each answer is counted, and of a refused key there is a line that says whose it was.
func TestRefusalsAreNoted(t *testing.T) {
	f := newWorld(t)
	f.log.Reset()
	deleting := f.org.DeepCopy()
	authntest.Deleting(deleting)
	f.index.PutKey(deleting)
	f.ask("", bearer(f.orgKey))
	f.envoy(t, nil, map[string]string{"authorization": "Bearer " + f.orgKey})
	lines := strings.Split(strings.TrimSpace(f.log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%q", lines)
	}
	for _, line := range lines {
		for _, want := range []string{`"refusal":"revoked"`, `"key":"` + f.org.Namespace + "/" + f.org.Name + `"`} {
			if !strings.Contains(line, want) || strings.Contains(line, f.orgKey) {
				t.Errorf("%s lacks %s, or has the key", line, want)
			}
		}
	}
	for _, protocol := range []string{"http", "grpc"} {
		if got := f.counted(t, protocol, "unauthenticated"); got != 1 {
			t.Errorf("%s: %v refusals are counted, want 1", protocol, got)
		}
	}
}
