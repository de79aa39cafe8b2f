// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"maps"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/test/pds"
)

// TestConnectByOAuth: in a real browser, at a real server. What comes of it is an account as any other.
func TestConnectByOAuth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	began := time.Now()
	by, c := w.connectByOAuth(t)
	if c.PlatformAccountID != w.account.DID || c.DisplayName != w.account.Handle || len(c.Warnings) > 0 {
		t.Errorf("connected %+v", c)
	}
	if in := c.RefreshAt.Sub(began); in < 40*time.Minute || in > 50*time.Minute {
		t.Errorf("to be refreshed in %v, of 60 minutes", in)
	}
	if in := c.TokenExpiresAt.Sub(began); in < 14*24*time.Hour-time.Minute || in > 14*24*time.Hour+10*time.Minute {
		t.Errorf("it ends in %v", in)
	}
	for name := range c.Secrets {
		if !slices.ContainsFunc(w.Secrets, func(s platform.SecretShape) bool { return s.Name == name }) {
			t.Errorf("the platform does not know of the secret %s", name)
		}
	}
	if c.Secrets[bluesky.FieldPDSURL] != w.server.URL || c.Secrets[platform.SecretDPoPKey] == "" ||
		c.Secrets[platform.SecretAppPassword] != "" {
		t.Errorf("%d secrets, at %s", len(c.Secrets), c.Secrets[bluesky.FieldPDSURL])
	}
	// The same posts as by an app password, to the byte of what the server keeps.
	other := newWorld(t)
	alike(t, w, by, other, other.connect(t))
	if by.renewed > 0 {
		t.Errorf("renewed %d times", by.renewed)
	}
}

// alike publishes the same by two accounts, and compares what their servers have.
func alike(t *testing.T, a *world, byA *credentials, b *world, byB *credentials) {
	t.Helper()
	parent := newWorld(t).publish(t, platform.Content{Text: "Who is there?"})
	long := platform.Content{
		Text:         "A #tag, https://127.0.0.1:1/ and @" + newWorld(t).account.Handle,
		FirstComment: "And this", Media: []platform.Media{image(t, 30, 20)},
		Options: platform.Options{ReplyToURI: parent.URI, ReplyToCID: parent.CID, Langs: []string{"en"}},
	}
	at := time.Now()
	for _, c := range []platform.Content{{Text: "Hello"}, long} {
		for w, by := range map[*world]*credentials{a: byA, b: byB} {
			p := w.publication(by, c)
			p.FirstSentAt = at
			r := published(t, w.send(t, p))
			if len(r.Warnings) > 0 || (c.FirstComment != "") != (r.FirstCommentURI != "") {
				t.Errorf("%+v", r)
			}
		}
	}
	got, want := a.posts(t), b.posts(t)
	for _, posts := range [][]post{got, want} {
		if len(posts) != 3 {
			t.Fatalf("%d posts", len(posts))
		}
		for i := range posts {
			if r := posts[i].Reply; r != nil && r.Parent.URI != parent.URI {
				r.Parent.URI, r.Parent.CID = "of its own", ""
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("by an app password, and by OAuth:\n%s", d)
	}
}

// TestRefreshOfAGrant: each refresh token is good once, and what comes with it goes on.
func TestRefreshOfAGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	by, c := w.connectByOAuth(t)
	first := maps.Clone(by.secrets)
	for range 3 {
		r, err := w.Refresher.Refresh(t.Context(), w.to(), by.secrets)
		if err != nil {
			t.Fatal(err)
		}
		if r.Secrets[platform.SecretAccessToken] == by.secrets[platform.SecretAccessToken] ||
			r.Secrets[platform.SecretRefreshToken] == by.secrets[platform.SecretRefreshToken] ||
			!r.ExpiresAt.Equal(c.TokenExpiresAt.Truncate(time.Second)) || r.RefreshAt.Before(time.Now().Add(40*time.Minute)) {
			t.Errorf("refreshed at %v, ends %v", r.RefreshAt, r.ExpiresAt)
		}
		by.secrets = r.Secrets
		w.publishWith(t, by, "Hello")
	}
	// Somebody who has an old token ends the session, which the account tells of. Connecting it again helps.
	for i, with := range []platform.Secrets{first, by.secrets} { // the newest comes after the end
		_, err := w.Refresher.Refresh(t.Context(), w.to(), with)
		f := failureOf(t, err)
		if f == nil || f.Code != platform.CodeAuthFailed || f.Remediation != "Connect the account again." {
			t.Errorf("%s: %+v", [...]string{"an old one", "the newest"}[i], f)
		}
	}
	p := w.publication(by, platform.Content{Text: "After the end"})
	o, ok := w.send(t, p).(platform.Rejected)
	if !ok || o.Failure.Code != platform.CodeAuthFailed {
		t.Fatalf("published without a session: %+v", o)
	}
	p.Credentials, _ = w.connectByOAuth(t)
	published(t, w.send(t, p))
}

// TestExpiredGrantToken: an access token that has expired is renewed on the way, once.
func TestExpiredGrantToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	by, _ := w.connectByOAuth(t)
	for _, content := range []platform.Content{
		{Text: "Hello"}, {Text: "With an image", Media: []platform.Media{image(t, 10, 10)}}, {Text: "For @" + w.account.Handle},
	} {
		token, err := w.server.Expired(by.secrets[platform.SecretAccessToken])
		if err != nil {
			t.Fatal(err)
		}
		by = by.with(platform.SecretAccessToken, token)
		published(t, w.send(t, w.publication(by, content)))
		if by.renewed != 1 {
			t.Errorf("%q: renewed %d times", content.Text, by.renewed)
		}
	}
	if n := len(w.posts(t)); n != 3 {
		t.Errorf("%d posts", n)
	}
}

// TestNoncesOfAServerThatBeganAnew: what it wanted in proofs before is worth nothing to it.
func TestNoncesOfAServerThatBeganAnew(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s, err := pds.Start(t.Context(), pds.Options{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.NewAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plc, err := server() // the directory goes with its server, so this one's account is told from elsewhere
	if err != nil {
		t.Fatal(err)
	}
	told := *s
	told.PLCURL = movedTo(t, &world{account: a}, s.URL)
	w := &world{newPlatform(t, &told), s, a}
	by, _ := w.connectByOAuth(t)
	w.publishWith(t, by, "Before")
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if s, err = pds.Start(t.Context(), pds.Options{Data: data, Port: u.Port(), PLCURL: plc.PLCURL}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	w.server = s
	p := w.publication(by, platform.Content{Text: "After", Media: []platform.Media{image(t, 10, 10)}})
	published(t, w.send(t, p))
	if n := len(w.posts(t)); n != 2 || by.renewed > 0 {
		t.Errorf("%d posts, renewed %d times", n, by.renewed)
	}
	if _, err := w.Refresher.Refresh(t.Context(), w.to(), by.secrets); err != nil {
		t.Errorf("refresh: %v", err)
	}
}

// TestRevokeOfAGrant: nothing of an account that was disconnected is good any more.
func TestRevokeOfAGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	by, _ := w.connectByOAuth(t)
	if err := w.Revoker.Revoke(t.Context(), w.to(), by.secrets); err != nil {
		t.Fatal(err)
	}
	_, err := w.Refresher.Refresh(t.Context(), w.to(), by.secrets)
	if f := failureOf(t, err); f == nil || f.Code != platform.CodeAuthFailed {
		t.Errorf("refreshed: %v", err)
	}
}

// TestConsentIsNotGiven: by the owner, and by somebody else's owner.
func TestConsentIsNotGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.authorize(t)
	back := a.consent(t, w.account, pds.Deny)
	if c, f := w.completeWith(t, a, back); f == nil || f.Rule != "bluesky.oauth.denied" || f.Code != platform.CodeAuthFailed {
		t.Errorf("connected %+v, failure %+v", c, f)
	}
}

// TestCallbacks: what a browser brings that the server has not sent it with, or not now.
func TestCallbacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.authorize(t)
	good := a.consent(t, w.account, pds.Allow)
	with := func(changes ...string) url.Values {
		changed := maps.Clone(good)
		for i := 0; i < len(changes); i += 2 {
			changed.Set(changes[i], changes[i+1])
			if changes[i+1] == "" {
				changed.Del(changes[i])
			}
		}
		return changed
	}
	for name, back := range map[string]url.Values{
		"of another server":           with("iss", "https://evil.example"),
		"of nobody":                   with("iss", ""),
		"without a code":              with("code", ""),
		"with an error":               with("code", "", "error", "server_error", "error_description", "<b>Sorry</b>"),
		"with an error of another":    with("iss", "https://evil.example", "error", "access_denied"),
		"with nothing":                {},
		"with a code that is none":    with("code", "cod-00000000000000000000000000000000"),
		"with a code of another kind": with("code", "x"),
	} {
		if c, f := w.completeWith(t, a, back); f == nil || f.Rule != "bluesky.oauth" {
			t.Errorf("%s: connected %+v, failure %+v", name, c, f)
		}
	}
	// Nothing of that has spent the code, which is good once.
	if _, f := w.completeWith(t, a, good); f != nil {
		t.Errorf("the good one: %+v", f)
	}
	if c, f := w.completeWith(t, a, good); f == nil || f.Code != platform.CodeAuthFailed {
		t.Errorf("the same again: connected %+v, failure %+v", c, f)
	}
	broken := a
	broken.begun.Resume = []byte(`{"issuer":`)
	if _, f := w.completeWith(t, broken, good); f == nil || f.Rule != "bluesky.oauth" {
		t.Errorf("without what was kept: %+v", f)
	}
}
