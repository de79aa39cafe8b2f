// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pds runs a real server of the AT Protocol for tests of Bluesky: the reference implementation from npm, with a
// directory of identities of its own, on loopback. hack/pds/build.sh installs it.
package pds

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/letmepost/letmepost-operator/test/nodejs"
)

// Server is a PDS that runs.
type Server struct {
	*nodejs.Process `json:"-"`

	URL    string `json:"url"`    // of the PDS
	PLCURL string `json:"plcUrl"` // of the directory

	AdminPassword string `json:"adminPassword"`
	JWTSecret     string `json:"jwtSecret"`
}

// Options say what is to be found again after a server was killed. The zero value is a server of its own.
type Options struct {
	PLCURL string // a directory that runs already
	Port   string
	Data   string // folder
	Newest bool   // release of the server, for what has changed since the one that most tests know
	// Local is a name that stands for this machine to the server, and CAFile the authority that vouches for who answers
	// there: it reaches a client on loopback by https then, as it reaches those of others.
	Local, CAFile string
}

// localName has node find a name at this machine. A server's own resolver is nobody's business but its own.
const localName = `import dns from 'node:dns'
const lookup = dns.lookup, name = process.env.LMP_LOCAL
dns.lookup = (host, ...rest) => lookup(host === name ? '127.0.0.1' : host, ...rest)`

// Start starts a server, and returns when it answers.
func Start(ctx context.Context, o Options) (*Server, error) {
	name := "pds"
	if o.Newest {
		name = "pds-newest"
	}
	variables := []string{
		"LOG_ENABLED=false", "NODE_ENV=test", "PDS_PLC_URL=" + o.PLCURL, "PDS_PORT=" + o.Port, "PDS_DATA=" + o.Data,
	}
	if o.Local != "" {
		variables = append(variables, "LMP_LOCAL="+o.Local, "NODE_EXTRA_CA_CERTS="+o.CAFile,
			"NODE_OPTIONS=--import=data:text/javascript;base64,"+base64.StdEncoding.EncodeToString([]byte(localName)))
	}
	s := new(Server)
	var err error
	s.Process, err = nodejs.Start(ctx, name, variables, s, func() bool { return s.URL != "" })
	return s, err
}

// Account is one of the server's.
type Account struct {
	Handle, DID, Password, AppPassword string

	server *Server
	token  string // of a session with the account's own password
}

var accounts atomic.Int64

// NewAccount makes an account with an app password.
func (s *Server) NewAccount(ctx context.Context) (*Account, error) {
	n := accounts.Add(1)
	a := &Account{Handle: fmt.Sprintf("user%d.test", n), Password: fmt.Sprintf("main-password-%d", n), server: s}
	var session struct{ DID, AccessJWT string }
	err := s.Call(ctx, "com.atproto.server.createAccount", "", map[string]any{
		"email": fmt.Sprintf("user%d@example.com", n), "handle": a.Handle, "password": a.Password,
	}, &session)
	if err != nil {
		return nil, err
	}
	a.DID, a.token = session.DID, session.AccessJWT
	a.AppPassword, err = a.NewAppPassword(ctx, "first")
	return a, err
}

// NewAppPassword makes another app password.
func (a *Account) NewAppPassword(ctx context.Context, name string) (string, error) {
	var made struct{ Password string }
	err := a.Call(ctx, "com.atproto.server.createAppPassword", map[string]any{"name": name}, &made)
	return made.Password, err
}

// Call calls a method as the account's owner.
func (a *Account) Call(ctx context.Context, method string, in, out any) error {
	return a.server.Call(ctx, method, "Bearer "+a.token, in, out)
}

// TakeDown has the server's administrator take an account down.
func (a *Account) TakeDown(ctx context.Context) error {
	admin := "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+a.server.AdminPassword))
	return a.server.Call(ctx, "com.atproto.admin.updateSubjectStatus", admin, map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": a.DID},
		"takedown": map[string]any{"applied": true},
	}, nil)
}

// Record is a record of a repository.
type Record struct {
	URI, CID string
	Value    json.RawMessage
}

// Posts returns the account's posts, the newest first.
func (a *Account) Posts(ctx context.Context) ([]Record, error) {
	var list struct{ Records []Record }
	err := a.server.Get(ctx, "com.atproto.repo.listRecords",
		url.Values{"repo": {a.DID}, "collection": {"app.bsky.feed.post"}, "limit": {"100"}}, &list)
	return list.Records, err
}

// ExpiredToken makes a token of the server's that has expired: signed with the secret that the server has in tests.
// scope is com.atproto.appPass of an access token, and com.atproto.refresh of a refresh token.
func (a *Account) ExpiredToken(scope, typ string) string {
	encode := func(v any) string {
		text, _ := json.Marshal(v) // of strings and numbers
		return base64.RawURLEncoding.EncodeToString(text)
	}
	audience := "did:web:localhost"
	signed := encode(map[string]any{"alg": "HS256", "typ": typ}) + "." + encode(map[string]any{
		"scope": scope, "sub": a.DID, "aud": audience, "jti": "expired",
		"iat": time.Now().Add(-3 * time.Hour).Unix(), "exp": time.Now().Add(-time.Hour).Unix(),
	})
	return a.server.sign(signed)
}

func (s *Server) sign(text string) string {
	mac := hmac.New(sha256.New, []byte(s.JWTSecret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Get calls a query.
func (s *Server) Get(ctx context.Context, method string, params url.Values, out any) error {
	return s.do(ctx, http.MethodGet, method+"?"+params.Encode(), "", nil, out)
}

// Call calls a procedure.
func (s *Server) Call(ctx context.Context, method, authorization string, in, out any) error {
	return s.do(ctx, http.MethodPost, method, authorization, in, out)
}

func (s *Server) do(ctx context.Context, verb, path, authorization string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, verb, s.URL+"/xrpc/"+path, &body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", strings.SplitN(path, "?", 2)[0], resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
