// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
)

// played is a platform as the sandbox plays it.
type played struct{ platform.Platform }

func newSandbox(name platform.Name) (played, *clocktesting.FakeClock) {
	n := 0
	clock := clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	list := sandbox.OfAll(catalog.All, func() string { n++; return fmt.Sprint(n) }, clock)
	p, _ := list.Get(name)
	return played{p}, clock
}

// publish publishes, and returns the failure of an outcome that is one as an error.
func (p played) publish(ctx context.Context, c platform.Content) (platform.Receipt, error) {
	outcome, err := p.Publisher.Publish(ctx, platform.Publication{Content: c})
	switch o := outcome.(type) {
	case platform.Published:
		return o.Receipt, err
	case platform.Rejected:
		return platform.Receipt{}, &o.Failure
	case platform.NotTaken:
		return platform.Receipt{}, &o.Failure
	case platform.OutcomeUnknown:
		return platform.Receipt{}, &o.Failure
	}
	return platform.Receipt{}, err
}

// connect completes a connection.
func (p played) connect(t *testing.T, credentials map[string]string) (platform.Connection, error) {
	t.Helper()
	return p.Connector.Complete(t.Context(), platform.ConnectionAnswer{Credentials: credentials})
}

func TestPublish(t *testing.T) {
	for _, p := range catalog.All {
		name := p.Name
		t.Run(string(name), func(t *testing.T) {
			s, _ := newSandbox(name)
			r, err := s.publish(t.Context(), platform.Content{Text: "Hello", FirstComment: "First"})
			if err != nil {
				t.Fatal(err)
			}
			id := regexp.MustCompile(`^sandbox_[0-9a-f]{32}$`)
			for uri, cid := range map[string]string{r.URI: r.CID, r.FirstCommentURI: r.FirstCommentCID} {
				if !id.MatchString(cid) || uri != "https://sandbox.letmepost.dev/"+string(name)+"/"+cid {
					t.Errorf("URI %q, CID %q", uri, cid)
				}
			}
			if r.CID == r.FirstCommentCID {
				t.Error("the post and its first comment have one id")
			}
			if len(r.Warnings) != 1 || r.Warnings[0].Code != "sandbox.no_platform_write" || r.Warnings[0].Message == "" {
				t.Errorf("warnings are %+v", r.Warnings)
			}
			r, err = s.publish(t.Context(), platform.Content{Text: "Hello"})
			if err != nil || r.FirstCommentURI != "" || r.FirstCommentCID != "" {
				t.Errorf("without a first comment: %+v, %v", r, err)
			}
		})
	}
}

func TestMagic(t *testing.T) {
	codes := map[string]string{
		"sandbox:auth_failed":      platform.CodeAuthFailed,
		"sandbox:rejected":         platform.CodeRejected,
		"sandbox:unavailable":      platform.CodeUnavailable,
		"sandbox:rate_limited":     platform.CodeRateLimited,
		"sandbox:internal_error":   platform.CodeInternalError,
		"sandbox:preflight_failed": platform.CodePreflightFailed,
		"sandbox:timeout":          platform.CodeUnavailable,
		"sandbox:outcome_unknown":  platform.CodeInternalError,
		"sandbox:slow":             "",
	}
	s, _ := newSandbox(bluesky.Name)
	for _, m := range sandbox.Magic {
		want, ok := codes[m.Text]
		delete(codes, m.Text)
		if !ok || m.Code != want || m.Means == "" {
			t.Errorf("%s has code %q, want %q (%v)", m.Text, m.Code, want, ok)
		}
		if m.Code == "" {
			continue
		}
		c := platform.Content{Text: "Now " + m.Text + "!"}
		f := s.Publisher.Preflight(c)
		if refused := m.Code == platform.CodePreflightFailed; refused != (f != nil) {
			t.Errorf("%s: preflight says %v", m.Text, f)
		}
		if f == nil {
			_, err := s.publish(t.Context(), c)
			if !errors.As(err, &f) {
				t.Errorf("%s: error is %v, want a Failure", m.Text, err)
				continue
			}
		}
		if f.Code != m.Code || f.Message == "" || f.Remediation == "" {
			t.Errorf("%s: failure is %+v", m.Text, f)
		}
		saidSomething := m.Code == platform.CodeAuthFailed || m.Code == platform.CodeRejected
		if saidSomething != json.Valid(f.PlatformResponse) {
			t.Errorf("%s: the platform said %q", m.Text, f.PlatformResponse)
		}
	}
	if len(codes) > 0 {
		t.Errorf("missing: %v", codes)
	}
}

func TestPreflightChecksTheRealLimits(t *testing.T) {
	s, _ := newSandbox(bluesky.Name)
	if f := s.Publisher.Preflight(platform.Content{Text: strings.Repeat("a", 301)}); f == nil || f.Rule != "bluesky.text.max_graphemes" {
		t.Errorf("failure is %+v", f)
	}
}

func TestSlow(t *testing.T) {
	s, clock := newSandbox(bluesky.Name)
	published := make(chan error, 1)
	publishSlowly := func(ctx context.Context) {
		_, err := s.publish(ctx, platform.Content{Text: "sandbox:slow"})
		published <- err
	}
	go publishSlowly(t.Context())
	awaitTimer(t, clock)
	clock.Step(3*time.Second - 1)
	select {
	case err := <-published:
		t.Errorf("it took less than 3 s: %v", err)
	default:
	}
	clock.Step(1)
	if err := <-published; err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go publishSlowly(ctx)
	awaitTimer(t, clock)
	cancel()
	if err := <-published; !errors.Is(err, context.Canceled) {
		t.Errorf("it did not heed the context: %v", err)
	}
}

func awaitTimer(t *testing.T, clock *clocktesting.FakeClock) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !clock.HasWaiters(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody waits")
		}
	}
}

// TestVanishedMedium: what is published in the sandbox would be so on the platform.
func TestVanishedMedium(t *testing.T) {
	s, _ := newSandbox(bluesky.Name)
	gone := errors.New("gone")
	_, err := s.publish(t.Context(), platform.Content{Media: []platform.Media{{
		ID: "m", Open: func(context.Context) (io.ReadCloser, error) { return nil, gone },
	}}})
	if !errors.Is(err, gone) {
		t.Errorf("error is %v", err)
	}
}

func TestDescribe(t *testing.T) {
	want := map[platform.Name][]string{
		bluesky.Name:  {"identifier text true", "appPassword password true", "pdsUrl url false"},
		linkedin.Name: {"identifier text true"},
	}
	for _, p := range catalog.All {
		name := p.Name
		s, _ := newSandbox(name)
		begun, err := s.Connector.Begin(t.Context(), platform.ConnectionRequest{})
		if err != nil || begun.State != platform.ConnectionStable || begun.AuthorizationURL != nil || begun.Resume != nil {
			t.Errorf("%s: %+v, error %v", name, begun, err)
		}
		d := begun.Descriptor
		var got []string
		for _, f := range d.Fields {
			got = append(got, fmt.Sprint(f.Name, " ", f.Type, " ", f.Required))
		}
		if diff := cmp.Diff(want[name], got); diff != "" || d.Kind != "credentials" {
			t.Errorf("%s: kind %s, fields (-want +got)\n%s", name, d.Kind, diff)
		}
	}
}

func TestConnect(t *testing.T) {
	for _, tc := range []struct {
		reason      string
		platform    platform.Name
		credentials map[string]string
		rule        string // "": it is connected
	}{
		{"any credentials do", "bluesky", map[string]string{"identifier": "alice.test", "appPassword": "hunter2"}, ""},
		{"the PDS is optional", "bluesky", map[string]string{"identifier": "alice.test", "appPassword": "x", "pdsUrl": "http://pds"}, ""},
		{"no identifier", "bluesky", map[string]string{"appPassword": "hunter2"}, "identifier"},
		{"a blank one", "linkedin", map[string]string{"identifier": " "}, "identifier"},
		{"no password", "bluesky", map[string]string{"identifier": "alice.test"}, "appPassword"},
		{"LinkedIn's sandbox wants none", "linkedin", map[string]string{"identifier": "alice"}, ""},
		{"253 bytes", "linkedin", map[string]string{"identifier": strings.Repeat("a", 253)}, ""},
		{"254 bytes", "linkedin", map[string]string{"identifier": strings.Repeat("a", 254)}, "identifier"},
		{"a control character", "linkedin", map[string]string{"identifier": "a\x1b[2J"}, "identifier"},
		{"one that turns the writing round", "linkedin", map[string]string{"identifier": "a\u202eb"}, "identifier"},
		{"no UTF-8", "linkedin", map[string]string{"identifier": "a\xff"}, "identifier"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s, _ := newSandbox(tc.platform)
			c, err := s.connect(t, tc.credentials)
			if tc.rule == "" {
				if err != nil || c.DisplayName != tc.credentials["identifier"] || !strings.HasPrefix(c.PlatformAccountID, "did:sandbox:") {
					t.Errorf("connection is %+v, error %v", c, err)
				}
				return
			}
			var f *platform.Failure
			if !errors.As(err, &f) || f.Code != "validation_failed" || f.Rule != tc.rule || f.Message == "" {
				t.Errorf("error is %+v, want validation_failed of %s", err, tc.rule)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Error("the error tells the password")
			}
		})
	}
}

func TestSameIdentifierSameAccount(t *testing.T) {
	account := func(name platform.Name, identifier, password string) string {
		s, _ := newSandbox(name)
		c, err := s.connect(t, map[string]string{"identifier": identifier, "appPassword": password})
		if err != nil {
			t.Fatal(err)
		}
		return c.PlatformAccountID
	}
	alice := account("bluesky", "alice", "1")
	if alice != account("bluesky", " alice ", "2") {
		t.Error("one identifier gave two accounts")
	}
	if alice == account("bluesky", "bob", "1") || alice == account("linkedin", "alice", "1") {
		t.Error("two identifiers gave one account")
	}
}

// TestOutcomesAreWhatTheyMean: what says that nobody knows is not said to be safe to try again, and the other way
// round.
func TestOutcomesAreWhatTheyMean(t *testing.T) {
	want := map[string]platform.Outcome{
		"sandbox:auth_failed":     platform.Rejected{},
		"sandbox:rejected":        platform.Rejected{},
		"sandbox:unavailable":     platform.NotTaken{},
		"sandbox:rate_limited":    platform.NotTaken{},
		"sandbox:internal_error":  platform.NotTaken{},
		"sandbox:timeout":         platform.OutcomeUnknown{},
		"sandbox:outcome_unknown": platform.OutcomeUnknown{},
		"nothing magic":           platform.Published{},
	}
	s, _ := newSandbox(linkedin.Name)
	for text, want := range want {
		p := platform.Publication{Content: platform.Content{Text: text}}
		if got, err := s.Publisher.Publish(t.Context(), p); err != nil || fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
			t.Errorf("%s: %T, error %v; want %T", text, got, err, want)
		}
	}
}
