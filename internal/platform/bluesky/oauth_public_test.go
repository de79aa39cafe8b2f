// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/test/pds"
	"github.com/letmepost/letmepost-operator/test/pki"
)

// publicName is what the browser and one server find at this machine. It is of a domain that is somebody's: servers
// fetch nothing from names that are set aside for examples and tests (RFC 2606).
const publicName = "api.letmepost.dev"

// TestConnectByOAuthAsAPublicClient: as most installations do, with a name and a certificate of their own. The server
// fetches the client's metadata from where the client id says; what comes of it is an account as any other.
func TestConnectByOAuthAsAPublicClient(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	authority, err := pki.NewAuthority(folder, "test", time.Now(), time.Hour)
	if err == nil {
		err = authority.Server("api", publicName, nil, publicName)
	}
	if err != nil {
		t.Fatal(err)
	}
	server, err := pds.Start(context.Background(), pds.Options{Local: publicName, CAFile: filepath.Join(folder, "ca.crt")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	account, err := server.NewAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{newPlatform(t, server), server, account}

	a, fetched := authorization{back: make(chan url.Values, 1)}, new(atomic.Int32)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(folder, "api.crt"), filepath.Join(folder, "api.key"))
	if err != nil {
		t.Fatal(err)
	}
	here := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case a.callback.Path:
			a.back <- r.URL.Query()
		case strings.Replace(a.callback.Path, "/callback", "/"+platform.ClientMetadataName, 1):
			text, err := w.ClientMetadata(a.callback)
			if err != nil {
				t.Error(err)
			}
			fetched.Add(1)
			rw.Header().Set("Content-Type", "application/json")
			_, _ = rw.Write(text)
		default:
			http.NotFound(rw, r)
		}
	}))
	here.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	_, port, err := net.SplitHostPort(here.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a.callback = &url.URL{
		Scheme: "https", Host: net.JoinHostPort(publicName, port), Path: "/v1/accounts/oauth/bluesky/callback",
	}
	here.StartTLS()
	t.Cleanup(here.Close)

	w.beginAt(t, &a)
	c, f := w.completeWith(t, a, a.consent(t, w.account, pds.Allow))
	if f != nil {
		t.Fatalf("%+v", f)
	}
	if c.PlatformAccountID != w.account.DID || fetched.Load() == 0 {
		t.Errorf("connected %+v; the metadata was fetched %d times", c, fetched.Load())
	}
	by := &credentials{of: w.to(), secrets: c.Secrets, refresher: w.Refresher}
	w.publishWith(t, by, "By a name")
	r, err := w.Refresher.Refresh(t.Context(), w.to(), c.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	by.secrets = r.Secrets
	w.publishWith(t, by, "Refreshed")
	if n := len(w.posts(t)); n != 2 || by.renewed > 0 {
		t.Errorf("there are %d posts; renewed %d times", n, by.renewed)
	}
}
