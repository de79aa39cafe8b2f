// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// estate is one thing of each kind that belongs to somebody, and a key that reaches them.
type estate struct {
	name   string
	api    *fixture
	key    string
	things map[kind]string
	// profile that it is of; nil: of none. slug is what it is called.
	profile *v1alpha1.Profile
	slug    string
}

// newEstate makes the things, with a key of their owner.
func newEstate(t *testing.T, name string, f *fixture, key string, profile *v1alpha1.Profile) *estate {
	t.Helper()
	e := &estate{name: name, api: f, key: key, things: map[kind]string{aKey: "never-was"}}
	if profile != nil {
		e.things[aProfile], e.profile, e.slug = string(profile.UID), profile, profile.Name
	}
	e.renew(t)
	return e
}

// renew replaces what a request may have used up.
func (e *estate) renew(t *testing.T) {
	t.Helper()
	e.things[aAccount], e.things[aMedium] = e.api.connect(t, e.key), e.api.upload(t, e.key)
	e.things[aPost] = e.api.schedule(t, e.key, e.things[aAccount], "")
}

// snapshot is all that the owner sees.
func (e *estate) snapshot(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, target := range []string{"/v1/posts", "/v1/media", "/v1/accounts", "/v1/posts/" + e.things[aPost], "/v1/media/" + e.things[aMedium] + "/content"} {
		all[target] = e.api.get(t, target, e.key)
	}
	return all
}

// keyholder is a key, what it reaches, and what of others it does not.
type keyholder struct {
	name    string
	api     *fixture
	key     string
	own     *estate
	foreign []*estate
}

// crowd is two profiles and an organization beside them, another organization, and the first one's test environment.
func crowd(t *testing.T) []keyholder {
	t.Helper()
	w := newWorld(t)
	k := func(mods ...func(*v1alpha1.ApiKey)) string {
		k, plaintext := live(t, mods...)
		w.index.PutKey(k)
		return plaintext
	}
	kt := func(mods ...func(*v1alpha1.ApiKey)) string {
		k, plaintext := authntest.Minted(t, authntest.Format(t), key.Test, mods...)
		w.index.PutKey(k)
		return plaintext
	}
	there := w.testEnvironment(t)
	brand := newEstate(t, "the profile", w.fixture, w.brandKey, w.brand)
	other := newEstate(t, "another profile", w.fixture, k(authntest.PinnedTo(w.other)), w.other)
	alone := newEstate(t, "the organization alone", w.fixture, w.orgKey, nil)
	globexs := newEstate(t, "another organization", w.fixture, k(globex, authntest.PinnedTo(w.foreign)), w.foreign)
	tests := newEstate(t, "the test environment", there, kt(authntest.PinnedTo(w.brand)), nil)
	tests.things[aProfile] = string(w.brand.UID)

	// Profiles belong to both environments.
	without := func(e *estate) *estate {
		c := &estate{name: e.name, api: e.api, key: e.key, things: map[kind]string{}}
		for k, id := range e.things {
			if k != aProfile {
				c.things[k] = id
			}
		}
		return c
	}
	return []keyholder{
		{"pinned key", w.fixture, w.brandKey, brand, []*estate{other, alone, globexs, without(tests)}},
		{"organization's key", w.fixture, w.orgKey, brand, []*estate{globexs, without(tests)}},
		{"other organization's key", w.fixture, w.foreignKey, globexs, []*estate{brand, other, alone, tests}},
		{"key of the test environment", there, kt(), tests, []*estate{without(brand), without(other), alone, globexs}},
		{"pinned key of the test environment", there, tests.key, tests, []*estate{without(brand), other, alone, globexs}},
	}
}

// "Cross-profile access by a profile-scoped key returns 404 not_found, never 403, so the key cannot probe for the
// existence of other profiles." And "every key is bound to a single organization. There is no cross-org key." For every
// way in which a request can name a thing: what is somebody else's is the same, to the byte, as what never was; one's
// own is another matter.
func TestScopingTable(t *testing.T) { onBoth(t, scopingTable) }

func scopingTable(t *testing.T) {
	t.Helper()
	callers, compared := crowd(t), 0
	for _, n := range namings(t) {
		if n.kind == aCursor {
			continue // TestCursorsOfOthers
		}
		for _, c := range callers {
			status := http.StatusNotFound
			if n.kind == aKey {
				status = http.StatusForbidden // refused whether it is there or not
			}
			never := seen(t, c.api.send(c.naming(t, n, neverWas[n.kind])))
			if never.Status != status {
				t.Errorf("%v, %s: what never was: %d %s", n, c.name, never.Status, never.Body)
			}
			for _, e := range c.foreign {
				id, ok := e.things[n.kind]
				if !ok {
					continue
				}
				compared++
				if diff := cmp.Diff(never, seen(t, c.api.send(c.naming(t, n, id)))); diff != "" {
					t.Errorf("%v, %s: what belongs to %s differs from what never was:\n%s", n, c.name, e.name, diff)
				}
			}
			if n.kind == aKey {
				continue
			}
			if own := c.api.send(c.naming(t, n, c.own.things[n.kind])); own.Code == http.StatusNotFound || own.Code >= http.StatusInternalServerError {
				t.Errorf("%v, %s: its own: %d %s", n, c.name, own.Code, own.Body)
			}
			if n.route.Changes() {
				c.own.renew(t)
			}
		}
	}
	if compared < 250 {
		t.Errorf("only %d comparisons: the table has holes", compared)
	}
}

// Nor does naming what is somebody else's do anything to it, and no listing shows it.
func TestForeignThingsStayAsTheyAre(t *testing.T) { onBoth(t, foreignThingsStayAsTheyAre) }

func foreignThingsStayAsTheyAre(t *testing.T) {
	t.Helper()
	callers := crowd(t)
	for _, c := range callers {
		before := map[string]map[string]string{}
		for _, e := range c.foreign {
			before[e.name] = e.snapshot(t)
		}
		for _, n := range namings(t) {
			for _, e := range c.foreign {
				if id, ok := e.things[n.kind]; ok && n.route.Changes() {
					c.api.send(c.naming(t, n, id))
				}
			}
		}
		for _, e := range c.foreign {
			if diff := cmp.Diff(before[e.name], e.snapshot(t)); diff != "" {
				t.Errorf("%s has changed what belongs to %s:\n%s", c.name, e.name, diff)
			}
		}
		for i := range routes {
			if !routes[i].Paged {
				continue
			}
			listing := c.api.get(t, routes[i].Path+"?limit=200", c.key)
			for _, e := range c.foreign {
				for k, id := range e.things {
					if k != aKey && strings.Contains(listing, id) {
						t.Errorf("%s: GET %s shows a %s of %s", c.name, routes[i].Path, k, e.name)
					}
				}
			}
		}
	}
}

// listed is what a cursor is made of.
type listed struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"createdAt"`
}

// cursorAt is the cursor of a position, which need not be any item's.
func cursorAt(at time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(at.UTC().Format(time.RFC3339Nano) + "|" + id))
}

// A cursor is a position: a foreign one gives what any cursor of that position gives, and shows nothing that is
// foreign.
func TestCursorsOfOthers(t *testing.T) { onBoth(t, cursorsOfOthers) }

func cursorsOfOthers(t *testing.T) {
	t.Helper()
	callers, compared, moved := crowd(t), 0, 0
	for _, n := range namings(t) {
		if n.kind != aCursor {
			continue
		}
		for _, c := range callers {
			first := c.api.get(t, n.route.Path, c.key)
			for _, e := range c.foreign {
				theirs := decode[endpoint.Page[listed]](t, e.api.get(t, n.route.Path, e.key)).Data[0]
				if strings.Contains(first, theirs.ID) {
					continue // such as a profile, which both reach
				}
				at := cursorAt(theirs.CreatedAt, theirs.ID)
				beside := cursorAt(theirs.CreatedAt, theirs.ID+"0") // nothing is between them
				got := seen(t, c.api.send(c.naming(t, n, at)))
				want := seen(t, c.api.send(c.naming(t, n, beside)))
				if diff := cmp.Diff(want, got); diff != "" || got.Status != http.StatusOK {
					t.Errorf("%v, %s: a cursor of %s: %d (-any +this):\n%s", n, c.name, e.name, got.Status, diff)
				}
				compared++
				if got.Body != first {
					moved++
				}
				if !contains(first, got.Body) {
					t.Errorf("%v, %s: a cursor of %s shows what no cursor does: %s", n, c.name, e.name, got.Body)
				}
			}
		}
	}
	if moved == 0 || compared < 50 {
		t.Errorf("%d cursors, of which %d had an effect", compared, moved)
	}
}

// contains tells whether each item of the page part is in the page whole.
func contains(whole, part string) bool {
	var all, some endpoint.Page[map[string]any]
	if json.Unmarshal([]byte(whole), &all) != nil || json.Unmarshal([]byte(part), &some) != nil {
		return false
	}
	ids := map[any]bool{}
	for _, item := range all.Data {
		ids[item["id"]] = true
	}
	for _, item := range some.Data {
		if !ids[item["id"]] {
			return false
		}
	}
	return true
}

// A target that names a platform alone finds among what the key reaches: somebody else's account makes it neither found
// nor ambiguous.
func TestPlatformAloneIsAnAccount(t *testing.T) {
	w := newWorld(t)
	w.connect(t, w.foreignKey)
	w.connect(t, w.orgKey)
	alone := publication(w.brandKey, `{"platform":"bluesky"}`, `,"text":"x"`)
	w.refused(t, "others have one", alone, http.StatusBadRequest, "target.account.not_connected")
	own := w.connect(t, w.brandKey)
	if got := ok[batch](t, w.fixture, alone).Results[0].AccountID; got != own {
		t.Errorf("posted to %s, want %s", got, own)
	}
	w.connect(t, w.brandKey)
	w.refused(t, "several of its own", alone, http.StatusBadRequest, "target.account.ambiguous")
}
