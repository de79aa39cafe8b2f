// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/use"
)

var hiddenUID = regexp.MustCompile(`name="uid" value="([^"]+)"`)

// rotation is the page of a key's rotation, as pages link to it.
func (v *visitor) rotation(name string) string {
	return "/keys/" + name + "/rotate?" + v.ofPage(nil).Encode()
}

// rotationForm is one that is filled in, as somebody does who changes nothing.
func (v *visitor) rotationForm(name string, changes url.Values) url.Values {
	f := url.Values{
		"form": {v.openForm(v.rotation(name))}, "name": {name + "-2"}, "expiry": {"same"}, "way": {"once"}, "do": {"mint"},
	}
	if uid := hiddenUID.FindStringSubmatch(v.get(v.rotation(name)).body); uid != nil {
		f.Set("uid", uid[1])
	}
	maps.Copy(f, changes)
	return f
}

// TestRotate: a rotation is begun by one person, left, and taken up by another one on another replica.
func TestRotate(t *testing.T) {
	var config dashboard.Config
	w := newWorld(t, func(c *dashboard.Config) {
		keeper, err := use.New(use.Options{
			Index: c.Directory.(*authn.Index), Store: c.Store, Environment: key.Live, Replica: "replica-1",
			Complete: func() bool { return true }, Clock: clock.RealClock{}, Logger: c.Logger,
		})
		check(t, err)
		c.Use = keeper
		config = *c
	})
	acme := w.cluster.Namespace(t)
	ada := w.minter(t, acme)
	p := ada.post("/keys/-/new", ada.form("shop", url.Values{
		"requests": {"90"}, "window": {"1m"}, "own": {"billing.example.com:read"}, "claims": {"plan=gold"},
	}))
	oldKey := plaintexts.FindString(p.body)
	w.opens(t, oldKey)
	old := w.key(t, acme, "shop")

	p = ada.get("/keys/shop/rotate") // as nobody links to it: it leads to where it says of which organization it is
	if p.path != dashboard.Base+ada.rotation("shop") {
		t.Errorf("the first step is at %s", p.path)
	}
	if !strings.Contains(p.body, `value="shop-2"`) || !strings.Contains(p.body, "<code>billing.example.com:read</code>") ||
		!strings.Contains(p.body, "<code>plan</code> gold") || !strings.Contains(p.body, "Like the old one, in 90 days") ||
		strings.Contains(p.body, "silent") || strings.Contains(p.body, "⟦") {
		t.Errorf("the first step: %d\n%s", p.status, p.body)
	}
	// Asked for more than the old key may do, as a crafted form would.
	form := ada.rotationForm("shop", url.Values{
		"scope": {"posts:write"}, "environment": {"test"}, "profile": {"x"}, "requests": {"9"},
		"own": {"billing.example.com:write"}, "claims": {"plan=platinum"},
	})
	p = ada.post("/keys/shop/rotate", form)
	newKey := plaintexts.FindString(p.body)
	next := `value="` + dashboard.Base + ada.rotation("shop") + `"`
	if p.status != http.StatusCreated || newKey == "" || !strings.Contains(p.body, next) {
		t.Fatalf("%d\n%s", p.status, p.body)
	}
	successor := w.key(t, acme, "shop-2")
	was, is := old.Spec, successor.Spec
	lasted, lasts := was.ExpiresAt.Sub(old.CreationTimestamp.Time), is.ExpiresAt.Sub(successor.CreationTimestamp.Time)
	if (lasts - lasted).Abs() > time.Minute {
		t.Errorf("the old key lasts %v, the new one %v", lasted, lasts)
	}
	was.SecretHash, is.SecretHash, was.ExpiresAt, is.ExpiresAt = "", "", nil, nil
	if text, other := toJSON(t, was), toJSON(t, is); text != other || successor.Labels[v1alpha1.LabelRotates] != string(old.UID) {
		t.Errorf("the old key is %s, the new one %s, with %v", text, other, successor.Labels)
	}
	if p := ada.post("/keys/shop/rotate", form); p.status != http.StatusConflict || plaintexts.MatchString(p.body) ||
		!strings.Contains(p.body, "Back to the rotation") {
		t.Errorf("sent again: %d\n%s", p.status, p.body)
	}

	// Somebody else, on another replica.
	second, err := dashboard.New(config)
	check(t, err)
	other := &world{server: httptest.NewTLSServer(second), admin: w.admin}
	t.Cleanup(other.server.Close)
	grace := other.signedIn(t, w.credential(t, acme, "grace", "letmepost-apikey-viewer", "letmepost-apikey-revoker"), acme)
	w.opens(t, newKey)
	check(t, w.store.Work().AddUse(t.Context(), "replica-2", []store.Use{{
		Organization: w.key(t, acme, "shop-2").Status.OrganizationID, Environment: key.Live, Key: string(old.UID),
		UsedAt: time.Now().Add(-50 * time.Minute), Requests: 3,
	}}))
	p = grace.get(grace.rotation("shop"))
	for _, want := range []string{"shop-2", "has not said that they have it", "replica-1", "replica-2", "The old key is in use", "key=shop." + string(old.UID)} {
		if !strings.Contains(p.body, want) {
			t.Errorf("the second step does not say %q", want)
		}
	}
	if strings.Contains(p.body, `name="form"`) || strings.Contains(p.body, "⟦") || plaintexts.MatchString(p.body) {
		t.Errorf("the second step, on another replica:\n%s", p.body)
	}

	check(t, w.admin.Delete(t.Context(), old))
	eventually(t, "the old key is gone", func() bool {
		return apierrors.IsNotFound(w.admin.Get(t.Context(), client.ObjectKeyFromObject(old), old))
	})
	p = grace.get(grace.rotation("shop"))
	if p.status != http.StatusNotFound || !strings.Contains(p.body, "that is over") {
		t.Errorf("in the end: %d\n%s", p.status, p.body)
	}
	if p := grace.get("/keys/shop/rotate"); p.status != http.StatusNotFound || strings.Contains(p.body, "that is over") ||
		!strings.Contains(p.body, "or it is in another organization") {
		t.Errorf("in the end, at an address that does not say of which organization it is: %d\n%s", p.status, p.body)
	}
	if strings.Contains(w.log.read(t), newKey) || strings.Contains(w.objects(t, acme), newKey) {
		t.Error("the new key is in a log or in the cluster")
	}
}

// TestRotatedByTwo: of two who mint the new key at once, the later one finds the other one's, by the name that is
// suggested to both, and is told so. One that is being revoked is no new key: its name is taken.
func TestRotatedByTwo(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	ada := w.minter(t, acme)
	ada.post("/keys/-/new", ada.form("shop", nil))
	late := ada.rotationForm("shop", nil)
	faster := w.newKey(t, acme, "shop-2", func(k *v1alpha1.ApiKey) {
		k.Labels = map[string]string{v1alpha1.LabelRotates: string(w.key(t, acme, "shop").UID)}
	})
	const told, taken = "Somebody else has minted the new key meanwhile", "There is an ApiKey of this name already"
	p := ada.post("/keys/shop/rotate", late)
	p.shows(t, http.StatusOK, []string{told, "shop-2"}, []string{taken})
	if p.path != dashboard.Base+ada.rotation("shop") || w.keys(t, acme) != 2 || plaintexts.MatchString(p.body) {
		t.Errorf("%d keys; at %s\n%s", w.keys(t, acme), p.path, p.body)
	}
	w.silentReplica(t) // so that its ApiKey stays
	check(t, w.admin.Delete(t.Context(), faster))
	p = ada.post("/keys/shop/rotate", late)
	p.shows(t, http.StatusConflict, []string{taken}, []string{told})
	if w.keys(t, acme) != 2 || plaintexts.MatchString(p.body) {
		t.Errorf("%d keys\n%s", w.keys(t, acme), p.body)
	}
}

// TestRotateIntoTheCluster: the other way, as YAML, and what is wrong.
func TestRotateIntoTheCluster(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	v := w.minter(t, acme)
	check(t, w.admin.Create(t.Context(), &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: acme, Name: "bot-7"},
		Spec: v1alpha1.ApiKeySpec{
			Environment:    v1alpha1.EnvironmentTest,
			SecretTemplate: &v1alpha1.SecretTemplate{Labels: map[string]v1alpha1.LabelValue{"team": "a"}},
		},
	}))
	p := v.get(v.rotation("bot-7"))
	if !strings.Contains(p.body, `value="bot-8"`) || strings.Contains(p.body, "Like the old one") {
		t.Errorf("%s", p.body)
	}
	for field, changes := range map[string]url.Values{
		"name": {"name": {"My Bot"}, "expiry": {"never"}}, "expiry": {"name": {"bot-8"}, "expiry": {"same"}},
		"way": {"name": {"bot-8"}, "way": {"x"}}, "secret": {"name": {"bot-8"}, "way": {"cluster"}, "secret": {"S"}, "expiry": {"30"}},
	} {
		if p := v.post("/keys/bot-7/rotate", v.rotationForm("bot-7", changes)); p.status != http.StatusUnprocessableEntity ||
			!strings.Contains(p.body, `id="`+field+`-wrong"`) {
			t.Errorf("%s: %d\n%s", field, p.status, p.body)
		}
	}
	form := v.rotationForm("bot-7", url.Values{"name": {"bot-8"}, "way": {"cluster"}, "expiry": {"never"}, "do": {"yaml"}})
	p = v.post("/keys/bot-7/rotate", form)
	text := manifests.FindStringSubmatch(p.body)
	if text == nil || w.keys(t, acme) != 1 {
		t.Fatalf("as YAML: %d\n%s", p.status, p.body)
	}
	written := new(v1alpha1.ApiKey)
	check(t, yaml.UnmarshalStrict([]byte(html.UnescapeString(text[1])), written))
	old := w.key(t, acme, "bot-7")
	if written.Labels[v1alpha1.LabelRotates] != string(old.UID) || written.Spec.SecretTemplate.Labels["team"] != "a" {
		t.Errorf("%+v", written)
	}
	form.Set("do", "mint")
	p = v.post("/keys/bot-7/rotate", form)
	if p.path != "/dashboard/keys/bot-8/secret?rotates=bot-7" ||
		!strings.Contains(p.body, `href="`+dashboard.Base+v.rotation("bot-7")+`"`) {
		t.Errorf("%d at %s\n%s", p.status, p.path, p.body)
	}
	if p := v.get(v.rotation("bot-7")); !strings.Contains(p.body, "known to the dashboard of its environment, test") {
		t.Errorf("%s", p.body)
	}
	viewer := w.signedIn(t, w.credential(t, acme, "viewer", "letmepost-apikey-viewer"), acme)
	form.Set("name", "bot-9")
	form.Set("form", viewer.openForm("/keys/-/new"))
	if p := viewer.post("/keys/bot-7/rotate", form); p.status != http.StatusForbidden || w.keys(t, acme) != 2 {
		t.Errorf("by a viewer: %d\n%s", p.status, p.body)
	}
}
