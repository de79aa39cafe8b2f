// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// world is two organizations, two profiles in the first, one in the other, and keys of each kind.
type world struct {
	*fixture
	brand, other, foreign            *v1alpha1.Profile
	orgKey, brandKey, foreignKey     string // plaintext
	orgKeyID, brandKeyID, foreignKID types.UID
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{brand: authntest.Profile(), other: authntest.Profile()}
	w.foreign = authntest.Profile(func(p *v1alpha1.Profile) {
		p.Namespace, p.Status.OrganizationID = "globex", "610be000-0000-4000-8000-000000000000"
	})
	org, orgText := live(t)
	brand, brandText := live(t, authntest.PinnedTo(w.brand))
	other, _ := live(t, authntest.PinnedTo(w.other))
	foreign, foreignText := live(t, globex)
	foreignPinned, _ := live(t, globex, authntest.PinnedTo(w.foreign))
	w.orgKey, w.brandKey, w.foreignKey = orgText, brandText, foreignText
	w.orgKeyID, w.brandKeyID, w.foreignKID = org.UID, brand.UID, foreign.UID
	w.fixture = newFixture(t, []any{w.brand, w.other, w.foreign, org, brand, other, foreign, foreignPinned})
	return w
}

func idsOf[T any](items []T, id func(T) string) []string {
	ids := make([]string, 0, len(items))
	for _, item := range items {
		ids = append(ids, id(item))
	}
	return ids
}

func (w *world) profileIDs(t *testing.T, plaintext string) []string {
	t.Helper()
	p := decode[endpoint.Page[profile]](t, w.get(t, "/v1/profiles", plaintext))
	return idsOf(p.Data, func(p profile) string { return p.ID })
}

func (w *world) keyIDs(t *testing.T, plaintext string) []string {
	t.Helper()
	p := decode[endpoint.Page[apiKey]](t, w.get(t, "/v1/api-keys", plaintext))
	return idsOf(p.Data, func(k apiKey) string { return k.ID })
}

func TestListingsEndAtTheScope(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		reason string
		got    []string
		want   []string
	}{
		{
			"an organization's key sees all its profiles and none of others", w.profileIDs(t, w.orgKey),
			[]string{string(w.other.UID), string(w.brand.UID)},
		},
		{"a pinned key sees its own profile alone", w.profileIDs(t, w.brandKey), []string{string(w.brand.UID)}},
		{"another organization has its own", w.profileIDs(t, w.foreignKey), []string{string(w.foreign.UID)}},
		{"a pinned key sees the keys pinned to its profile alone", w.keyIDs(t, w.brandKey), []string{string(w.brandKeyID)}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
	if ids := w.keyIDs(t, w.orgKey); len(ids) != 3 {
		t.Errorf("an organization's key sees all its keys: got %v", ids)
	}
	if ids := w.keyIDs(t, w.foreignKey); len(ids) != 2 {
		t.Errorf("another organization's key sees its own keys: got %v", ids)
	}
}

// A profile that is somebody else's, one that never was, and nonsense are one and the same.
func TestNotFoundTellsNothing(t *testing.T) {
	w := newWorld(t)
	never := "11111111-2222-4333-8444-555555555555"
	for _, caller := range []struct {
		name, key string
		hidden    []*v1alpha1.Profile
	}{
		{"pinned key", w.brandKey, []*v1alpha1.Profile{w.other, w.foreign}},
		{"organization's key", w.orgKey, []*v1alpha1.Profile{w.foreign}},
		{"other organization's key", w.foreignKey, []*v1alpha1.Profile{w.brand, w.other}},
	} {
		want := seen(t, w.do(http.MethodGet, "/v1/profiles/"+never, caller.key))
		if want.Status != http.StatusNotFound {
			t.Fatalf("%s: status %d for a profile that never was", caller.name, want.Status)
		}
		ids := []string{
			w.brand.Name + "x", "x", "..%2f..", "a%2Fb", "%00", "%C3%A9", "%FF", "'%20or%201=1", strings.Repeat("x", 5000),
			strings.ToUpper(never), url.PathEscape("{id}"),
		}
		for _, p := range caller.hidden {
			ids = append(ids, string(p.UID), p.Name)
		}
		for _, id := range ids {
			got := seen(t, w.do(http.MethodGet, "/v1/profiles/"+id, caller.key))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: profile %.60q differs from one that never was:\n%s", caller.name, id, diff)
			}
		}
		golden(t, "not_found.json", want.Body)
	}
}

func TestOwnProfileIsFound(t *testing.T) {
	w := newWorld(t)
	for _, plaintext := range []string{w.orgKey, w.brandKey} {
		if p := decode[profile](t, w.get(t, "/v1/profiles/"+string(w.brand.UID), plaintext)); p.ID != string(w.brand.UID) {
			t.Errorf("got %+v", p)
		}
	}
	escaped := "%" + strings.ToUpper(hexOf(w.brand.UID[0])) + string(w.brand.UID[1:])
	if p := decode[profile](t, w.get(t, "/v1/profiles/"+escaped, w.orgKey)); p.ID != string(w.brand.UID) {
		t.Errorf("a percent-encoded id is the same id: got %+v", p)
	}
}

func hexOf(b byte) string { return string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15]) }

// A cursor is a place in a listing, not a right to see it.
func TestCursorsOfOthersShowNothing(t *testing.T) {
	w := newWorld(t)
	first := decode[endpoint.Page[apiKey]](t, w.get(t, "/v1/api-keys?limit=1", w.orgKey))
	if first.NextCursor == nil {
		t.Fatal("no second page")
	}
	for _, c := range []struct {
		caller, key string
		own         types.UID
	}{
		{"pinned key", w.brandKey, w.brandKeyID},
		{"other organization's key", w.foreignKey, w.foreignKID},
	} {
		body := w.get(t, "/v1/api-keys?cursor="+*first.NextCursor, c.key)
		for _, k := range decode[endpoint.Page[apiKey]](t, body).Data {
			if k.ID == string(w.orgKeyID) || k.ID == first.Data[0].ID {
				t.Errorf("%s sees key %s with a cursor of another key", c.caller, k.ID)
			}
		}
	}
}

// What a key may not do is refused whether or not the thing is there.
func TestKeysCannotManageKeys(t *testing.T) {
	w := newWorld(t)
	want := seen(t, w.do(http.MethodPost, "/v1/api-keys", w.orgKey))
	if want.Status != http.StatusForbidden {
		t.Fatalf("status %d", want.Status)
	}
	golden(t, "unauthorized.json", want.Body)
	for _, id := range []types.UID{w.orgKeyID, w.brandKeyID, w.foreignKID, "never-was"} {
		for _, plaintext := range []string{w.orgKey, w.brandKey} {
			got := seen(t, w.do(http.MethodDelete, "/v1/api-keys/"+string(id), plaintext))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("DELETE %s:\n%s", id, diff)
			}
		}
	}
}
