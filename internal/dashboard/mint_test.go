// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
)

var (
	plaintexts = regexp.MustCompile(`lmp_(live|test)_[0-9A-Za-z]{38}`)
	formIDs    = regexp.MustCompile(`name="form" value="([^"]+)"`)
	manifests  = regexp.MustCompile(`(?s)<code id="yaml">kubectl apply -f - &lt;&lt;'EOF'\n(.*?)EOF</code>`)
)

// openForm loads a form and returns its id.
func (v *visitor) openForm(path string) string {
	v.t.Helper()
	p := v.get(path)
	id := formIDs.FindStringSubmatch(p.body)
	if p.status != http.StatusOK || id == nil || strings.Contains(p.body, "⟦") {
		v.t.Fatalf("%s: %d at %s\n%s", path, p.status, p.path, p.body)
	}
	return id[1]
}

// form is one that is filled in, as somebody does who changes little.
func (v *visitor) form(name string, changes url.Values) url.Values {
	f := url.Values{
		"form": {v.openForm("/keys/-/new")}, "name": {name}, "environment": {"live"}, "scope": {"posts:read", "media:read"},
		"expiry": {"90"}, "window": {"1m"}, "way": {"once"}, "do": {"mint"},
	}
	maps.Copy(f, changes)
	return f
}

// opens waits until the key is served.
func (w *world) opens(t *testing.T, plaintext string) (scopes []string) {
	t.Helper()
	eventually(t, "the key is served", func() bool {
		var r admission.Admitted
		credentials := admission.Credentials{Authorization: []string{"Bearer " + plaintext}, From: nowhere{}}
		err := w.admits.Admit(t.Context(), time.Now(), credentials, admission.Need{}, &r)
		if err == nil {
			scopes = r.Caller().Scopes.Names()
			_ = r.End()
		}
		return err == nil
	})
	return scopes
}

type nowhere struct{}

func (nowhere) Address() netip.Addr { return netip.MustParseAddr("127.0.0.1") }

// objects are all that the cluster has of a namespace, as text.
func (w *world) objects(t *testing.T, namespace string) string {
	t.Helper()
	all := ""
	for _, list := range []client.ObjectList{new(v1alpha1.ApiKeyList), new(corev1.SecretList), new(corev1.EventList)} {
		check(t, w.admin.List(t.Context(), list, client.InNamespace(namespace)))
		text, err := json.Marshal(list)
		check(t, err)
		all += string(text)
	}
	return all
}

func (w *world) key(t *testing.T, namespace, name string) *v1alpha1.ApiKey {
	t.Helper()
	k := new(v1alpha1.ApiKey)
	check(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, k))
	return k
}

func (w *world) keys(t *testing.T, namespace string) int {
	t.Helper()
	list := new(v1alpha1.ApiKeyList)
	check(t, w.admin.List(t.Context(), list, client.InNamespace(namespace)))
	return len(list.Items)
}

func (w *world) minter(t *testing.T, namespace string) *visitor {
	t.Helper()
	token := w.credential(t, namespace, "minter",
		"letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-revoker")
	return w.signedIn(t, token, namespace)
}

// TestMintOnce: a key is shown in one answer, and nowhere else, whatever is sent again.
func TestMintOnce(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	v := w.minter(t, acme)
	form := v.form("shop", url.Values{
		"own": {"billing.example.com:read, posts:read"}, "claims": {"plan=gold\r\n\r\n customer = acme 42\r\n"},
	})

	first := v.post("/keys/-/new", form)
	shown := plaintexts.FindString(first.body)
	if first.status != http.StatusCreated || shown == "" || first.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d at %s, %v\n%s", first.status, first.path, first.header, first.body)
	}
	for _, want := range []string{"Bearer " + shown, "create secret generic shop", v.base[:len(v.base)-len("/dashboard")] + "/v1/whoami"} {
		if !strings.Contains(html.UnescapeString(first.body), want) {
			t.Errorf("the answer does not have %q", want)
		}
	}
	if got := w.opens(t, shown); fmt.Sprint(got) != "[posts:read media:read billing.example.com:read]" {
		t.Errorf("the key has scopes %v", got)
	}
	k := w.key(t, acme, "shop")
	if days := time.Until(k.Spec.ExpiresAt.Time).Hours() / 24; days < 89 || days > 91 {
		t.Errorf("it lasts %v days", days)
	}
	again := new(v1alpha1.ApiKey)
	check(t, yaml.UnmarshalStrict([]byte(html.UnescapeString(manifests.FindStringSubmatch(first.body)[1])), again))
	if again.Spec.SecretHash != k.Spec.SecretHash || again.Spec.SecretHash == "" ||
		fmt.Sprint(k.Spec.Claims) != "map[customer:acme 42 plan:gold]" || !maps.Equal(again.Spec.Claims, k.Spec.Claims) ||
		!slices.Equal(again.Spec.Scopes, k.Spec.Scopes) || !again.Spec.ExpiresAt.Equal(k.Spec.ExpiresAt) {
		t.Errorf("for Git there is %+v, and the key is %+v", again.Spec, k.Spec)
	}

	// Whatever is sent or loaded again, by this browser or by one that was never here.
	stranger := w.signedIn(t, w.credential(t, acme, "colleague", "letmepost-apikey-viewer", "letmepost-apikey-minter"), acme)
	var pages []string
	for _, by := range []*visitor{v, stranger} {
		p := by.post("/keys/-/new", form)
		if p.status != http.StatusConflict || !strings.Contains(p.body, "shown once already") {
			t.Errorf("sent again: %d\n%s", p.status, p.body)
		}
		pages = append(pages, p.body, by.get("/keys/-/new").body, by.get("/keys/shop/secret").body, by.get("/").body)
	}
	other := v.post("/keys/-/new", v.form("shop", nil))
	if other.status != http.StatusConflict || !strings.Contains(other.body, "is an ApiKey of this name already") {
		t.Errorf("a name that is taken: %d\n%s", other.status, other.body)
	}
	for what, text := range map[string]string{
		"pages": strings.Join(append(pages, other.body), "\n"), "the cluster": w.objects(t, acme), "a log": w.log.read(t),
	} {
		if strings.Contains(text, shown) || plaintexts.MatchString(text) {
			t.Errorf("the key is in %s", what)
		}
	}

	// It may have been lost until somebody says that they have it.
	if p := v.get("/keys/-/new"); !strings.Contains(p.body, "Do you have these keys?") || !strings.Contains(p.body, ">shop<") {
		t.Errorf("a key that may be lost is not told of:\n%s", p.body)
	}
	for _, path := range []string{"/keys/-/new", "/keys"} {
		if p := stranger.get(path); strings.Contains(p.body, "Do you have these keys?") {
			t.Errorf("%s tells of it to somebody else", path)
		}
	}
	v.post("/keys/shop/have-it", url.Values{"uid": {string(k.UID)}, "next": {"/dashboard/keys/-/new"}})
	for _, path := range []string{"/keys/-/new", "/keys"} {
		if p := v.get(path); strings.Contains(p.body, "Do you have these keys?") {
			t.Errorf("%s still tells of it:\n%s", path, p.body)
		}
	}

	// When it is revoked and gone, the name is free; the form makes no other one of it.
	check(t, w.admin.Delete(t.Context(), k))
	eventually(t, "the key is gone", func() bool {
		return apierrors.IsNotFound(w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
	})
	if p := v.post("/keys/-/new", form); p.status != http.StatusConflict || w.keys(t, acme) != 0 {
		t.Errorf("sent again once the key is gone: %d\n%s", p.status, p.body)
	}
}

// TestMintAtOnce: a form that is sent eight times at once makes one key, which one answer shows; and one whose answer
// never came is told of.
func TestMintAtOnce(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	v := w.minter(t, acme)
	for _, way := range []string{"once", "cluster"} {
		form := v.form("lmp-"+way, url.Values{"way": {way}})
		var mu sync.Mutex
		var all sync.WaitGroup
		shown := map[string]int{}
		for range 8 {
			all.Go(func() {
				p := v.post("/keys/-/new", form)
				mu.Lock()
				defer mu.Unlock()
				if k := plaintexts.FindString(p.body); k != "" {
					shown[k]++
				}
				if p.status >= 500 || p.status == http.StatusForbidden {
					t.Errorf("%d\n%s", p.status, p.body)
				}
			})
		}
		all.Wait()
		if want := map[string]int{"once": 1}[way]; len(shown) != want {
			t.Errorf("%s: %d keys were shown, want %d", way, len(shown), want)
		}
	}
	if n := w.keys(t, acme); n != 2 {
		t.Errorf("there are %d keys, want one for each form", n)
	}
	for k := range w.key(t, acme, "lmp-once").Labels {
		if k != v1alpha1.LabelShownTo {
			t.Errorf("label %s", k)
		}
	}

	// The process dies between the two: the request arrives, and no answer does.
	form := v.form("lost", url.Values{"organization": {v.organization}})
	lost := &http.Client{Transport: unheard{v.client.Transport}, Jar: v.client.Jar}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.base+"/keys/-/new", strings.NewReader(form.Encode()))
	check(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if resp, err := lost.Do(r); err == nil {
		resp.Body.Close()
		t.Fatal("there was an answer")
	}
	for where, p := range map[string]page{
		"the form": v.get("/keys/-/new"), "the list": v.get("/keys"), "its answer": v.post("/keys/-/new", form),
	} {
		told := where == "its answer" || strings.Contains(p.body, "Do you have these keys?")
		if !told || !strings.Contains(p.body, "lost") || plaintexts.MatchString(p.body) || !strings.Contains(p.body, "evoke") {
			t.Errorf("%s does not say that a key may be lost: %d\n%s", where, p.status, p.body)
		}
	}
}

// unheard sends requests, and loses the answers.
type unheard struct{ to http.RoundTripper }

func (u unheard) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := u.to.RoundTrip(r)
	if err == nil {
		resp.Body.Close()
		err = http.ErrServerClosed
	}
	return nil, err
}

// TestMintIntoTheCluster: the Secret has the key, and no page does.
func TestMintIntoTheCluster(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	v := w.minter(t, acme)
	form := v.form("shop", url.Values{
		"way": {"cluster"}, "secret": {"lmp-shop"}, "environment": {"test"}, "requests": {"90"}, "window": {"1h30m"}, "expiry": {"never"},
	})
	p := v.post("/keys/-/new", form)
	if p.status != http.StatusOK || p.path != "/dashboard/keys/shop/secret" || plaintexts.MatchString(p.body) {
		t.Fatalf("%d at %s\n%s", p.status, p.path, p.body)
	}
	eventually(t, "the page says that it is served", func() bool {
		p = v.get("/keys/shop/secret")
		return strings.Contains(p.body, "is minted, and served")
	})
	if !strings.Contains(p.body, "name: lmp-shop") || plaintexts.MatchString(p.body) || p.header.Get("Refresh") != "" {
		t.Errorf("%s", p.body)
	}
	secret := new(corev1.Secret)
	check(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: acme, Name: "lmp-shop"}, secret))
	minted := string(secret.Data[v1alpha1.SecretKeyAPIKey])
	k := w.key(t, acme, "shop")
	if !strings.HasPrefix(minted, "lmp_test_") || k.Spec.ExpiresAt != nil || k.Spec.RateLimit.Window.Duration != 90*time.Minute {
		t.Errorf("a Secret with %d entries, and %+v", len(secret.Data), k.Spec)
	}
	if p := v.post("/keys/-/new", form); p.path != "/dashboard/keys/shop/secret" || w.keys(t, acme) != 1 {
		t.Errorf("sent again: %d at %s", p.status, p.path)
	}
	if strings.Contains(w.log.read(t), minted) {
		t.Error("the key is in a log")
	}

	// As YAML it is what would be made, and nothing is.
	form = v.form("git", url.Values{"way": {"cluster"}, "secret": {"lmp-git"}, "do": {"yaml"}, "expiry": {"date"}, "date": {"2999-12-31"}})
	p = v.post("/keys/-/new", form)
	text := manifests.FindStringSubmatch(p.body)
	if p.status != http.StatusOK || text == nil || w.keys(t, acme) != 1 {
		t.Fatalf("as YAML: %d\n%s", p.status, p.body)
	}
	written := new(v1alpha1.ApiKey)
	check(t, yaml.UnmarshalStrict([]byte(html.UnescapeString(text[1])), written))
	if written.Name != "git" || written.Namespace != acme || written.Spec.SecretName != "lmp-git" ||
		!written.Spec.ExpiresAt.Time.Equal(time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", written)
	}
	check(t, w.admin.Create(t.Context(), written))
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	check(t, err)
	return string(text)
}
