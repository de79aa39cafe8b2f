// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

// auditFixture is a fixture whose audit log is apart from its access log.
func auditFixture(t *testing.T, objects ...any) (*fixture, *testlog.Buffer) {
	t.Helper()
	audit := new(testlog.Buffer)
	f := newFixture(t, objects, func(c *parts) {
		c.AccessLog = endpoint.AccessLogAll
		c.Audit = slog.New(slog.NewJSONHandler(audit, nil)).With("logger", "audit")
		c.NewRequestID = func() string { return "id" }
	})
	return f, audit
}

// lines are the fields of each line, without its time.
func lines(t *testing.T, log *testlog.Buffer) []map[string]any {
	t.Helper()
	return records(t, &fixture{log: log})
}

func TestAudit(t *testing.T) {
	format := authntest.Format(t)
	good, plaintext := live(t, authntest.Named("ci"), authntest.Scoped(v1alpha1.ScopePostsRead))
	gone, revoked := live(t)
	authntest.Deleting(gone)
	old, expired := live(t, authntest.ExpiringAt(now.Add(-time.Second)))
	pinned, unserved := live(t, authntest.Named("pinned"), authntest.PinnedTo(authntest.Profile()))
	_, unknown := live(t)
	_, other := authntest.Minted(t, format, key.Test)
	named := func(k *v1alpha1.ApiKey) map[string]any {
		return map[string]any{"keyId": string(k.UID), "key": "acme/" + k.Name}
	}
	for _, tc := range []struct {
		reason, method, target, bearer string
		class                          string // "": it is no refusal
		status                         float64
		more                           map[string]any
	}{
		{"no header", "GET", "/v1/whoami", "", "missing", 401, nil},
		{"no key", "GET", "/v1/whoami", "password", "malformed", 401, nil},
		{"a key that never was", "GET", "/v1/whoami", unknown, "unknown", 401, nil},
		{"one that is being deleted", "GET", "/v1/whoami", revoked, "revoked", 401, named(gone)},
		{"one that has expired", "GET", "/v1/whoami", expired, "expired", 401, named(old)},
		{"one whose Profile is not there", "GET", "/v1/whoami", unserved, "unserved", 401, named(pinned)},
		{"one of the other environment", "GET", "/v1/whoami", other, "wrong_environment", 401, nil},
		{"without the route's scope", "POST", "/v1/posts", plaintext, "insufficient_scope", 403, named(good)},
		{"a key that would mint keys", "POST", "/v1/api-keys", plaintext, "key_management", 403, named(good)},
		{"what does not exist", "GET", "/v1/profiles/none", plaintext, "", 404, nil},
		{"what is there", "GET", "/v1/whoami", plaintext, "", 200, nil},
	} {
		f, audit := auditFixture(t, good, gone, old, pinned)
		f.do(tc.method, tc.target, tc.bearer)
		got, access := lines(t, audit), lines(t, f.log)
		if tc.class == "" {
			if len(got) != 0 || len(access) != 1 {
				t.Errorf("%s: %d lines in the audit log and %d in the access log, want 0 and 1", tc.reason, len(got), len(access))
			}
			continue
		}
		want := map[string]any{
			"level": "INFO", "msg": "Request refused", "logger": "audit", "event": "request.refused", "refusal": tc.class,
			"requestId": "id", "method": tc.method, "route": tc.target, "status": tc.status, "durationMs": 0.0,
		}
		for name, value := range tc.more {
			want[name] = value
		}
		if diff := cmp.Diff([]map[string]any{want}, got); diff != "" || len(access) != 0 {
			t.Errorf("%s: %d lines in the access log, and in the audit log (-want +got):\n%s", tc.reason, len(access), diff)
		}
	}
}

// A flood of one kind keeps nothing of the other out of its log, and one of noise no revoked key that is in use.
func TestAuditHasItsOwnPace(t *testing.T) {
	k, plaintext := live(t)
	gone, revoked := live(t)
	authntest.Deleting(gone)
	f, audit := auditFixture(t, k, gone)
	for range 1000 {
		f.do(http.MethodGet, "/v1/profiles/none", plaintext)
	}
	for range 1000 {
		f.do(http.MethodGet, "/v1/whoami", "")
	}
	f.do(http.MethodGet, "/v1/whoami", revoked)
	got := lines(t, audit)
	if len(got) != maxEntries+1 || got[len(got)-1]["keyId"] != string(gone.UID) {
		t.Fatalf("%d lines, the last of them %v; want %d, and the revoked key's", len(got), got[len(got)-1], maxEntries+1)
	}
	f.clock.SetTime(now.Add(time.Second))
	f.do(http.MethodGet, "/v1/whoami", "")
	got = lines(t, audit)
	if last := got[len(got)-1]; last["refusal"] != "missing" || last["suppressed"] != 1000.0-maxEntries {
		t.Errorf("the last line is %v; want one that says how many of its class were left out", last)
	}
}
