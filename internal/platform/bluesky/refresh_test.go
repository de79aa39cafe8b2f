// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
)

const accessScope, refreshScope = "com.atproto.appPass", "com.atproto.refresh"

func TestRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(t)
	for _, s := range []struct {
		name string
		with platform.Secrets
	}{
		{"a good token", c.secrets},
		{"an expired token", c.with(platform.SecretRefreshToken, w.account.ExpiredToken(refreshScope, "refresh+jwt")).secrets},
		{"a token that is none", c.with(platform.SecretRefreshToken, "none").secrets},
		{"no token", c.with(platform.SecretRefreshToken, "").secrets},
	} {
		r, err := w.Refresher.Refresh(t.Context(), w.to(), s.with)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		if r.Secrets[platform.SecretAccessToken] == "" || r.Secrets[platform.SecretRefreshToken] == s.with[platform.SecretRefreshToken] ||
			r.Secrets[platform.SecretAppPassword] != w.account.AppPassword || r.RefreshAt.Before(time.Now().Add(time.Hour)) || !r.ExpiresAt.IsZero() {
			t.Errorf("%s: refreshed %+v %v", s.name, r.RefreshAt, r.ExpiresAt)
		}
		w.publishWith(t, &credentials{of: c.of, refresher: c.refresher, secrets: r.Secrets}, "after "+s.name)
	}
}

func (w *world) publishWith(t *testing.T, c *credentials, text string) {
	t.Helper()
	published(t, w.send(t, w.publication(c, platform.Content{Text: text})))
}

// TestExpiredSession: an access token that has expired is renewed on the way, once.
func TestExpiredSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(t).with(platform.SecretAccessToken, w.account.ExpiredToken(accessScope, "at+jwt"))
	for _, content := range []platform.Content{
		{Text: "Hello"}, {Text: "With an image", Media: []platform.Media{image(t, 10, 10)}}, {Text: "For @" + w.account.Handle},
	} {
		expired := c.with(platform.SecretAccessToken, c.secrets[platform.SecretAccessToken])
		published(t, w.send(t, w.publication(expired, content)))
		if expired.renewed != 1 {
			t.Errorf("%q: renewed %d times", content.Text, expired.renewed)
		}
	}
}

// TestRevokedAppPassword: the account is lost until it is connected again, and then goes on.
func TestRevokedAppPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(t)
	if err := w.account.Call(t.Context(), "com.atproto.server.revokeAppPassword", map[string]any{"name": "first"}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := w.Refresher.Refresh(t.Context(), w.to(), c.secrets)
	if f := failureOf(t, err); f == nil || f.Code != platform.CodeAuthFailed || !strings.Contains(f.Remediation, "Connect the account again") {
		t.Errorf("refresh: %+v", err)
	}
	// What was given out goes on until it expires, which the platform says. After that:
	p := w.publication(c.with(platform.SecretAccessToken, w.account.ExpiredToken(accessScope, "at+jwt")), platform.Content{Text: "Hello"})
	o, ok := w.send(t, p).(platform.Rejected)
	if !ok || o.Failure.Code != platform.CodeAuthFailed || !strings.Contains(o.Failure.Remediation, "Connect the account again") {
		t.Fatalf("published: %+v", o)
	}
	if w.account.AppPassword, err = w.account.NewAppPassword(t.Context(), "second"); err != nil {
		t.Fatal(err)
	}
	p.Credentials = w.connect(t)
	published(t, w.send(t, p))
	w.only(t)
}

// TestMovedAccount: the account's document says that it is on another server than the one that is stored.
func TestMovedAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	closed := standIn(t, says(http.StatusBadRequest, "AccountDeactivated"))
	gone := standIn(t, nil)
	gone.Close()
	w.Platform = newPlatform(t, w.server, closed.URL, gone.URL)
	for name, url := range map[string]string{"the old server says so": closed.URL, "the old server is gone": gone.URL} {
		c := w.connect(t).with(bluesky.FieldPDSURL, url)
		r, err := w.Refresher.Refresh(t.Context(), w.to(), c.secrets)
		if err != nil || r.Secrets[bluesky.FieldPDSURL] != w.server.URL {
			t.Errorf("%s: at %s, error %v", name, r.Secrets[bluesky.FieldPDSURL], err)
		}
	}
	c := w.connect(t).with(bluesky.FieldPDSURL, closed.URL)
	w.publishWith(t, c, "Hello")
	if c.renewed != 1 || c.secrets[bluesky.FieldPDSURL] != w.server.URL {
		t.Errorf("renewed %d times, at %s", c.renewed, c.secrets[bluesky.FieldPDSURL])
	}
}

// TestRefreshWhileTheServerIsAway: nothing is lost by it.
func TestRefreshWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	away := proxy(t, w.server.URL, func(*http.Request) fault { return faultBefore })
	w.Platform = newPlatform(t, w.server, away.URL)
	// Its document is still the old one, so the account has not moved.
	told := *w.server
	plc := movedTo(t, w, away.URL)
	told.PLCURL = plc
	w.Platform = newPlatform(t, &told, away.URL)
	_, err := w.Refresher.Refresh(t.Context(), w.to(), platform.Secrets{
		bluesky.FieldPDSURL: away.URL, platform.SecretRefreshToken: "x", platform.SecretAppPassword: w.account.AppPassword,
	})
	if f := failureOf(t, err); f == nil || f.Code != platform.CodeUnavailable {
		t.Errorf("refresh: %+v", err)
	}
}

// TestRevoke: the session of an account that was disconnected is over, and its app password is not.
func TestRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(t)
	if err := w.Revoker.Revoke(t.Context(), w.to(), c.secrets); err != nil {
		t.Fatal(err)
	}
	_, err := w.Refresher.Refresh(t.Context(), w.to(), c.with(platform.SecretAppPassword, "").secrets)
	if f := failureOf(t, err); f == nil || f.Code != platform.CodeAuthFailed {
		t.Errorf("the session goes on: %v", err)
	}
	if _, err := w.Refresher.Refresh(t.Context(), w.to(), c.secrets); err != nil {
		t.Errorf("with the app password: %v", err)
	}
}
