// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/auth/oauth"
	lru "github.com/hashicorp/golang-lru/v2/expirable"

	"github.com/letmepost/letmepost-operator/internal/outbound"
)

// dpopKey signs the proofs that go with each request of an account that was connected by OAuth: a token alone, without
// the key that it is bound to, is worth nothing (RFC 9449). Each account has its own (beginOAuth), which is stored
// with its tokens.
type dpopKey = atcrypto.PrivateKey

// useNonce is how a server asks for a proof with a nonce of its own in it.
const useNonce = "use_dpop_nonce"

// nonces are those that servers have asked for last, so that a request need not be made twice: a file would be sent
// twice then. They are no secret, and one that is missing or old costs no more than that.
type nonces struct {
	once sync.Once
	last *lru.LRU[string, string]
}

// servers are bounded, and forgotten after the three minutes for which the reference server takes a nonce. The number
// is bounded because a host may be anybody's.
func (n *nonces) servers() *lru.LRU[string, string] {
	n.once.Do(func() { n.last = lru.NewLRU[string, string](10_000, nil, 3*time.Minute) })
	return n.last
}

// maxNonce is longer than any that is known. It is sent along with each request. A server that names a longer one is
// answered without.
const maxNonce = 1024

// note what a server said with an answer, whatever else it said.
func (n *nonces) note(host string, h http.Header) {
	if nonce := h.Get("DPoP-Nonce"); nonce != "" && len(nonce) <= maxNonce {
		n.servers().Add(host, nonce)
	}
}

// prove gives a request the account's token, and the proof that it is sent by whoever the token was made for. A proof
// names the method, the address and the token's hash (RFC 9449, section 4.2), so it is good for this one request, and
// each try makes another.
func (s *service) prove(req *http.Request, c call) error {
	nonce, _ := s.nonces.servers().Get(c.host)
	// A session of indigo's only for its way to make the proof. It is gone afterwards, and renews nothing.
	by := &oauth.ClientSession{DPoPPrivateKey: c.key, Data: &oauth.ClientSessionData{
		AccessToken: c.token, DPoPHostNonce: nonce,
	}}
	proof, err := by.NewHostDPoP(req.Method, withoutQuery(req.URL))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "DPoP "+c.token)
	req.Header.Set("DPoP", proof)
	return nil
}

// withoutQuery is an address as a proof names it: without query and fragment (RFC 9449, section 4.2).
func withoutQuery(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

// wantsNonce reads the challenge of a server that holds an account (RFC 9449, section 9). An authorization server
// says the same in the body of a 400 (section 8), where post finds it.
func wantsNonce(h http.Header) bool {
	challenge := h.Get("WWW-Authenticate")
	return strings.HasPrefix(challenge, "DPoP ") && strings.Contains(challenge, `error="`+useNonce+`"`)
}

// form is a request to an authorization server. Its values are secrets for the most part: codes, verifiers, tokens.
type form struct {
	to     string // URL
	key    dpopKey
	nonce  string // "": none is known
	values url.Values
}

// post sends a form with its proof, and once more if the server wants another nonce, before which it has looked at
// nothing else. It returns the nonce for the next one. The error is a *serverError. Where a token is in the form, it
// is shown twice at most, and the second time only to a server that has refused to look at the first.
func (s *service) post(ctx context.Context, f form, out any) (nonce string, err error) {
	for range 2 {
		var h http.Header
		h, err = s.postOnce(ctx, f, out)
		if n := h.Get("DPoP-Nonce"); n != "" && len(n) <= maxNonce {
			f.nonce = n
		}
		if !named(err, useNonce) {
			break
		}
	}
	return f.nonce, err
}

// postOnce sends a form a single time. The header comes with an error, too, because a server that wants a nonce names
// it beside its refusal; it is nil if nothing was answered.
func (s *service) postOnce(ctx context.Context, f form, out any) (http.Header, error) {
	proof, err := oauth.NewAuthDPoP(http.MethodPost, f.to, f.nonce, f.key)
	if err != nil {
		return nil, &serverError{cause: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.to, strings.NewReader(f.values.Encode()))
	if err != nil {
		return nil, &serverError{cause: err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("DPoP", proof)
	h, err := s.ask(req, out)
	var r *serverError
	if errors.As(err, &r) {
		f.hide(r)
	}
	return h, err
}

// hide takes out of an error what it repeats of the request: people get to see it. What is shorter is what everybody
// may know, such as a grant_type.
func (f form) hide(r *serverError) {
	const shortest = 16 // of what is worth hiding
	for _, values := range f.values {
		if len(values[0]) >= shortest && strings.Contains(r.message, values[0]) {
			r.message, r.body = "", saidByServer(r.name, "")
		}
	}
}

// ask sends a request to an authorization server. The error is a *serverError. The header may come with an error;
// nil: nothing was answered.
func (s *service) ask(req *http.Request, out any) (http.Header, error) {
	ctx, connected := outbound.NoteConnection(req.Context())
	req = req.WithContext(ctx)
	resp, err := s.oauth.Do(req)
	if err != nil {
		return nil, &serverError{sent: connected.Load(), cause: err}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	// 201 is that of a pushed authorization request (RFC 9126, section 2.2).
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated:
		return resp.Header, s.authServerErrorOf(resp, answer)
	case err != nil:
		return resp.Header, &serverError{sent: true, cause: err}
	// Empty is no error: a revocation needs no answer (RFC 7009, section 2.2). Who needs one looks at out (noAnswer).
	case out == nil || len(bytes.TrimSpace(answer)) == 0:
		return resp.Header, nil
	}
	// What json says of a text that is none may repeat a piece of it, which may be one of a token.
	if json.Unmarshal(answer, out) != nil {
		return resp.Header, &serverError{sent: true, cause: errNotJSON}
	}
	return resp.Header, nil
}

// authServerErrorOf reads an answer of RFC 6749, section 5.2.
func (s *service) authServerErrorOf(resp *http.Response, answer []byte) *serverError {
	r := &serverError{status: resp.StatusCode, sent: true}
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(answer, &said) == nil && said.Error != "" {
		r.name, r.message = said.Error, strings.ToValidUTF8(said.Description, "�")
		r.body = saidByServer(said.Error, said.Description)
	}
	s.noteWait(r, resp.Header)
	return r
}

// saidByServer is what an authorization server has said of an error, and nothing else that it may have put there.
func saidByServer(code, description string) json.RawMessage {
	text, _ := json.Marshal(map[string]string{"error": code, "error_description": description}) // of strings
	return text
}
