// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/github"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/outbound"
)

// world is a GitHub of our own, what it calls, and what is reported.
type world struct {
	*testing.T
	*github.Receiver
	clock   *testclock.FakePassiveClock
	format  key.Format
	signers map[string]*ecdsa.PrivateKey // by id
	hidden  map[string]bool              // those that it does not publish
	broken  atomic.Bool                  // it does not answer
	fails   error                        // of reports
	audit   bytes.Buffer

	mu       sync.Mutex
	asked    int
	tags     []string // If-None-Match of what it was asked
	reported []string
}

// Report makes a world the leak room, which has tests of its own.
func (w *world) Report(_ context.Context, keys ...string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails == nil {
		w.reported = append(w.reported, keys...)
	}
	return w.fails
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		T: t, clock: testclock.NewFakePassiveClock(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)),
		signers: map[string]*ecdsa.PrivateKey{}, hidden: map[string]bool{},
	}
	server := httptest.NewServer(http.HandlerFunc(w.publish))
	t.Cleanup(server.Close)
	allowed, err := outbound.ParseException(strings.TrimPrefix(server.URL, "http://"))
	w.check(err)
	w.format, err = key.NewFormat(key.DefaultWord)
	w.check(err)
	w.Receiver, err = github.New(github.Options{
		Leaks: w, Format: w.format, KeysURL: server.URL, Client: outbound.NewGuard(allowed).Client(github.KeysBounds), Clock: w.clock,
		Audit: slog.New(slog.NewJSONHandler(&w.audit, nil)), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	w.check(err)
	w.signer("one")
	return w
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// publish is GitHub's list of keys.
func (w *world) publish(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	w.tags = append(w.tags, r.Header.Get("If-None-Match"))
	if w.broken.Load() {
		rw.WriteHeader(http.StatusInternalServerError)
		return
	}
	type one struct {
		ID  string `json:"key_identifier"`
		Key string `json:"key"`
	}
	list := []one{{"rsa", "no PEM"}}
	for id, signer := range w.signers {
		if w.hidden[id] {
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(&signer.PublicKey)
		if err != nil {
			w.Error(err)
		}
		list = append(list, one{id, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))})
	}
	slices.SortFunc(list, func(a, b one) int { return strings.Compare(a.ID, b.ID) })
	text, err := json.Marshal(map[string]any{"public_keys": list})
	if err != nil {
		w.Error(err)
	}
	sum := sha256.Sum256(text)
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	if r.Header.Get("If-None-Match") == tag {
		rw.WriteHeader(http.StatusNotModified)
		return
	}
	rw.Header().Set("Etag", tag)
	_, _ = rw.Write(text)
}

// signer makes a key of GitHub's.
func (w *world) signer(id string, curve ...elliptic.Curve) {
	w.Helper()
	signer, err := ecdsa.GenerateKey(append(curve, elliptic.P256())[0], rand.Reader)
	w.check(err)
	w.signers[id] = signer
}

func (w *world) key(environment key.Environment) string {
	w.Helper()
	k, err := w.format.Mint(rand.Reader, environment)
	w.check(err)
	return k
}

// signed is a call that GitHub makes.
func (w *world) signed(id string, body []byte) *http.Request {
	w.Helper()
	digest := sha256.Sum256(body)
	signature, err := ecdsa.SignASN1(rand.Reader, w.signers[id], digest[:])
	w.check(err)
	r := httptest.NewRequest(http.MethodPost, github.Path, bytes.NewReader(body))
	r.Header.Set("Github-Public-Key-Identifier", id)
	r.Header.Set("Github-Public-Key-Signature", base64.StdEncoding.EncodeToString(signature))
	return r
}

func (w *world) answer(r *http.Request) *httptest.ResponseRecorder {
	rw := httptest.NewRecorder()
	w.ServeHTTP(rw, r)
	return rw
}

// findings is a body with these tokens.
func (w *world) findings(tokens ...string) []byte {
	w.Helper()
	list := []map[string]string{}
	for _, token := range tokens {
		list = append(list, map[string]string{
			"token": token, "type": "letmepost_key", "source": "commit", "url": "https://github.com/acme/shop/blob/main/" + token,
		})
	}
	body, err := json.Marshal(list)
	w.check(err)
	return body
}

// status sees how a call is answered.
func (w *world) status(reason string, r *http.Request, want int) string {
	w.Helper()
	got := w.answer(r)
	if got.Code != want {
		w.Errorf("%s: %d %s, want %d", reason, got.Code, got.Body, want)
	}
	return got.Body.String()
}
