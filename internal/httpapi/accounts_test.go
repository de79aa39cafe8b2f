// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Connecting what is connected renews it: 200, and the same id. In another profile it is another account.
func TestConnectTwice(t *testing.T) {
	brand := authntest.Profile()
	f := newFixture(t, []any{brand})
	key := f.newKey(t)
	s := sent{
		method: http.MethodPost, target: "/v1/accounts/connect/bluesky/complete", key: key, body: `{"identifier":"alice.test","appPassword":"hunter2"}`,
	}
	first := f.send(s)
	checkStatus(t, "the first time", first, http.StatusCreated)
	a := decode[account](t, first.Body.String())
	s.body = strings.Replace(s.body, "hunter2", "hunter3", 1)
	again := f.send(s)
	checkStatus(t, "again", again, http.StatusOK)
	if b := decode[account](t, again.Body.String()); b.ID != a.ID || *b.DisplayName != "alice.test" || !strings.HasPrefix(b.PlatformAccountID, "did:") {
		t.Errorf("%+v, then %+v", a, b)
	}
	s.body = `{"identifier":"alice.test","appPassword":"x","profileId":"` + string(brand.UID) + `"}`
	other := f.send(s)
	checkStatus(t, "in another profile", other, http.StatusCreated)
	if b := decode[account](t, other.Body.String()); b.ID == a.ID {
		t.Error("two profiles have one account")
	}
	for _, secret := range []string{"hunter2", "hunter3"} {
		if strings.Contains(first.Body.String()+again.Body.String()+f.log.String(), secret) {
			t.Errorf("%s is shown or logged", secret)
		}
	}
}

// TestDisconnected: an account that was disconnected is in no list but the one of its kind, reaches nobody else there
// either, and has its id again once it is connected again.
func TestDisconnected(t *testing.T) {
	brand, other := authntest.Profile(), authntest.Profile()
	other.Name, other.UID = "other", "b0000000-0000-4000-8000-0000000000ff"
	f := newFixture(t, []any{brand, other})
	key := f.newKey(t)
	connect := sent{
		method: http.MethodPost, target: "/v1/accounts/connect/bluesky/complete", key: key,
		body: `{"identifier":"alice.test","appPassword":"x","profileId":"` + string(brand.UID) + `"}`,
	}
	a := decode[account](t, f.send(connect).Body.String())
	list := func(key, query string) []account {
		return ok[accounts](t, f, sent{target: "/v1/accounts" + query, key: key}).Data
	}
	const gone = "?state=disconnected"
	if n := len(list(key, gone)); n != 0 {
		t.Errorf("%d are gone before one is disconnected", n)
	}
	checkStatus(t, "disconnect", f.send(sent{method: http.MethodDelete, target: "/v1/accounts/" + a.ID, key: key}), http.StatusOK)
	if n := len(list(key, "")); n != 0 {
		t.Errorf("%d are connected", n)
	}
	for _, query := range []string{gone, gone + "&limit=1", gone + "&profileId=" + string(brand.UID)} {
		if l := list(key, query); len(l) != 1 || l[0].ID != a.ID || l[0].State != connection.Disconnected || l[0].PlatformAccountID != a.PlatformAccountID {
			t.Errorf("%s: %+v", query, l)
		}
	}
	if n := len(list(key, gone+"&profileId="+string(other.UID))); n != 0 {
		t.Errorf("%d are gone of another profile", n)
	}
	if n := len(list(f.newKey(t, authntest.PinnedTo(other)), gone)); n != 0 {
		t.Errorf("a key of another profile sees %d", n)
	}
	for query, says := range map[string]string{
		gone + ",active":                "state=disconnected alone",
		gone + "&state=expiring":        "state=disconnected alone",
		"?state=":                       "active, expiring, reconnect_required, disconnected",
		"?state=Active":                 "active, expiring, reconnect_required, disconnected",
		"?state=active,gone":            "active, expiring, reconnect_required, disconnected",
		"?state=disconnected,reconnect": "active, expiring, reconnect_required, disconnected",
	} {
		refused := f.send(sent{target: "/v1/accounts" + query, key: key})
		checkStatus(t, query, refused, http.StatusBadRequest)
		if e := errorOf(t, refused); e.Rule != "state" || !strings.Contains(e.Remediation, says) {
			t.Errorf("%s: %+v, want the rule state, and %q", query, e, says)
		}
	}
	checkStatus(t, "its id", f.send(sent{target: "/v1/accounts/" + a.ID, key: key}), http.StatusNotFound)

	again := f.send(connect)
	checkStatus(t, "connected again", again, http.StatusCreated)
	if b := decode[account](t, again.Body.String()); b.ID != a.ID || b.State != connection.Active {
		t.Errorf("connected again: %+v, and was %s", b, a.ID)
	}
	if n := len(list(key, gone)); n != 0 {
		t.Errorf("%d are gone after it was connected again", n)
	}
}

// TestAccountsInStates: each state that a route shows can be asked for, and lists the accounts that are shown in it, of
// those that the key reaches.
func TestAccountsInStates(t *testing.T) {
	brand, other := authntest.Profile(), authntest.Profile()
	other.Name, other.UID = "other", "b0000000-0000-4000-8000-0000000000ff"
	f := newFixture(t, []any{brand, other})
	key, pinned, elsewhere := f.newKey(t), f.newKey(t, authntest.PinnedTo(brand)), f.newKey(t, authntest.PinnedTo(other))
	const day = 24 * time.Hour
	ends := map[connection.State]time.Time{
		connection.Active: {}, connection.Expiring: now.Add(day), connection.ReconnectRequired: now.Add(-day),
		connection.Disconnected: {},
	}
	ids := map[connection.State]string{}
	for _, state := range connection.States {
		row := store.Account{
			ID: newID(), ProfileID: string(brand.UID), Platform: "bluesky", PlatformAccountID: "did:test:" + string(state),
			TokenExpiresAt: ends[state], CreatedAt: now, UpdatedAt: now,
		}
		ids[state] = row.ID
		view := f.config.Store.View(f.admitted(t, pinned))
		check(t, view.Write(t.Context(), func(tx *store.Tx) error { _, _, err := tx.PutAccount(row); return err }))
		if state == connection.Disconnected {
			check(t, view.Write(t.Context(), func(tx *store.Tx) error { return tx.DeleteAccount(row.ID) }))
		}
	}
	list := func(key, query string) (found []string) {
		for _, a := range ok[accounts](t, f, sent{target: "/v1/accounts?state=" + query, key: key}).Data {
			if found = append(found, string(a.State)); ids[a.State] != a.ID {
				t.Errorf("%s: %+v, want it in another state", query, a)
			}
		}
		slices.Sort(found)
		return found
	}
	for _, state := range connection.States {
		for who, by := range map[string]string{"the organization": key, "its profile": pinned} {
			if got := list(by, string(state)); !slices.Equal(got, []string{string(state)}) {
				t.Errorf("%s, %s: %v", who, state, got)
			}
		}
		if got := list(elsewhere, string(state)); got != nil {
			t.Errorf("a key of another profile, %s: %v", state, got)
		}
	}
	want := []string{"active", "expiring", "reconnect_required"}
	for _, query := range []string{
		"active,expiring,reconnect_required", "expiring&state=reconnect_required,active&state=active",
		"reconnect_required,expiring,active&profileId=" + string(brand.UID),
	} {
		if got := list(key, query); !slices.Equal(got, want) {
			t.Errorf("%s: %v", query, got)
		}
	}
	var paged []string
	for cursor := ""; ; {
		page := ok[accounts](t, f, sent{target: "/v1/accounts?limit=1&state=active,expiring" + cursor, key: key})
		for _, a := range page.Data {
			paged = append(paged, string(a.State))
		}
		if page.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + *page.NextCursor
	}
	if slices.Sort(paged); !slices.Equal(paged, want[:2]) {
		t.Errorf("on pages: %v", paged)
	}
}

func TestWhatAConnectionNeeds(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	begun := ok[begunConnection](t, f, sent{method: http.MethodPost, target: "/v1/accounts/connect/bluesky", key: key, body: `{"returnTo":"https://example.com"}`})
	if begun.Platform != "bluesky" || begun.State != "stable" || begun.Descriptor.Kind != "credentials" || len(begun.Descriptor.Fields) == 0 {
		t.Errorf("%+v", begun)
	}
	for _, c := range []struct{ reason, platform, body, rule string }{
		{"no body", "bluesky", ``, "identifier"},
		{"no password", "bluesky", `{"identifier":"a"}`, "appPassword"},
		{"an empty password", "bluesky", `{"identifier":"a","appPassword":""}`, "appPassword"},
		{"a blank identifier", "bluesky", `{"identifier":" ","appPassword":"x"}`, "identifier"},
		{"hidden characters", "bluesky", `{"identifier":"a\u202eb","appPassword":"x"}`, "identifier"},
		{"too long", "bluesky", `{"identifier":"` + strings.Repeat("a", 254) + `","appPassword":"x"}`, "identifier"},
		{"another field", "bluesky", `{"identifier":"a","appPassword":"x","admin":"1"}`, "admin"},
		{"several others: the first by name", "bluesky", `{"identifier":"a","appPassword":"x","root":"1","admin":"1"}`, "admin"},
		{"another field, which is no name", "bluesky", `{"identifier":"a","appPassword":"x","ad min":"1"}`, "body"},
		{"another field, with dots", "bluesky", `{"identifier":"a","appPassword":"x","a.b":"1"}`, "body"},
		{"another platform's field", "linkedin", `{"identifier":"a","appPassword":"x"}`, "appPassword"},
		{"another type", "bluesky", `{"identifier":1,"appPassword":"x"}`, "identifier"},
		{"twice", "bluesky", `{"identifier":"a","appPassword":"x","identifier":"b"}`, "identifier"},
		{"no such platform", "myspace", `{"identifier":"a"}`, "platform"},
		{"in capitals", "Bluesky", `{"identifier":"a"}`, "platform"},
	} {
		s := sent{method: http.MethodPost, target: "/v1/accounts/connect/" + c.platform + "/complete", key: key, body: c.body}
		f.refused(t, c.reason, s, http.StatusBadRequest, c.rule)
	}
	if n := f.rows(t, "accounts"); n != 0 {
		t.Errorf("%d accounts were connected", n)
	}
}

// On the live environment there is no platform until it is built.
func TestPlatformNotEnabled(t *testing.T) {
	f := newFixture(t, nil, notEnabled)
	key := f.newKey(t)
	for _, name := range catalog.All.Names() {
		for _, target := range []string{"/v1/accounts/connect/" + name, "/v1/accounts/connect/" + name + "/complete"} {
			s := sent{method: http.MethodPost, target: target, key: key, body: `{}`}
			f.refused(t, target, s, http.StatusForbidden, "platform")
			if e := errorOf(t, f.send(s)); e.Code != "platform_not_enabled" {
				t.Errorf("%s: %+v", target, e)
			}
		}
	}
	f.refused(t, "one that never was", sent{method: http.MethodPost, target: "/v1/accounts/connect/myspace", key: key}, http.StatusBadRequest, "platform")
}

// Disconnecting cancels what is queued; what is published stays on record, without an account.
func TestDisconnect(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	gone, stays := f.connect(t, key), f.connect(t, key)
	queued, published, other := f.schedule(t, key, gone, ""), f.publish(t, key, gone, "x").Results[0].PostID, f.schedule(t, key, stays, "")
	s := sent{method: http.MethodDelete, target: "/v1/accounts/" + gone, key: key}
	if got := ok[disconnected](t, f, s); got != (disconnected{deleted{gone, true}, "disconnected"}) {
		t.Errorf("%+v", got)
	}
	checkStatus(t, "again", f.send(s), http.StatusNotFound)
	checkStatus(t, "get", f.do(http.MethodGet, "/v1/accounts/"+gone, key), http.StatusNotFound)
	for id, want := range map[string]string{queued: "canceled", published: "published", other: "queued"} {
		p := f.getPost(t, key, id)
		if string(p.Status) != want || (p.AccountID == nil) != (id != other) || (p.Account == nil) != (id != other) {
			t.Errorf("%+v, want %s", p, want)
		}
	}
	f.refused(t, "publish to it", publication(key, targetOf(gone, ""), `,"text":"x"`), http.StatusNotFound, "")
}

// A file that a post still needs is not deleted; one that is deleted is gone, bytes and all.
func TestMediaInUse(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	account, file := f.connect(t, key), f.upload(t, key)
	id := f.schedule(t, key, account, `,"media":[{"kind":"image","mediaId":"`+file+`"}]`)
	s := sent{method: http.MethodDelete, target: "/v1/media/" + file, key: key}
	f.refused(t, "while it is needed", s, http.StatusConflict, "media.in_use")
	if n := len(f.files(t)); n != 1 {
		t.Errorf("%d files", n)
	}
	checkStatus(t, "cancel", f.do(http.MethodDelete, "/v1/posts/"+id, key), http.StatusOK)
	if got := ok[deleted](t, f, s); got != (deleted{file, true}) {
		t.Errorf("%+v", got)
	}
	if files := f.files(t); len(files) != 0 {
		t.Errorf("files %v", files)
	}
	checkStatus(t, "its bytes", f.do(http.MethodGet, "/v1/media/"+file+"/content", key), http.StatusNotFound)
	retry := sent{method: http.MethodPost, target: "/v1/posts/" + id + "/retry", key: key}
	f.refused(t, "a post whose file is gone", retry, http.StatusConflict, "post.retry.media")
}

// "Environment … prefix doesn't match": what is made in one is not there in the other, for the same organization.
func TestEnvironmentsAreApart(t *testing.T) {
	callers := crowd(t)
	live, test := callers[0], callers[4]
	for _, path := range []string{"/v1/posts", "/v1/media", "/v1/accounts"} {
		a := decode[endpoint.Page[listed]](t, live.api.get(t, path, live.key)).Data
		b := decode[endpoint.Page[listed]](t, test.api.get(t, path, test.key)).Data
		if len(a) != 1 || len(b) != 1 || a[0].ID == b[0].ID {
			t.Errorf("%s: %v and %v", path, a, b)
		}
	}
	checkStatus(t, "a test key sent to live", live.api.do(http.MethodGet, "/v1/posts", test.key), http.StatusUnauthorized)
	checkStatus(t, "a live key sent to test", test.api.do(http.MethodGet, "/v1/posts", live.key), http.StatusUnauthorized)
	write := publication(test.key, targetOf(live.own.things[aAccount], ""), `,"text":"x"`)
	before := live.api.rows(t, "posts")
	checkStatus(t, "a test key rejects live writes", live.api.send(write), http.StatusUnauthorized)
	if live.api.rows(t, "posts") != before {
		t.Error("it wrote")
	}
	if p := live.api.getPost(t, live.key, live.own.things[aPost]); p.Sandbox {
		t.Error("a live post says it is one of the sandbox")
	}
	if p := test.api.getPost(t, test.key, test.own.things[aPost]); !p.Sandbox {
		t.Error("a test post does not say that it is one of the sandbox")
	}
}
