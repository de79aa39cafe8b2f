// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/gate"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/tokenreview"
)

// accounts stand for the apiserver: by token, the namespaces in which a service may introspect; "" is all. The real one
// answers in test/chart, and to package tokenreview.
type accounts map[string][]string

var errAway = errors.New("the apiserver is away")

// away is a token for which the apiserver does not answer; awayLater one of which it does not say what it may.
const away, awayLater = "away", "away later"

func (accounts) Review(_ context.Context, token string) (*tokenreview.Account, error) {
	switch token {
	case "nobody", "":
		return nil, tokenreview.ErrUnauthenticated
	case away:
		return nil, errAway
	}
	return &tokenreview.Account{Username: token, Namespace: "home"}, nil
}

func (a accounts) May(_ context.Context, who *tokenreview.Account, right tokenreview.Right) (bool, error) {
	if who.Username == awayLater {
		return false, errAway
	}
	for _, namespace := range a[who.Username] {
		if (namespace == "" || namespace == right.Namespace) && right.Verb == "create" && right.Resource == "introspections" {
			return true, nil
		}
	}
	return false, nil
}

// services are those that ask in these tests.
var services = accounts{
	"everywhere": {""}, "acme": {authntest.Namespace}, "home": {"home"}, "both": {"home", authntest.Namespace}, "none": nil,
}

const form = "application/x-www-form-urlencoded"

// introspecting asks as a service does.
func introspecting(i *gate.Introspection, service, query, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/introspect"+query, strings.NewReader(body))
	r.Header.Set("Content-Type", form)
	if service != "" {
		r.Header.Set("Authorization", "Bearer "+service)
	}
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	return w
}

func newIntrospection(t testing.TB, f *fixture) *gate.Introspection {
	t.Helper()
	i, err := gate.NewIntrospection(f.gate, services, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

const inactive = `{"active":false}`

// TestIntrospection: who asks, what it is for, and what a key is.
func TestIntrospection(t *testing.T) {
	f := newWorld(t)
	i := newIntrospection(t, f.fixture)
	format := authntest.Format(t)
	foreign, foreignKey := authntest.Minted(t, format, key.Live, authntest.In("globex", "0910be00-0000-4000-8000-000000000000"))
	homely, homeKey := authntest.Minted(t, format, key.Live, authntest.In("home", "40e00000-0000-4000-8000-000000000000"))
	deleting, deletingKey := authntest.Minted(t, format, key.Live, authntest.Deleting)
	gone, goneKey := authntest.Minted(t, format, key.Live)
	test, testKey := authntest.Minted(t, format, key.Test)
	expired, expiredKey := authntest.Minted(t, format, key.Live, authntest.ExpiringAt(now))
	for _, k := range []*v1alpha1.ApiKey{foreign, homely, deleting, gone, test, expired} {
		f.index.PutKey(k)
	}
	f.index.RemoveKey(gone)
	leaked, leakedKey := authntest.Minted(t, format, key.Live)
	f.index.PutKey(leaked)
	f.index.ReportLeak(key.DigestOf(leakedKey))
	typo := f.orgKey[:len(f.orgKey)-1] + "-"
	const yes, no = true, false
	for _, c := range []struct {
		reason, service, query, key string
		status                      int
		active                      bool
	}{
		{"a good key", "everywhere", "", f.orgKey, 200, yes},
		{"of any organization", "everywhere", "", foreignKey, 200, yes},
		{"of the one that is asked for", "everywhere", "?organization=acme", f.orgKey, 200, yes},
		{"and of no other", "everywhere", "?organization=acme", foreignKey, 200, no},
		{"by who may in one", "acme", "?organization=acme", f.orgKey, 200, yes},
		{"who learns nothing of another's", "acme", "?organization=acme", foreignKey, 200, no},
		{"by who may at home", "home", "", homeKey, 200, yes},
		{"and nowhere else", "home", "", f.orgKey, 200, no},
		{"by who may at home and in one", "both", "?organization=acme", f.orgKey, 200, yes},
		{"and asks about home", "both", "", f.orgKey, 200, no},
		{"pinned", "everywhere", "", f.pinnedKey, 200, yes},
		{"of the test environment", "everywhere", "?environment=test", testKey, 200, yes},
		{"which nobody takes for a live one", "everywhere", "", testKey, 200, no},
		{"nor the other way round", "everywhere", "?environment=test", f.orgKey, 200, no},
		{"expired", "everywhere", "", expiredKey, 200, no},
		{"being deleted", "everywhere", "", deletingKey, 200, no},
		{"gone", "everywhere", "", goneKey, 200, no},
		{"reported as leaked", "everywhere", "", leakedKey, 200, no},
		{"mistyped", "everywhere", "", typo, 200, no},
		{"with something before it", "everywhere", "", " " + f.orgKey, 200, no},
		{"with something after it", "everywhere", "", f.orgKey + " ", 200, no},
		{"none", "everywhere", "", "nonsense", 200, no},
		{"long", "everywhere", "", strings.Repeat("x", 3000), 200, no},
		{"a service that says nothing", "", "", f.orgKey, 401, no},
		{"one that nobody knows", "nobody", "", f.orgKey, 401, no},
		{"one that may nothing", "none", "", f.orgKey, 403, no},
		{"one that may elsewhere", "acme", "", f.orgKey, 403, no},
		{"the same, of an organization", "acme", "?organization=globex", foreignKey, 403, no},
		{"the same, of none", "acme", "?organization=nowhere", "nonsense", 403, no},
		{"while nobody says who it is", away, "", f.orgKey, 503, no},
		{"while nobody says what it may", awayLater, "", f.orgKey, 503, no},
		{"an environment that there is not", "everywhere", "?environment=prod", f.orgKey, 400, no},
		{"a parameter that there is not", "everywhere", "?scope=posts:read", f.orgKey, 400, no},
		{"a token where logs have it", "everywhere", "?token=x", f.orgKey, 400, no},
		{"a query that is none", "everywhere", "?%zz", f.orgKey, 400, no},
		{"a long one", "everywhere", "?organization=" + strings.Repeat("x", 3000), f.orgKey, 400, no},
	} {
		got := introspecting(i, c.service, c.query, url.Values{"token": {c.key}, "token_type_hint": {"any"}}.Encode())
		active := strings.Contains(got.Body.String(), `"active":true`)
		switch {
		case got.Code != c.status || active != c.active:
			t.Errorf("%s: %d %s", c.reason, got.Code, got.Body)
		case c.status == 200 && !active && got.Body.String() != inactive:
			t.Errorf("%s: of a key that is not good it says %s", c.reason, got.Body)
		case (got.Header().Get("Www-Authenticate") != "") != (c.status == 401 || c.status == 403):
			t.Errorf("%s: challenge %q", c.reason, got.Header().Get("Www-Authenticate"))
		case got.Header().Get("Cache-Control") != "no-store" || got.Header().Get("Content-Type") != "application/json":
			t.Errorf("%s: headers %v", c.reason, got.Header())
		}
	}
	f.serving.Store(false)
	if got := introspecting(i, "everywhere", "", "token="+f.orgKey); got.Code != http.StatusServiceUnavailable {
		t.Errorf("fenced: %d %s", got.Code, got.Body)
	}
}

// TestIntrospected: what is said of a good key.
func TestIntrospected(t *testing.T) {
	shop := authntest.Profile()
	ends := now.Add(time.Hour)
	k, secret := authntest.Minted(t, authntest.Format(t), key.Live, authntest.PinnedTo(shop), authntest.ExpiringAt(ends),
		authntest.Scoped(v1alpha1.ScopePostsRead, v1alpha1.ScopeMediaRead))
	plain, plainSecret := authntest.Minted(t, authntest.Format(t), key.Live)
	own, ownSecret := authntest.Minted(t, authntest.Format(t), key.Live,
		authntest.Scoped("billing.example.com:read", v1alpha1.ScopePostsRead, "crm.example.com:write"),
		func(k *v1alpha1.ApiKey) {
			k.Spec.Claims = map[string]v1alpha1.ClaimValue{"plan": "gold", "customer": "acme 42"}
		})
	f := newFixture(t, shop, k, plain, own)
	i := newIntrospection(t, f)
	for _, c := range []struct {
		key  string
		want map[string]any
	}{
		{secret, map[string]any{
			"active": true, "scope": "posts:read media:read", "client_id": k.Namespace + "/" + k.Name, "token_type": "Bearer",
			"sub": string(k.UID), "exp": float64(ends.Unix()), "iat": float64(authntest.Epoch.Unix()),
			"organization": k.Namespace, "organization_id": k.Status.OrganizationID, "environment": "live",
			"profile": shop.Name, "profile_id": string(shop.UID), "key": k.Name, "key_id": string(k.UID),
		}},
		{plainSecret, map[string]any{
			"active": true, "scope": "posts:read posts:write media:read media:write accounts:read accounts:write",
			"client_id": plain.Namespace + "/" + plain.Name, "token_type": "Bearer", "sub": string(plain.UID),
			"iat": float64(authntest.Epoch.Unix()), "organization": plain.Namespace, "organization_id": plain.Status.OrganizationID,
			"environment": "live", "key": plain.Name, "key_id": string(plain.UID),
		}},
		{ownSecret, map[string]any{
			"active": true, "scope": "posts:read billing.example.com:read crm.example.com:write",
			"client_id": own.Namespace + "/" + own.Name, "token_type": "Bearer", "sub": string(own.UID),
			"iat": float64(authntest.Epoch.Unix()), "organization": own.Namespace, "organization_id": own.Status.OrganizationID,
			"environment": "live", "key": own.Name, "key_id": string(own.UID),
			"claims": map[string]any{"plan": "gold", "customer": "acme 42"},
		}},
	} {
		var got map[string]any
		if err := json.Unmarshal(introspecting(i, "everywhere", "", "token="+c.key).Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
}

// TestIntrospectionIsFree: questions of a service use nobody's rate up.
func TestIntrospectionIsFree(t *testing.T) {
	slow, secret := authntest.Minted(t, authntest.Format(t), key.Live, func(k *v1alpha1.ApiKey) {
		k.Spec.RateLimit = &v1alpha1.RateLimit{Requests: 1}
		k.Spec.RateLimit.Window.Duration = time.Hour
	})
	f := newFixture(t, slow)
	i := newIntrospection(t, f)
	for range 3 {
		if got := introspecting(i, "everywhere", "", "token="+secret); !strings.Contains(got.Body.String(), `"active":true`) {
			t.Fatalf("it is %s", got.Body)
		}
	}
	if got := f.ask("", bearer(secret)); got.Code != http.StatusOK {
		t.Errorf("the first request is answered %d", got.Code)
	}
	if got := introspecting(i, "everywhere", "", "token="+secret); !strings.Contains(got.Body.String(), `"active":true`) {
		t.Errorf("when the rate is used up, the key is %s", got.Body)
	}
	if strings.Contains(f.log.String(), secret) {
		t.Error("the log has the key")
	}
}

// TestIntrospectionTakes: methods, types and forms. Whoever has not said who it is, is told nothing of them.
func TestIntrospectionTakes(t *testing.T) {
	org, secret := authntest.Minted(t, authntest.Format(t), key.Live)
	f := newFixture(t, org)
	i := newIntrospection(t, f)
	for _, c := range []struct {
		reason, method, kind, body string
		status                     int
	}{
		{"a form", "POST", form, "token=" + secret, 200},
		{"with a charset", "POST", form + "; charset=utf-8", "token=" + secret, 200},
		{"in capitals", "POST", "Application/X-WWW-Form-URLencoded", "token=" + secret, 200},
		{"GET, which logs and caches keep", "GET", form, "token=" + secret, 405},
		{"PUT", "PUT", form, "token=" + secret, 405},
		{"DELETE", "DELETE", form, "token=" + secret, 405},
		{"HEAD", "HEAD", form, "token=" + secret, 405},
		{"OPTIONS", "OPTIONS", "", "", 405},
		{"JSON", "POST", "application/json", `{"token":"` + secret + `"}`, 415},
		{"parts", "POST", "multipart/form-data; boundary=x", "--x--", 415},
		{"no type", "POST", "", "token=" + secret, 415},
		{"a type that is none", "POST", ";", "token=" + secret, 415},
		{"two types", "POST", form + ", " + form, "token=" + secret, 415},
		{"no token", "POST", form, "token_type_hint=access_token", 400},
		{"an empty one", "POST", form, "token=", 400},
		{"two", "POST", form, "token=" + secret + "&token=" + secret, 400},
		{"nothing", "POST", form, "", 400},
		{"no form", "POST", form, "%zz", 400},
		{"semicolons", "POST", form, "a=b;token=" + secret, 400},
		{"as long as may be", "POST", form, "token=" + secret + "&x=" + strings.Repeat("x", 4<<10-len("token=&x=")-len(secret)), 200},
		{"longer", "POST", form, "token=" + secret + "&x=" + strings.Repeat("x", 4<<10), 413},
	} {
		for _, service := range []string{"everywhere", "nobody"} {
			r := httptest.NewRequest(c.method, "/introspect", strings.NewReader(c.body))
			r.Header = http.Header{"Authorization": {"Bearer " + service}}
			if c.kind != "" {
				r.Header.Set("Content-Type", c.kind)
			}
			w := httptest.NewRecorder()
			i.ServeHTTP(w, r)
			want := c.status
			if service == "nobody" && want != http.StatusMethodNotAllowed {
				want = http.StatusUnauthorized
			}
			if w.Code != want || strings.Contains(w.Body.String(), secret) {
				t.Errorf("%s, by %s: %d %s", c.reason, service, w.Code, w.Body)
			}
		}
	}
	for _, authorization := range [][]string{nil, {""}, {"Basic ZXZlcnl3aGVyZTo="}, {"everywhere"}, {"Bearer"}, {"Bearer everywhere", "Bearer everywhere"}} {
		r := httptest.NewRequest(http.MethodPost, "/introspect", strings.NewReader("token="+secret))
		r.Header = http.Header{"Authorization": authorization, "Content-Type": {form}}
		w := httptest.NewRecorder()
		i.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("Authorization %q: %d", authorization, w.Code)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/introspect", io.MultiReader(strings.NewReader("token="), broken{}))
	r.Header = http.Header{"Authorization": {"Bearer everywhere"}, "Content-Type": {form}}
	w := httptest.NewRecorder()
	if i.ServeHTTP(w, r); w.Code != http.StatusBadRequest {
		t.Errorf("a body that ends early: %d", w.Code)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// FuzzIntrospection: whatever a form says, a key is active only if it is the one token of it, and the answer is JSON.
func FuzzIntrospection(f *testing.F) {
	org, secret := authntest.Minted(f, authntest.Format(f), key.Live)
	i := newIntrospection(f, newFixture(f, org))
	f.Add("token=" + secret)
	f.Add("token=" + secret + "&token_type_hint=access_token")
	f.Add("token=%6cmp_live_&x=%zz")
	f.Fuzz(func(t *testing.T, body string) {
		got := introspecting(i, "everywhere", "", body)
		var said struct{ Active bool }
		if err := json.Unmarshal(got.Body.Bytes(), &said); err != nil {
			t.Fatalf("%q is answered %q", body, got.Body)
		}
		if !said.Active {
			return
		}
		if values, err := url.ParseQuery(body); err != nil || len(values["token"]) != 1 || values.Get("token") != secret {
			t.Errorf("%q is a good key", body)
		}
	})
}
