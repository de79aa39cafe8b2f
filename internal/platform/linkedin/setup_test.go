// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
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
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
	played "github.com/letmepost/letmepost-operator/test/linkedin"
)

// newPlatform makes LinkedIn as the program has it.
func newPlatform(t *testing.T, change func(*linkedin.Config)) platform.Platform {
	t.Helper()
	loopback, err := outbound.ParseException("127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	c := linkedin.Config{
		ClientID: "id", ClientSecret: "secret", Guard: outbound.NewGuard(loopback), Clock: clock.RealClock{},
		Logger: slog.New(slog.DiscardHandler), Processing: 2 * time.Second,
	}
	change(&c)
	p, err := linkedin.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	member = "Abc-12_3"
	token  = "token-of-the-member"
)

// world is a LinkedIn that is played, and an account of it.
type world struct {
	platform.Platform
	server *played.Server
}

func newWorld(t *testing.T, changes ...func(*linkedin.Config)) *world {
	t.Helper()
	s := played.New(t)
	s.Grant(token, member)
	return &world{newPlatform(t, func(c *linkedin.Config) {
		c.APIURL = s.URL
		for _, change := range changes {
			change(c)
		}
	}), s}
}

// credentials are an account's secrets, and what they are renewed to.
type credentials struct {
	mu      sync.Mutex
	secrets platform.Secrets
	next    platform.Secrets
	err     error
	renewed int
}

func (c *credentials) Get(context.Context) (platform.Secrets, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.secrets, nil
}

func (c *credentials) Renew(context.Context, platform.Secrets) (platform.Secrets, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewed++
	if c.err != nil {
		return nil, c.err
	}
	c.secrets = c.next
	return c.secrets, nil
}

func publication(c platform.Content) platform.Publication {
	return platform.Publication{
		PostID:      uuid.Must(uuid.NewV7()).String(),
		To:          platform.Account{ID: "account", Platform: linkedin.Name, PlatformAccountID: "urn:li:person:" + member},
		Content:     c,
		FirstSentAt: time.Now(),
		Credentials: &credentials{secrets: platform.Secrets{platform.SecretAccessToken: token}},
		Remember:    func(context.Context, []byte) error { return nil },
	}
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

func (w *world) ask(t *testing.T, p platform.Publication, token []byte) platform.Outcome {
	t.Helper()
	o, err := w.Asker.Ask(t.Context(), p, token)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// as is an outcome that must be of a kind.
func as[T platform.Outcome](t *testing.T, o platform.Outcome) T {
	t.Helper()
	is, ok := o.(T)
	if !ok {
		t.Fatalf("the outcome is %T: %+v", o, o)
	}
	return is
}

// only is the only post there is.
func (w *world) only(t *testing.T) played.Post {
	t.Helper()
	posts := w.server.Posts()
	if len(posts) != 1 {
		t.Fatalf("there are %d posts: %+v", len(posts), posts)
	}
	return posts[0]
}

// failureOf is an error that must be a Failure.
func failureOf(t *testing.T, err error) *platform.Failure {
	t.Helper()
	var f *platform.Failure
	if !errors.As(err, &f) {
		t.Fatalf("the error is no failure: %v", err)
	}
	return f
}

func images(alts ...string) (media []platform.Media) {
	for _, alt := range alts {
		data := []byte("bytes of " + alt)
		media = append(media, platform.Media{
			Kind: platform.Image, AltText: alt, ID: alt, ContentType: "image/png", SizeBytes: int64(len(data)),
			Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		})
	}
	return media
}

func mustParse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func contains(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s is %q, without %q", what, text, part)
	}
}
