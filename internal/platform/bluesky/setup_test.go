// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/test/pds"
)

// server is the PDS of all tests that do not need one of their own. It starts when the first of them asks for it, so
// that those which need none run without it, and ends with this process, as an end of a pipe to it does.
var server = sync.OnceValues(func() (*pds.Server, error) { return pds.Start(context.Background(), pds.Options{}) })

// elsewhere is another server in the same network of identities, with accounts of its own.
var elsewhere = sync.OnceValues(func() (*pds.Server, error) {
	first, err := server()
	if err != nil {
		return nil, err
	}
	return pds.Start(context.Background(), pds.Options{PLCURL: first.PLCURL})
})

// world is what a test has: Bluesky as the program has it, and an account on a real server.
type world struct {
	platform.Platform
	server  *pds.Server
	account *pds.Account
}

// allow makes exceptions of the hosts of URLs.
func allow(t *testing.T, urls ...string) (allowed []outbound.Exception) {
	t.Helper()
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		e, err := outbound.ParseException(u.Host)
		if err != nil {
			t.Fatal(err)
		}
		allowed = append(allowed, e)
	}
	return allowed
}

func newWorld(t *testing.T, urls ...string) *world {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.NewAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &world{newPlatform(t, s, urls...), s, a}
}

func newPlatform(t *testing.T, s *pds.Server, urls ...string) platform.Platform {
	t.Helper()
	return bluesky.New(bluesky.Config{
		Guard:  outbound.NewGuard(allow(t, append(urls, s.URL, s.PLCURL)...)...),
		PLCURL: s.PLCURL, Clock: clock.RealClock{}, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	})
}

// complete connects with credentials, where "pdsUrl" is the server's unless it is given.
func (w *world) complete(
	t *testing.T, identifier, password string, more ...string,
) (platform.Connection, *platform.Failure) {
	t.Helper()
	given := map[string]string{"identifier": identifier, "appPassword": password, "pdsUrl": w.server.URL}
	for i := 0; i+1 < len(more); i += 2 {
		given[more[i]] = more[i+1]
	}
	c, err := w.Connector.Complete(t.Context(), platform.ConnectionAnswer{Credentials: given})
	return c, failureOf(t, err)
}

// failureOf is an error that must be a Failure, if there is one.
func failureOf(t *testing.T, err error) *platform.Failure {
	t.Helper()
	var f *platform.Failure
	if err != nil && !errors.As(err, &f) {
		t.Fatalf("the error is no failure: %v", err)
	}
	return f
}

// connect connects the account, and returns its credentials.
func (w *world) connect(t *testing.T) *credentials {
	t.Helper()
	c, f := w.complete(t, w.account.Handle, w.account.AppPassword)
	if f != nil {
		t.Fatal(f)
	}
	return &credentials{of: w.to(), secrets: c.Secrets, refresher: w.Refresher}
}

func (w *world) to() platform.Account {
	return platform.Account{ID: "account", Platform: bluesky.Name, PlatformAccountID: w.account.DID}
}

// credentials keep an account's secrets, as the program does.
type credentials struct {
	of        platform.Account
	refresher platform.Refresher

	mu      sync.Mutex
	secrets platform.Secrets
	renewed int
}

func (c *credentials) Get(context.Context) (platform.Secrets, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.secrets, nil
}

func (c *credentials) Renew(ctx context.Context, _ platform.Secrets) (platform.Secrets, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.refresher.Refresh(ctx, c.of, c.secrets)
	if err != nil {
		return nil, err
	}
	c.renewed++
	c.secrets = r.Secrets
	return c.secrets, nil
}

// with changes one of the secrets.
func (c *credentials) with(name, value string) *credentials {
	changed := platform.Secrets{}
	for n, v := range c.secrets {
		changed[n] = v
	}
	changed[name] = value
	return &credentials{of: c.of, refresher: c.refresher, secrets: changed}
}

// publication is a new post.
func (w *world) publication(by *credentials, c platform.Content) platform.Publication {
	return platform.Publication{
		PostID: uuid.Must(uuid.NewV7()).String(), To: w.to(), Content: c, Credentials: by, FirstSentAt: time.Now(),
	}
}

// publish publishes a post that must go out.
func (w *world) publish(t *testing.T, c platform.Content) platform.Receipt {
	t.Helper()
	return published(t, w.send(t, w.publication(w.connect(t), c)))
}

func (w *world) send(t *testing.T, p platform.Publication) platform.Outcome {
	t.Helper()
	if f := w.Publisher.Preflight(p.Content); f != nil {
		t.Fatal(f)
	}
	o, err := w.Publisher.Publish(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func published(t *testing.T, o platform.Outcome) platform.Receipt {
	t.Helper()
	p, ok := o.(platform.Published)
	if !ok {
		t.Fatalf("the outcome is %T: %+v", o, o)
	}
	return p.Receipt
}

// post is a record, as a server gives it back.
type post struct {
	Text      string
	CreatedAt string
	Facets    []struct {
		Index    struct{ ByteStart, ByteEnd int }
		Features []map[string]string
	}
	Reply *struct{ Root, Parent struct{ URI, CID string } }
	Embed *struct {
		Type   string `json:"$type"`
		Images []struct {
			Image struct {
				MimeType string
				Size     int
				Ref      map[string]string
			}
			Alt         string
			AspectRatio *struct{ Width, Height int }
		}
		External *struct {
			URI, Title, Description string
			Thumb                   *struct {
				MimeType string
				Size     int
				Ref      map[string]string
			}
		}
		Video  *struct{ MimeType string }
		Record *struct{ URI, CID string }
	}
	Langs []string
}

// posts are the account's, the newest first.
func (w *world) posts(t *testing.T) (posts []post) {
	t.Helper()
	records, err := w.account.Posts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		var p post
		if err := json.Unmarshal(r.Value, &p); err != nil {
			t.Fatal(err)
		}
		posts = append(posts, p)
	}
	return posts
}

// only is the account's only post.
func (w *world) only(t *testing.T) post {
	t.Helper()
	posts := w.posts(t)
	if len(posts) != 1 {
		t.Fatalf("there are %d posts", len(posts))
	}
	return posts[0]
}

func contains(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s is %q, without %q", what, text, part)
	}
}
