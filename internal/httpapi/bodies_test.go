// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// The bodies are a format that clients depend on: each is in testdata, byte for byte.
func TestBodies(t *testing.T) {
	first := fixedProfile("spring", "Spring & Søn <kampagne>", 1, 0)
	second := fixedProfile("unnamed", "", 2, time.Hour)
	second.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &metav1.Time{Time: now}}}
	elsewhere := time.FixedZone("", 2*3600) // times are shown in UTC, wherever they come from
	org, orgText := live(t, fixed("ci", 1, "lmp_live_…AAaa"))
	pinned, pinnedText := live(t, fixed("web", 2, "lmp_live_…BBbb"), authntest.PinnedTo(first),
		authntest.Scoped(v1alpha1.ScopePostsWrite, v1alpha1.ScopePostsRead),
		authntest.CreatedAt(authntest.Epoch.Add(time.Minute).In(elsewhere)),
		authntest.ExpiringAt(now.AddDate(1, 0, 0).In(elsewhere)))
	own, ownText := live(t, fixed("billing", 6, "lmp_live_…FFff"),
		authntest.Scoped("billing.example.com:read", v1alpha1.ScopePostsRead, "api.example.com:orders:write"),
		authntest.Claiming(map[string]v1alpha1.ClaimValue{"plan": "gold", "customer": "acme-42", "home": "https://acme.example/"}),
		globex)
	byHash, byHashText := live(t, authntest.ByHash, fixed("brought", 3, "lmp_live_…"))
	expired, _ := live(t, fixed("old", 4, "lmp_live_…DDdd"), authntest.ExpiringAt(now.Add(-time.Second)))
	lonely, lonelyText := live(t, globex, fixed("lonely", 5, "lmp_live_…EEee"))
	f := newFixture(t, []any{first, second, org, pinned, own, byHash, expired, lonely})

	for _, c := range []struct{ file, target, key string }{
		{"whoami_organization.json", "/v1/whoami", orgText},
		{"whoami_pinned.json", "/v1/whoami", pinnedText},
		{"whoami_by_hash.json", "/v1/whoami", byHashText},
		{"whoami_own_scopes.json", "/v1/whoami", ownText},
		{"profiles.json", "/v1/profiles", orgText},
		{"profiles_empty.json", "/v1/profiles", lonelyText},
		{"profiles_page.json", "/v1/profiles?limit=1", orgText},
		{"profile.json", "/v1/profiles/" + string(first.UID), orgText},
		{"api_keys.json", "/v1/api-keys", orgText},
		{"api_keys_pinned.json", "/v1/api-keys", pinnedText},
		{"healthz.json", "/healthz", ""},
	} {
		golden(t, c.file, f.get(t, c.target, c.key))
	}
}

func TestSuccessHeaders(t *testing.T) {
	k, plaintext := live(t)
	f := newFixture(t, []any{k})
	for _, c := range []struct{ target, cache string }{
		{"/v1/whoami", "no-store"},
		{"/v1/profiles", "no-store"},
		{"/v1/openapi.json", "public, max-age=300"},
		{"/healthz", "no-store"},
	} {
		w := f.do(http.MethodGet, c.target, plaintext)
		h := w.Header().Clone()
		if n := h.Get("Content-Length"); n != itoa(w.Body.Len()) {
			t.Errorf("%s: Content-Length %s, body of %d", c.target, n, w.Body.Len())
		}
		for _, name := range []string{"Content-Length", "X-Request-Id"} {
			h.Del(name)
		}
		want := http.Header{
			"Cache-Control":          {c.cache},
			"Content-Type":           {"application/json"},
			"X-Content-Type-Options": {"nosniff"},
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.target, diff)
		}
	}
}

func TestLastUsedIsShown(t *testing.T) {
	k, plaintext := live(t)
	unused, _ := live(t, authntest.CreatedAt(authntest.Epoch.Add(-time.Hour)))
	f := newFixture(t, []any{k, unused})
	keys := decode[endpoint.Page[apiKey]](t, f.get(t, "/v1/api-keys", plaintext)).Data
	if used := keys[0].LastUsedAt; used == nil || !used.Equal(now) {
		t.Errorf("lastUsedAt of the key in use: %v, want %v", used, now)
	}
	if used := keys[1].LastUsedAt; used != nil {
		t.Errorf("lastUsedAt of a key that was never used: %v", used)
	}
}

// usesOf is what other replicas have seen, for all who ask.
type usesOf func(ids []string) (map[string]time.Time, error)

func (u usesOf) LastUsed(_ context.Context, _ *caller.Caller, ids ...string) (map[string]time.Time, error) {
	return u(ids)
}

// TestLastUsedElsewhere: the list shows what all replicas have seen of the keys on it, and does without while the
// database is away.
func TestLastUsedElsewhere(t *testing.T) {
	k, plaintext := live(t)
	second, _ := live(t, authntest.CreatedAt(authntest.Epoch.Add(-time.Hour)))
	third, _ := live(t, authntest.CreatedAt(authntest.Epoch.Add(-2*time.Hour)))
	elsewhere := now.Add(-time.Hour)
	var asked []string
	uses := usesOf(func(ids []string) (map[string]time.Time, error) {
		asked = ids
		return map[string]time.Time{string(k.UID): now, string(second.UID): elsewhere}, nil
	})
	f := newFixture(t, []any{k, second, third}, func(c *parts) { c.Uses = uses })
	keys := decode[endpoint.Page[apiKey]](t, f.get(t, "/v1/api-keys?limit=2", plaintext)).Data
	if used := keys[1].LastUsedAt; used == nil || !used.Equal(elsewhere) {
		t.Errorf("lastUsedAt of a key that another replica has seen: %v, want %v", used, elsewhere)
	}
	if diff := cmp.Diff([]string{string(k.UID), string(second.UID)}, asked); diff != "" {
		t.Errorf("it asks for what it does not show (-want +got):\n%s", diff)
	}
	away := usesOf(func([]string) (map[string]time.Time, error) { return nil, store.ErrUnavailable })
	f = newFixture(t, []any{k, second, third}, func(c *parts) { c.Uses = away })
	keys = decode[endpoint.Page[apiKey]](t, f.get(t, "/v1/api-keys", plaintext)).Data
	if used := keys[0].LastUsedAt; len(keys) != 3 || used == nil || !used.Equal(now) {
		t.Errorf("while the database is away: %d keys, the one in use last used at %v", len(keys), used)
	}
}

// A HEAD is its GET without the body.
func TestHead(t *testing.T) {
	k, plaintext := live(t)
	f := newFixture(t, []any{k})
	get, head := f.do(http.MethodGet, "/v1/whoami", plaintext), f.do(http.MethodHead, "/v1/whoami", plaintext)
	if head.Body.Len() != 0 {
		t.Errorf("HEAD has a body: %s", head.Body)
	}
	want, got := seen(t, get), seen(t, head)
	want.Body = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GET and HEAD differ (-GET +HEAD):\n%s", diff)
	}
}

// FuzzWhoami: what whoami writes by hand is what encoding/json writes.
func FuzzWhoami(f *testing.F) {
	for _, s := range []string{"acme", "", `a"b\c`, "<&>", "é…", "\u2028\u2029", "\x00\x1f\x7f", "\xff\xc3(", "\ufffd"} {
		f.Add(s, "lmp_live_…wxyz", int64(1_800_000_000), true)
		f.Add("id", s, int64(-1), false)
	}
	f.Fuzz(func(t *testing.T, a, b string, seconds int64, pinned bool) {
		w := &whoami{Organization: organizationRef{a, b}, Environment: a, Scopes: []string{b, a}, Key: keyRef{b, a, b}}
		w.Claims = map[string]string{a: b, b: a, "x": a}
		if pinned {
			w.Claims = map[string]string{}
			w.Profile = &profileRef{b, a}
			w.Scopes = []string{}
			w.ExpiresAt = timeOrNull(time.Unix(seconds%200_000_000_000, seconds%1_000_000_000))
		}
		wantEncoded(t, w)
		w.Key.Hint = "p" + a + "…" + b
		wantEncoded(t, w)
		if got, want := w.appendWith(nil, whoamiParts{prefix: "p" + a, last4: b}), w.AppendJSON(nil); !bytes.Equal(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// FuzzPost: so is what a post writes.
func FuzzPost(f *testing.F) {
	for i, s := range []string{"acme", "", `a"b\c`, "<&>", "é…", "\u2028\u2029", "\x00\x1f\x7f", "\xff\xc3(", "\ufffd"} {
		f.Add(s, "at://did:plc:abc/app.bsky.feed.post/3k", int64(1_800_000_000_123_456), i, i%2 == 0)
		f.Add("A text.", s, int64(-1_000_000), -i, i%2 != 0)
	}
	f.Fuzz(func(t *testing.T, a, b string, micros int64, n int, full bool) {
		at := time.UnixMicro(micros % 200_000_000_000_000_000).UTC()
		p := &postDetail{post: post{
			ID: a, Platform: platform.Name(b), Status: store.Status(a), Text: b, MediaRefs: []mediaRef{}, Sandbox: full, CreatedAt: at, UpdatedAt: at.Add(time.Nanosecond),
		}, Attempts: []attempt{}}
		for range n & 3 {
			p.Attempts = append(p.Attempts, attempt{ID: b, AttemptNumber: n, StartedAt: at, Succeeded: full})
			p.MediaRefs = append(p.MediaRefs, mediaRef{Kind: a, MediaID: stringOrNull(b), AltText: a})
		}
		if full {
			p.ProfileID, p.AccountID, p.PlatformURI, p.PlatformCID = &a, &b, &b, &a
			p.Account = &postAccount{ID: a, Platform: platform.Name(b), PlatformAccountID: a}
			p.ScheduledAt, p.PublishedAt = &at, &at
			p.Error = &platform.Failure{Code: a, Message: b, PlatformResponse: json.RawMessage(` {"a": [1]}`)}
		}
		if full && len(p.Attempts) > 1 {
			p.Account.DisplayName = &b
			last := &p.Attempts[len(p.Attempts)-1]
			last.FinishedAt, last.ErrorCode, last.ErrorMessage, last.PlatformResponse = &at, &a, &b, p.Error.PlatformResponse
			last.ErrorRule = &b
		}
		wantEncoded(t, p)
	})
}

// wantEncoded compares what v writes with what encoding/json does.
func wantEncoded(t *testing.T, v endpoint.Appender) {
	t.Helper()
	var want bytes.Buffer
	encoder := json.NewEncoder(&want)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return // a year that JSON does not have
	}
	if got := string(v.AppendJSON(nil)) + "\n"; got != want.String() {
		t.Errorf("got %s, want %s", got, &want)
	}
}
