// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// newKey makes an ApiKey and waits until it is minted: from then on, it is let go when replicas have confirmed.
func (w *world) newKey(t *testing.T, namespace, name string, mods ...func(*v1alpha1.ApiKey)) *v1alpha1.ApiKey {
	t.Helper()
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:]},
	}
	for _, mod := range mods {
		mod(k)
	}
	check(t, w.admin.Create(t.Context(), k))
	eventually(t, name+" is minted", func() bool {
		check(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
		return k.Status.Hash != ""
	})
	return k
}

// gone tells whether an ApiKey is not there any more.
func (w *world) gone(t *testing.T, k *v1alpha1.ApiKey) bool {
	t.Helper()
	err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), new(v1alpha1.ApiKey))
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err != nil
}

// silentReplica is a replica that never answers, and is counted out by nobody while the test runs. forget ends it.
func (w *world) silentReplica(t *testing.T) (forget func()) {
	t.Helper()
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: system, Name: "letmepost-api-live-silent", Labels: map[string]string{v1alpha1.LabelReplica: "live"},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("silent-pod"), LeaseDurationSeconds: new(int32(600)),
			AcquireTime: new(metav1.NowMicro()), RenewTime: new(metav1.NowMicro()),
		},
	}
	check(t, w.admin.Create(t.Context(), l))
	ctx := context.WithoutCancel(t.Context())
	forget = func() { check(t, client.IgnoreNotFound(w.admin.Delete(ctx, l))) }
	t.Cleanup(forget) // whatever the test has come to: others' deletions wait for it as well
	return forget
}

func refs(keys ...*v1alpha1.ApiKey) url.Values {
	v := url.Values{}
	for _, k := range keys {
		v.Add("key", k.Name+"."+string(k.UID))
	}
	return v
}

// fields are the hidden fields of a page's form.
func (p page) fields() url.Values {
	v := url.Values{}
	for _, m := range regexp.MustCompile(`type="hidden" name="([^"]+)" value="([^"]+)"`).FindAllStringSubmatch(p.body, -1) {
		v.Add(m[1], m[2])
	}
	return v
}

// TestRevoke: what is ticked is read first, then revoked, and then seen to be refused by all replicas.
func TestRevoke(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	roles := []string{"letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-revoker"}
	ada := w.signedIn(t, w.credential(t, acme, "ada", roles...), acme)
	viewer := w.signedIn(t, w.credential(t, acme, "viewer", "letmepost-apikey-viewer"), acme)

	t.Run("several at once", func(t *testing.T) {
		one, two, kept := w.newKey(t, acme, "one"), w.newKey(t, acme, "two.with.dots"), w.newKey(t, acme, "kept")
		read := ada.get("/keys/-/revoke?" + ada.ofPage(refs(one, two, one)).Encode())
		if read.status != http.StatusOK || !strings.Contains(read.body, "Revoke 2 keys") || !strings.Contains(read.body, one.Status.Hint) {
			t.Fatalf("%d\n%s", read.status, read.body)
		}
		p := ada.post("/keys/-/revoke", read.fields())
		if !strings.HasPrefix(p.path, "/dashboard/keys/-/revoked?") || strings.Contains(p.body, "⟦") {
			t.Fatalf("%d at %s\n%s", p.status, p.path, p.body)
		}
		again := strings.TrimPrefix(p.path, "/dashboard")
		eventually(t, "both are confirmed", func() bool { p = ada.get(again); return strings.Contains(p.body, "2 of 2 confirmed") })
		if strings.Contains(p.body, `http-equiv="refresh"`) || strings.Contains(p.body, "data-refresh") {
			t.Errorf("the page goes on asking\n%s", p.body)
		}
		if !w.gone(t, one) || !w.gone(t, two) || w.gone(t, kept) {
			t.Error("other keys than those that were chosen are gone")
		}
		// The same form once more, as by the browser's back and reload.
		if p := ada.post("/keys/-/revoke", read.fields()); !strings.Contains(p.body, "2 of 2 confirmed") {
			t.Errorf("%d\n%s", p.status, p.body)
		}
	})
	t.Run("a replica is silent", func(t *testing.T) {
		forget := w.silentReplica(t)
		k := w.newKey(t, acme, "awaited")
		p := ada.post("/keys/-/revoke", refs(k))
		again := strings.TrimPrefix(p.path, "/dashboard")
		eventually(t, "the page names who is awaited", func() bool {
			p = ada.get(again)
			return strings.Contains(p.body, "letmepost-api-live-silent (silent-pod)")
		})
		if !regexp.MustCompile(`Refused by [1-9]\d* of [2-9]\d* replicas`).MatchString(p.body) ||
			!loadsAgain.MatchString(p.body) ||
			!strings.Contains(p.body, "0 of 1 confirmed") {
			t.Errorf("%s", p.body)
		}
		if p := ada.get("/keys?q=awaited"); !strings.Contains(p.body, "Revoking") || strings.Contains(p.body, `name="key"`) {
			t.Errorf("the list\n%s", p.body)
		}
		if p := ada.get("/keys/awaited"); !strings.Contains(p.body, "letmepost-api-live-silent") ||
			!strings.Contains(p.body, "/keys/-/revoked?key=awaited.") {
			t.Errorf("the key's page\n%s", p.body)
		}
		if p := viewer.get(again); !strings.Contains(p.body, "letmepost-api-live-silent") {
			t.Errorf("the address, sent to somebody who may look: %d\n%s", p.status, p.body)
		}
		forget()
		eventually(t, "it is confirmed", func() bool { return strings.Contains(ada.get(again).body, "1 of 1 confirmed") })
	})
	t.Run("what is scheduled is canceled", func(t *testing.T) {
		forget := w.silentReplica(t) // so that the ApiKey is there to be looked at
		k := w.newKey(t, acme, "leaked")
		form := refs(k)
		form.Set("cancel", "1")
		if p := ada.post("/keys/-/revoke", form); !strings.HasPrefix(p.path, "/dashboard/keys/-/revoked?") {
			t.Fatalf("%d at %s\n%s", p.status, p.path, p.body)
		}
		check(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
		if !v1alpha1.CancelsScheduled(k.Annotations) || k.DeletionTimestamp.IsZero() {
			t.Errorf("annotations %v, deleted at %v", k.Annotations, k.DeletionTimestamp)
		}
		forget()
	})
	t.Run("made again under the name", func(t *testing.T) {
		k := w.newKey(t, acme, "again")
		form := refs(k)
		check(t, w.admin.Delete(t.Context(), k))
		eventually(t, "it is gone", func() bool { return w.gone(t, k) })
		other := w.newKey(t, acme, "again", func(k *v1alpha1.ApiKey) { k.Spec.SecretName = "again-2" })
		p := ada.get("/keys/-/revoke?" + ada.ofPage(form).Encode())
		if !strings.Contains(p.body, "Another key was made under this name") ||
			strings.Contains(p.body, `class="danger"`) {
			t.Errorf("read: %d\n%s", p.status, p.body)
		}
		for _, cancel := range []string{"", "1"} {
			form.Set("cancel", cancel)
			if p := ada.post("/keys/-/revoke", form); p.status != http.StatusConflict ||
				!strings.Contains(p.body, "Another key was made under this name") {
				t.Errorf("cancel %q: %d at %s\n%s", cancel, p.status, p.path, p.body)
			}
		}
		if k := w.keyOf(t, acme, "again"); k.UID != other.UID || !k.DeletionTimestamp.IsZero() || len(k.Annotations) != 0 {
			t.Error("the other key was touched")
		}
	})
	t.Run("a viewer", func(t *testing.T) {
		k := w.newKey(t, acme, "theirs")
		if p := viewer.get("/keys/-/revoke?" + viewer.ofPage(refs(k)).Encode()); p.status != http.StatusForbidden {
			t.Errorf("read: %d\n%s", p.status, p.body)
		}
		for _, cancel := range []string{"", "1"} {
			form := refs(k)
			form.Set("cancel", cancel)
			if p := viewer.post("/keys/-/revoke", form); p.status != http.StatusForbidden {
				t.Errorf("cancel %q: %d at %s\n%s", cancel, p.status, p.path, p.body)
			}
		}
		if k := w.keyOf(t, acme, "theirs"); !k.DeletionTimestamp.IsZero() || len(k.Annotations) != 0 {
			t.Error("something was done")
		}
		p := viewer.get("/keys/-/revoked?" + viewer.ofPage(refs(k)).Encode())
		if !strings.Contains(p.body, "It works as before") {
			t.Errorf("%d\n%s", p.status, p.body)
		}
	})
	t.Run("what is no key, HTML and 64 KB", func(t *testing.T) {
		k := w.newKey(t, acme, "survivor")
		for _, value := range []string{
			"", ".", "survivor", "survivor.", "." + string(k.UID), "../" + acme + "/survivor." + string(k.UID),
			`"><script>alert(1)</script>.x`, "a/b.x", strings.Repeat("x", 60<<10) + ".x", "\x00.x", "survivor.wrong",
		} {
			for _, cancel := range []string{"", "<b>"} {
				form := ada.ofPage(url.Values{"key": {value}, "cancel": {cancel}})
				for what, p := range map[string]page{
					"post": ada.post("/keys/-/revoke", form), "read": ada.get("/keys/-/revoke?" + form.Encode()),
					"look": ada.get("/keys/-/revoked?" + form.Encode()),
				} {
					if p.status >= 500 || strings.Contains(p.body, "<script>alert") || strings.Contains(p.body, "<b>") || len(p.body) > 64<<10 {
						t.Errorf("%s %.40q: %d\n%.2000s", what, value, p.status, p.body)
					}
				}
			}
		}
		many := ada.ofPage(refs(k))
		for i := range 2000 {
			many.Add("key", fmt.Sprintf("n%d.x", i))
		}
		began := time.Now()
		if p := ada.get("/keys/-/revoke?" + many.Encode()); strings.Count(p.body, `class="card"`) != 25 {
			t.Errorf("%d keys in %s", strings.Count(p.body, `class="card"`), time.Since(began))
		}
		if w.gone(t, k) || !w.keyOf(t, acme, "survivor").DeletionTimestamp.IsZero() {
			t.Error("something was revoked")
		}
	})
}
