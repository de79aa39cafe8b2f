// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// trusting is a platform's part that gives secrets to everybody.
type trusting struct{ platform.Connector }

func (trusting) Complete(_ context.Context, in platform.ConnectionAnswer) (platform.Connection, error) {
	return platform.Connection{
		PlatformAccountID: "did:test:" + in.Credentials[platform.FieldIdentifier],
		DisplayName:       strings.Repeat("a name ", 10_000),
		Secrets:           platform.Secrets{platform.SecretAppPassword: in.Credentials[platform.SecretAppPassword]},
		TokenExpiresAt:    now.Add(15 * 24 * time.Hour),
		Warnings:          []platform.Warning{{Code: "a.warning", Message: "Look."}},
	}, nil
}

// keeping has accounts' secrets kept, in a vault; nil: one without a keyset.
func keeping(t *testing.T, k *vault.Keyset, keeper **connection.Keeper) func(*parts) {
	t.Helper()
	return func(c *parts) {
		v := vault.Fixed(k)
		if k == nil {
			var err error
			v, err = vault.New(vault.Options{
				Clock: nil, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
				Needs: func() (map[uint32]int, error) { return nil, nil },
			})
			check(t, err)
		}
		played, _ := c.Platforms.Get(bluesky.Name)
		played.Connector = trusting{played.Connector}
		c.Platforms = platform.List{played}
		var err error
		c.Connections, err = connection.New(connection.Options{
			Store: c.Store, Vault: v, Platforms: c.Platforms, Clock: c.Clock, Logger: c.Logger,
			Registerer: prometheus.NewRegistry(),
		})
		check(t, err)
		*keeper = c.Connections
	}
}

const hers = `{"identifier":"alice.test","appPassword":"hunter2-hunter2"}`

// TestConnectedWithSecrets: what opens an account is kept sealed and shown nowhere; the account says where it stands.
// The body that begins a connection has what platforms want to know before they send a browser away, and nothing that
// is for the platform's own page.
func TestAskedBeforeABrowser(t *testing.T) {
	want := map[string]bool{}
	for _, p := range catalog.All {
		for _, f := range p.Fields {
			if f.BeforeBrowser && f.Type == platform.TypePassword {
				t.Errorf("%s asks for %s, a secret, before it sends a browser away", p.Name, f.Name)
			}
			want[f.Name] = want[f.Name] || f.BeforeBrowser
		}
	}
	for name, before := range want {
		var in connectAccount
		if err := json.Unmarshal([]byte(`{"`+name+`":"x"}`), &in); err != nil {
			t.Fatal(err)
		}
		if _, taken := in.filledIn()[name]; taken != before {
			t.Errorf("the body takes %s: %v, want %v", name, taken, before)
		}
	}
}

func TestConnectedWithSecrets(t *testing.T) {
	k, err := vault.NewKeyset()
	check(t, err)
	var keeper *connection.Keeper
	f := newFixture(t, nil, keeping(t, k, &keeper))
	key := f.newKey(t)
	complete := sent{method: http.MethodPost, target: "/v1/accounts/connect/bluesky/complete", key: key, body: hers}
	first := f.send(complete)
	checkStatus(t, "connected", first, http.StatusCreated)
	a := decode[account](t, first.Body.String())
	if a.DisplayName == nil || len(*a.DisplayName) > 2_000 {
		t.Error("a name of any length is kept")
	}
	if a.State != connection.Active || a.Problem != nil || len(a.Warnings) != 1 || a.Warnings[0].Code != "a.warning" {
		t.Errorf("%+v", a)
	}
	secretOf := func() string {
		with, failure, err := keeper.Open(t.Context(), a.ID)
		if err != nil || failure != nil {
			t.Fatal(failure, err)
		}
		secrets, err := with.Get(t.Context())
		check(t, err)
		return secrets[platform.SecretAppPassword]
	}
	if secretOf() != "hunter2-hunter2" {
		t.Error("what was kept is not what was given")
	}
	shown := func() account {
		return ok[account](t, f, sent{method: http.MethodGet, target: "/v1/accounts/" + a.ID, key: key})
	}
	if got := shown(); got.Warnings != nil || got.State != connection.Active {
		t.Errorf("%+v", got)
	}
	f.clock.SetTime(now.Add(2 * 24 * time.Hour))
	if got := shown(); got.State != connection.Expiring || got.TokenExpiresAt == nil {
		t.Errorf("%+v", got)
	}
	// Refused by the platform: the reason is shown, to those who reach the account, and to connect again mends it.
	with, _, err := keeper.Open(t.Context(), a.ID)
	check(t, err)
	keeper.Refused(t.Context(), with, platform.Failure{Code: platform.CodeAuthFailed, Message: "The app password was deleted."})
	if got := shown(); got.State != connection.ReconnectRequired || got.Problem == nil || got.Problem.Message != "The app password was deleted." {
		t.Errorf("%+v", got)
	}
	complete.body = strings.ReplaceAll(hers, "hunter2", "hunter3")
	again := f.send(complete)
	checkStatus(t, "connected again", again, http.StatusOK)
	if b := decode[account](t, again.Body.String()); b.ID != a.ID || b.State != connection.Expiring || secretOf() != "hunter3-hunter3" {
		t.Errorf("%+v", b)
	}
	checkStatus(t, "disconnected", f.send(sent{method: http.MethodDelete, target: "/v1/accounts/" + a.ID, key: key}), http.StatusOK)
	if n := f.rows(t, "account_secrets"); n != 0 {
		t.Errorf("%d secrets are left", n)
	}
	for _, secret := range []string{"hunter2", "hunter3"} {
		if strings.Contains(first.Body.String()+again.Body.String()+f.log.String(), secret) {
			t.Errorf("%s is shown or logged", secret)
		}
	}
}

// TestNoticesOfAPlatform: what is to be known of a platform stands on each of its accounts, on whichever way it is
// shown, and before what was noticed when it was connected.
func TestNoticesOfAPlatform(t *testing.T) {
	k, err := vault.NewKeyset()
	check(t, err)
	said := []platform.Warning{{Code: "a.notice", Message: "It is about to end."}}
	var keeper *connection.Keeper
	f := newFixture(t, nil, keeping(t, k, &keeper), func(c *parts) {
		c.Platforms[0].Notices = func() []platform.Warning { return slices.Clone(said) }
	})
	key := f.newKey(t)
	codes := func(a account) (codes []string) {
		for _, w := range a.Warnings {
			codes = append(codes, w.Code)
		}
		return codes
	}
	connect := sent{method: http.MethodPost, target: "/v1/accounts/connect/bluesky/complete", key: key, body: hers}
	first := f.send(connect)
	checkStatus(t, "connected", first, http.StatusCreated)
	a := decode[account](t, first.Body.String())
	shown := func() (one, listed account) {
		one = ok[account](t, f, sent{method: http.MethodGet, target: "/v1/accounts/" + a.ID, key: key})
		return one, ok[accounts](t, f, sent{method: http.MethodGet, target: "/v1/accounts", key: key}).Data[0]
	}
	again := decode[account](t, f.send(connect).Body.String())
	one, listed := shown()
	for what, got := range map[string][2][]string{
		"connected":       {codes(a), {"a.notice", "a.warning"}},
		"connected again": {codes(again), {"a.notice", "a.warning"}},
		"asked for":       {codes(one), {"a.notice"}},
		"listed":          {codes(listed), {"a.notice"}},
	} {
		if !slices.Equal(got[0], got[1]) {
			t.Errorf("%s: warnings %v, want %v", what, got[0], got[1])
		}
	}
	said = nil
	if one, listed = shown(); one.Warnings != nil || listed.Warnings != nil {
		t.Errorf("what is over is still said: %+v %+v", one.Warnings, listed.Warnings)
	}
}

// TestConnectedWithoutAKeyset: nobody is asked for secrets that could not be kept; reading goes on.
func TestConnectedWithoutAKeyset(t *testing.T) {
	var keeper *connection.Keeper
	f := newFixture(t, nil, keeping(t, nil, &keeper))
	key := f.newKey(t)
	for target, body := range map[string]string{
		"/v1/accounts/connect/bluesky": `{}`, "/v1/accounts/connect/bluesky/complete": hers,
	} {
		got := f.send(sent{method: http.MethodPost, target: target, key: key, body: body})
		checkStatus(t, target, got, http.StatusServiceUnavailable)
		if e := errorOf(t, got); e.Code != "unavailable" || e.Rule != "vault.unusable" || e.Remediation == "" {
			t.Errorf("%+v", e)
		}
	}
	checkStatus(t, "reading", f.do(http.MethodGet, "/v1/accounts", key), http.StatusOK)
	if n := f.rows(t, "accounts"); n != 0 {
		t.Errorf("%d accounts were connected", n)
	}
}
