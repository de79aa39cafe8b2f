// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/letmepost/letmepost-operator/test/pki"
)

// Dashboard is the client of an Issuer: it is refused without a code_verifier, and its refresh tokens are good once.
//
// Stranger is another client, like it.
const (
	Dashboard = "dashboard"
	Stranger  = "stranger"
)

// Issuer is the server as an OpenID provider, over TLS with an authority of its own. What goes in and out passes a
// proxy, which can keep it away, change it, and knows all secrets that were given.
type Issuer struct {
	*Server
	CAFile string         // of the authority, PEM
	Roots  *x509.CertPool // the same

	// Away has it answer nothing.
	Away atomic.Bool
	// Renewals is how many requests came with a refresh token.
	Renewals atomic.Int64
	// Revocations is how many refresh tokens were given back.
	Revocations atomic.Int64

	front  *httptest.Server
	mu     sync.Mutex
	asked  func(*http.Request)
	answer func(path string, body []byte) []byte
	given  []string
	last   string // refresh token
	behind *url.URL
}

// StartIssuer starts a server whose ID tokens are good for so long, with its files in folder.
func StartIssuer(ctx context.Context, folder string, idTokens time.Duration, redirectURIs ...string) (*Issuer, error) {
	authority, err := pki.NewAuthority(folder, "issuer", time.Now(), time.Hour)
	if err != nil {
		return nil, err
	}
	if err := authority.Server("issuer", "issuer", []net.IP{net.IPv4(127, 0, 0, 1)}); err != nil {
		return nil, err
	}
	i := &Issuer{CAFile: filepath.Join(folder, pki.CA+".crt"), Roots: x509.NewCertPool()}
	pem, err := os.ReadFile(i.CAFile)
	if err != nil {
		return nil, err
	}
	i.Roots.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "issuer.crt"), filepath.Join(folder, "issuer.key"))
	if err != nil {
		return nil, err
	}
	i.front = httptest.NewUnstartedServer(nil)
	i.front.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	own := "https://" + i.front.Listener.Addr().String()
	i.Server, err = start(ctx, "OAUTH_REDIRECT_URIS="+strings.Join(redirectURIs, ","), "OAUTH_ISSUER="+own,
		"OAUTH_ID_TOKEN_SECONDS="+strconv.Itoa(int(idTokens.Seconds())))
	if err != nil {
		i.front.Close()
		return nil, err
	}
	behind, err := url.Parse(i.URL)
	if err != nil {
		return nil, err
	}
	i.behind = behind
	i.URL = own
	i.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: i.Roots, MinVersion: tls.VersionTLS12}}
	i.front.Config.Handler = i.proxy()
	i.front.StartTLS()
	return i, nil
}

// Restored is the issuer as it was when it started, for whoever shares it with other tests.
func (i *Issuer) Restored(ctx context.Context) error {
	i.Away.Store(false)
	i.Change(nil, nil)
	return i.Ahead(ctx, 0)
}

// Stop ends the server and the proxy.
func (i *Issuer) Stop() {
	i.transport.(*http.Transport).CloseIdleConnections()
	i.front.Close()
	i.Server.Stop()
}

// Change has the proxy change requests on their way, and the bodies of answers; nil: nothing.
func (i *Issuer) Change(asked func(*http.Request), answer func(path string, body []byte) []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked, i.answer = asked, answer
}

// Secrets are all codes, verifiers and tokens that went by.
func (i *Issuer) Secrets() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string(nil), i.given...)
}

// Ahead sets the provider's clock ahead of everybody else's.
func (i *Issuer) Ahead(ctx context.Context, by time.Duration) error {
	at := fmt.Sprintf("%s/clock?ahead=%d", i.behind, int(by.Seconds()))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: i.transport}).Do(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Revoke ends what the refresh token stands for that was given last.
func (i *Issuer) Revoke(ctx context.Context) error {
	i.mu.Lock()
	token := i.last
	i.mu.Unlock()
	form := url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.URL+"/token/revocation", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(Dashboard, url.QueryEscape(i.ClientSecret))
	resp, err := (&http.Client{Transport: i.transport}).Do(r)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("revocation: %s", resp.Status)
	}
	return nil
}

func (i *Issuer) proxy() http.Handler {
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(i.behind)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ModifyResponse: i.modify,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.Away.Load() {
			panic(http.ErrAbortHandler)
		}
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/accessToken") {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			form, _ := url.ParseQuery(string(body))
			if form.Has("refresh_token") {
				i.Renewals.Add(1)
			}
			i.note(form.Get("code"), form.Get("code_verifier"), form.Get("refresh_token"))
		}
		if strings.HasSuffix(r.URL.Path, "/revocation") {
			i.Revocations.Add(1)
		}
		i.mu.Lock()
		asked := i.asked
		i.mu.Unlock()
		if asked != nil {
			asked(r)
		}
		forward.ServeHTTP(w, r)
	})
}

func (i *Issuer) modify(r *http.Response) error {
	i.mu.Lock()
	answer := i.answer
	i.mu.Unlock()
	if !strings.Contains(r.Header.Get("Content-Type"), "json") {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var given struct {
		ID      string `json:"id_token"`
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	_ = json.Unmarshal(body, &given) // what is none holds none
	i.note(given.ID, given.Access, given.Refresh)
	if given.Refresh != "" {
		i.mu.Lock()
		i.last = given.Refresh
		i.mu.Unlock()
	}
	if answer != nil {
		body = answer(r.Request.URL.Path, body)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

func (i *Issuer) note(secrets ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range secrets {
		if s != "" {
			i.given = append(i.given, s)
		}
	}
}
