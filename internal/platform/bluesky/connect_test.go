// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
)

func TestConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun, err := w.Connector.Begin(t.Context(), platform.ConnectionRequest{})
	if err != nil || begun.Descriptor.Kind != platform.ByCredentials || len(begun.Descriptor.Fields) != 3 {
		t.Fatalf("begun %+v, error %v", begun, err)
	}
	for _, identifier := range []string{
		w.account.Handle, "@" + strings.ToUpper(w.account.Handle), "  " + w.account.Handle + "\n", w.account.DID,
		"https://bsky.app/profile/" + w.account.Handle, "at://" + w.account.DID, "\u202a@" + w.account.Handle + "\u202c",
	} {
		began := time.Now()
		c, f := w.complete(t, identifier, " "+w.account.AppPassword+" ")
		if f != nil {
			t.Errorf("%q: %+v", identifier, f)
			continue
		}
		if c.PlatformAccountID != w.account.DID || c.DisplayName != w.account.Handle || len(c.Warnings) > 0 {
			t.Errorf("%q: connected %+v", identifier, c)
		}
		if !c.TokenExpiresAt.IsZero() || c.RefreshAt.Sub(began) < 80*time.Minute || c.RefreshAt.Sub(began) > 100*time.Minute {
			t.Errorf("%q: expires %v, to be refreshed in %v", identifier, c.TokenExpiresAt, c.RefreshAt.Sub(began))
		}
		for _, name := range []string{
			platform.SecretAppPassword, platform.SecretAccessToken, platform.SecretRefreshToken, bluesky.FieldPDSURL,
		} {
			if c.Secrets[name] == "" {
				t.Errorf("%q: there is no secret %s", identifier, name)
			}
		}
		if len(c.Secrets) != 4 || c.Secrets[bluesky.FieldPDSURL] != w.server.URL {
			t.Errorf("%q: %d secrets, at %s", identifier, len(c.Secrets), c.Secrets[bluesky.FieldPDSURL])
		}
	}
	// By a DID, the server is found without being told.
	if c, f := w.complete(t, w.account.DID, w.account.AppPassword, "pdsUrl", ""); f != nil || c.DisplayName != w.account.Handle {
		t.Errorf("by DID alone: %+v, %+v", c, f)
	}
}

func TestConnectWithTheMainPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, f := w.complete(t, w.account.Handle, w.account.Password)
	if f != nil || len(c.Warnings) != 1 || c.Warnings[0].Code != bluesky.WarningMainPassword {
		t.Errorf("connected %+v, failure %+v", c, f)
	}
}

func TestConnectIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	takenDown, deactivated := newWorld(t), newWorld(t)
	if err := takenDown.account.TakeDown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := deactivated.account.Call(t.Context(), "com.atproto.server.deactivateAccount", map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, identifier, password, pdsURL string
		code, rule, message                string
	}{
		{"wrong password", w.account.Handle, "aaaa-bbbb-cccc-dddd", w.server.URL, platform.CodeAuthFailed, "bluesky.credentials", "does not accept"},
		{"nobody", "nobody.test", "aaaa-bbbb-cccc-dddd", w.server.URL, platform.CodeAuthFailed, "bluesky.credentials", "does not accept"},
		{"no password", w.account.Handle, " ", w.server.URL, platform.CodeInvalid, "appPassword", "missing"},
		{"no identifier", " ", "aaaa-bbbb-cccc-dddd", w.server.URL, platform.CodeInvalid, "identifier", "missing"},
		{"no handle", "not a handle", "aaaa-bbbb-cccc-dddd", w.server.URL, platform.CodeInvalid, "identifier", "neither"},
		{"long password", w.account.Handle, strings.Repeat("x", 5000), w.server.URL, platform.CodeAuthFailed, "bluesky.credentials", "does not accept"},
		{"unknown DID", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "aaaa-bbbb-cccc-dddd", "", platform.CodeAuthFailed, "bluesky.account.not_found", "no account"},
		{"taken down", takenDown.account.Handle, takenDown.account.Password, w.server.URL, platform.CodeAuthFailed, "bluesky.account.taken_down", "taken down"},
		{"deactivated", deactivated.account.Handle, deactivated.account.AppPassword, w.server.URL, platform.CodeAuthFailed, "bluesky.account.deactivated", "deactivated"},
		{"clear text", w.account.Handle, w.account.AppPassword, "http://pds.example.com", platform.CodeInvalid, "pdsUrl", "not encrypted"},
		{"no URL", w.account.Handle, w.account.AppPassword, "https://", platform.CodeInvalid, "pdsUrl", "not a URL"},
		{"a path", w.account.Handle, w.account.AppPassword, "https://pds.example.com/xrpc", platform.CodeInvalid, "pdsUrl", "more in it than a host"},
		{"a user", w.account.Handle, w.account.AppPassword, "https://a:b@pds.example.com", platform.CodeInvalid, "pdsUrl", "more in it than a host"},
	} {
		got, f := w.complete(t, c.identifier, c.password, "pdsUrl", c.pdsURL)
		if f == nil || f.Code != c.code || f.Rule != c.rule {
			t.Errorf("%s: connected %+v, failure %+v", c.name, got, f)
			continue
		}
		contains(t, c.name, f.Message, c.message)
		if strings.Contains(fmt.Sprintf("%+v", f), c.password) && len(strings.TrimSpace(c.password)) > 0 {
			t.Errorf("%s: the failure repeats the password", c.name)
		}
	}
}

// standIn is a server of the protocol that says what a test wants, in front of another one.
func standIn(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

// TestServersThatAnswerBadly: whatever a server says, a person gets a sentence, and nothing hangs.
func TestServersThatAnswerBadly(t *testing.T) {
	t.Parallel()
	reset := time.Now().Add(7 * time.Minute).Unix()
	for _, c := range []struct {
		name       string
		answer     http.HandlerFunc
		code, rule string
		message    string
	}{
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, platform.CodeUnavailable, "bluesky.unavailable", "as a server of the AT Protocol"},
		{"no session", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, platform.CodeUnavailable, "bluesky.unavailable", ""},
		{"10 MB", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 10<<20)) }, platform.CodeUnavailable, "bluesky.unavailable", "as a server of the AT Protocol"},
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, platform.CodeUnavailable, "bluesky.unavailable", "status 500"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, platform.CodeUnavailable, "bluesky.unavailable", "status 302"},
		{"404 of something else", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, platform.CodeUnavailable, "bluesky.unavailable", "status 404"},
		{"hangs up", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, platform.CodeUnavailable, "bluesky.unavailable", ""},
		// The protocol's own server has this error in its lexicon, and no code that demands a second factor.
		{"second factor", says(401, "AuthFactorTokenRequired"), platform.CodeAuthFailed, "bluesky.second_factor", "account's own password"},
		{"taken down", says(400, "AccountTakedown"), platform.CodeAuthFailed, "bluesky.account.taken_down", "taken down"},
		{"too fast", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("RateLimit-Reset", fmt.Sprint(reset))
			says(429, "RateLimitExceeded")(w, r)
		}, platform.CodeRateLimited, "bluesky.rate_limited", "asked again in"},
	} {
		s := standIn(t, c.answer)
		w := newWorld(t, s.URL)
		got, f := w.complete(t, w.account.Handle, w.account.AppPassword, "pdsUrl", s.URL)
		if f == nil || f.Code != c.code || f.Rule != c.rule || !strings.Contains(f.Message, c.message) {
			t.Errorf("%s: connected %+v, failure %+v", c.name, got, f)
		}
	}
}

// says answers with an error of the protocol.
func says(status int, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"error":%q,"message":"as the test says"}`, name)
	}
}

// TestAServerCantSpeakForAnothersAccount: it says that the session is somebody's who is not on it.
func TestAServerCantSpeakForAnothersAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := newWorld(t).connect(t).secrets[platform.SecretAccessToken] // good, and the liar's own
	for _, token := range []string{"none", theirs} {
		liar := standIn(t, func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(rw, `{"accessJwt":%q,"refreshJwt":"b","did":%q,"handle":%q}`, token, w.account.DID, w.account.Handle)
		})
		w.Platform = newPlatform(t, w.server, liar.URL)
		got, f := w.complete(t, w.account.Handle, "aaaa-bbbb-cccc-dddd", "pdsUrl", liar.URL)
		if f == nil || f.Rule != "bluesky.pds.foreign" {
			t.Errorf("connected %+v, failure %+v", got, f)
		}
	}
}

// TestInFrontOfTheServer: bsky.social is another address than those of the servers behind it.
func TestInFrontOfTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	front := proxy(t, w.server.URL, nil)
	w.Platform = newPlatform(t, w.server, front.URL)
	c, f := w.complete(t, w.account.Handle, w.account.AppPassword, "pdsUrl", front.URL)
	if f != nil || c.Secrets[bluesky.FieldPDSURL] != w.server.URL {
		t.Errorf("connected %+v, failure %+v", c, f)
	}
}

// TestPrivateAddresses: neither a person nor an identity's document leads this server to one.
func TestPrivateAddresses(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	inside := standIn(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	_, port, _ := strings.Cut(strings.TrimPrefix(inside.URL, "http://"), ":")
	w := newWorld(t)
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0177.0.0.1", "169.254.169.254", "10.0.0.1"} {
		_, f := w.complete(t, w.account.Handle, w.account.AppPassword, "pdsUrl", "https://"+host+":"+port)
		if f == nil || f.Code != platform.CodeInvalid && f.Code != platform.CodeUnavailable {
			t.Errorf("%s: %+v", host, f)
		}
	}
	// A directory that says that the account is at such an address, in clear text and not.
	for _, scheme := range []string{"http", "https"} {
		plc := standIn(t, func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(rw, `{"id":%q,"service":[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"%s://127.0.0.1:%s"}]}`, w.account.DID, scheme, port)
		})
		told := *w.server
		told.PLCURL = plc.URL
		w.Platform = newPlatform(t, &told)
		_, f := w.complete(t, w.account.DID, w.account.AppPassword, "pdsUrl", "")
		if f == nil || f.Code != platform.CodeInvalid && f.Code != platform.CodeAuthFailed {
			t.Errorf("by document, %s: %+v", scheme, f)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("it was asked %d times", n)
	}
}
