// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package github

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/letmepost/letmepost-operator/internal/outbound"
)

// DefaultKeysURL is where GitHub publishes the keys by which it signs.
const DefaultKeysURL = "https://api.github.com/meta/public_keys/secret_scanning"

const (
	// fetchEvery bounds how often GitHub is asked, whatever comes in: it takes 60 requests an hour from one address.
	fetchEvery = time.Minute
	// freshFor is how long keys are gone by before they are asked for anew, so that one that is withdrawn goes here, too.
	freshFor = time.Hour
	// staleFor is how long they are gone by while GitHub does not answer.
	staleFor = 24 * time.Hour
	// maxKeys is more than GitHub has at once.
	maxKeys = 64
)

// KeysBounds are what it may take to fetch them.
var KeysBounds = outbound.Bounds{Time: 10 * time.Second, Bytes: 256 << 10}

var (
	// errForged says that something is not signed by GitHub.
	errForged = errors.New("it is not signed by a key of GitHub's")
	// errNoKeys says that GitHub's keys are not known.
	errNoKeys = errors.New("GitHub's keys are not known at the moment")
)

// keys are GitHub's, as it has last published them. They are held in memory alone, and each process fetches its own.
// The zero keys, with url and client, knows none yet.
type keys struct {
	url    string
	client *http.Client

	mu        sync.Mutex // held while they are fetched: whoever comes meanwhile needs them as well
	byID      map[string]*ecdsa.PublicKey
	etag      string
	fetchedAt time.Time // when they were; zero: never
	askedAt   time.Time // when GitHub was asked, whatever it has said
}

// of returns the key with this id. The error is errForged if there is no such key, or errNoKeys with why. An id that is
// not known is asked for once a minute at most, whoever makes ids up. If GitHub has answered at the last try, such an
// id is forged, or so new that the next try finds it; if it has not answered, it may be one that GitHub has begun to
// sign with, and the error is errNoKeys.
func (k *keys) of(ctx context.Context, id string, now time.Time) (*ecdsa.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := k.byID[id]
	var failed error
	if age := now.Sub(k.fetchedAt); (known == nil || age >= freshFor) && now.Sub(k.askedAt) >= fetchEvery {
		k.askedAt = now
		// Whoever calls and hangs up must not have it fail for all others.
		if failed = k.fetch(context.WithoutCancel(ctx), now); failed == nil {
			known = k.byID[id]
		}
	}
	switch {
	case k.fetchedAt.IsZero() || now.Sub(k.fetchedAt) >= staleFor:
		return nil, errors.Join(errNoKeys, failed)
	case known != nil:
		return known, nil
	case k.askedAt.After(k.fetchedAt): // GitHub has not answered since, and it may be a new one
		return nil, errors.Join(errNoKeys, failed)
	}
	return nil, errForged
}

// published is GitHub's answer.
type published struct {
	Keys []struct {
		ID  string `json:"key_identifier"`
		Key string `json:"key"` // PEM
	} `json:"public_keys"`
}

// fetch asks GitHub. What it has said before counts until it says something else that can be read. An answer that can't
// be read, or has no key that could have signed, changes nothing: what is known goes on to count until it is stale. It
// is called with mu held.
func (k *keys) fetch(ctx context.Context, now time.Time) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	if k.etag != "" { // an answer that says "as before" is not counted against GitHub's limit
		r.Header.Set("If-None-Match", k.etag)
	}
	response, err := k.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusNotModified:
		k.fetchedAt = now
		return nil
	case http.StatusOK:
	default:
		return fmt.Errorf("%s answers %s", k.url, response.Status)
	}
	var said published
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
		return fmt.Errorf("%s: %w", k.url, err)
	}
	byID := map[string]*ecdsa.PublicKey{}
	for _, one := range said.Keys[:min(maxKeys, len(said.Keys))] {
		if key := parseKey(one.Key); key != nil { // one of another kind is none of those that sign what comes here
			byID[one.ID] = key
		}
	}
	if len(byID) == 0 {
		return fmt.Errorf("%s has no key of ECDSA with P-256", k.url)
	}
	k.byID, k.etag, k.fetchedAt = byID, response.Header.Get("Etag"), now
	return nil
}

// parseKey reads a key in PEM; nil: it is none of ECDSA with P-256. The curve is checked, too: GitHub signs by no
// other, and ecdsa.VerifyASN1 would verify by any.
func parseKey(text string) *ecdsa.PublicKey {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil
	}
	return key
}
