// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/letmepost/letmepost-operator/test/pds"
)

// badServer is a server of an account, and its authorization server, that does what the specification says but for
// some paths. It lets anybody in.
type badServer struct {
	*httptest.Server
	did string

	mu    sync.Mutex
	says  map[string]http.HandlerFunc
	asked map[string][]url.Values // by path
	nonce []string                // of proofs to the token endpoint, "" without one
}

// newBadServer also makes the world in which an account of no other server is on it.
func newBadServer(t *testing.T, more ...string) (*badServer, *world) {
	t.Helper()
	s := &badServer{did: "did:plc:abcdefghijklmnopqrstuvwx", says: map[string]http.HandlerFunc{}, asked: map[string][]url.Values{}}
	s.Server = standIn(t, s.serve)
	a := &pds.Account{DID: s.did, Handle: "somebody.test"}
	told := pds.Server{URL: s.URL}
	told.PLCURL = movedTo(t, &world{account: a}, s.URL)
	return s, &world{newPlatform(t, &told, more...), &told, a}
}

func (s *badServer) serve(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	s.mu.Lock()
	s.asked[r.URL.Path] = append(s.asked[r.URL.Path], r.PostForm)
	if r.URL.Path == token {
		s.nonce = append(s.nonce, nonceOf(r.Header.Get("DPoP")))
	}
	special := s.says[r.URL.Path]
	s.mu.Unlock()
	if special != nil {
		special(w, r)
		return
	}
	switch r.URL.Path {
	case resource:
		answer(w, map[string]any{"authorization_servers": []string{s.URL}})
	case metadata:
		answer(w, s.metadata())
	case par:
		answer(w, map[string]any{"request_uri": "urn:a", "expires_in": 300})
	case token:
		answer(w, s.tokens())
	case revoke:
	default:
		http.NotFound(w, r)
	}
}

func (s *badServer) metadata(changes ...any) map[string]any {
	return changed(map[string]any{
		"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + token,
		"pushed_authorization_request_endpoint": s.URL + par, "revocation_endpoint": s.URL + revoke,
		"response_types_supported": []string{"code"}, "grant_types_supported": []string{"authorization_code", "refresh_token"},
		"code_challenge_methods_supported":                 []string{"S256"},
		"token_endpoint_auth_methods_supported":            []string{"none", "private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported": []string{"ES256"}, "scopes_supported": []string{"atproto"},
		"authorization_response_iss_parameter_supported": true, "require_pushed_authorization_requests": true,
		"dpop_signing_alg_values_supported": []string{"ES256"}, "client_id_metadata_document_supported": true,
	}, changes)
}

func (s *badServer) tokens(changes ...any) map[string]any {
	return changed(map[string]any{
		"access_token": "an-access-token", "refresh_token": "a-refresh-token", "token_type": "DPoP", "expires_in": 3600,
		"scope": "atproto repo:app.bsky.feed.post", "sub": s.did,
	}, changes)
}

func changed(m map[string]any, changes []any) map[string]any {
	for i := 0; i+1 < len(changes); i += 2 {
		m[changes[i].(string)] = changes[i+1]
	}
	return m
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func answers(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answer(w, v) }
}

// refuses answers as RFC 6749, section 5.2, has it.
func refuses(status int, code, description string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("DPoP-Nonce", "another")
		w.WriteHeader(status)
		answer(w, map[string]any{"error": code, "error_description": description})
	}
}

// hangs answers when nobody waits for it any more.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func nonceOf(proof string) string {
	parts := strings.Split(proof, ".")
	if len(parts) != 3 {
		return "no proof"
	}
	var claims struct{ Nonce string }
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	_ = json.Unmarshal(text, &claims)
	return claims.Nonce
}

// say changes what is answered at a path.
func (s *badServer) say(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says[path] = h
}

func (s *badServer) askedFor(path string) []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}
