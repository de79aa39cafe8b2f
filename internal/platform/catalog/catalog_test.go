// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
)

// TestEachIsComplete: a platform has all that is needed to talk of it, and seals what people type in as a password.
func TestEachIsComplete(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9]*$`)
	seen := map[platform.Name]bool{}
	for _, p := range catalog.All {
		if !name.MatchString(string(p.Name)) || p.Title == "" || seen[p.Name] {
			t.Errorf("name %q, title %q, twice %v", p.Name, p.Title, seen[p.Name])
		}
		seen[p.Name] = true
		l := p.Limits
		if l.TextGraphemes <= 0 || l.FirstCommentGraphemes <= 0 || l.AltTextGraphemes <= 0 {
			t.Errorf("%s takes no text: %+v", p.Name, l)
		}
		if (l.Images > 0) != (len(l.ImageTypes) > 0 && l.ImageBytes > 0) || (l.Videos > 0) != (len(l.VideoTypes) > 0 && l.VideoBytes > 0) {
			t.Errorf("%s takes media of no type or size: %+v", p.Name, l)
		}
		if len(p.Secrets) == 0 {
			t.Errorf("%s keeps nothing to open an account by", p.Name)
		}
		for _, f := range p.Fields {
			sealed := slices.Contains(p.Secrets, platform.SecretShape{Name: f.Name})
			if f.Type == platform.TypePassword && !sealed {
				t.Errorf("%s: the password %s is not sealed", p.Name, f.Name)
			}
		}
	}
}

// TestAThirdPlatform is seen through all that is made of the list: a folder and a line are enough.
func TestAThirdPlatform(t *testing.T) {
	list := append(slices.Clone(catalog.All), platform.Platform{
		Name: "myspace", Title: "Myspace",
		Limits: platform.Limits{TextGraphemes: 5},
		Fields: []platform.Field{
			{Name: "identifier", Label: "Handle", Type: platform.TypeText, Required: true, HelpText: "Yours."},
			{Name: "key", Label: "API key", Type: platform.TypePassword, Required: true, HelpText: "A real one."},
		},
		Secrets: []platform.SecretShape{{Name: "key"}},
	})
	if diff := cmp.Diff([]string{"bluesky", "linkedin", "myspace"}, list.Names()); diff != "" {
		t.Errorf("values of enums and filters (-want +got):\n%s", diff)
	}
	if got := list.Sentence(); got != "The platforms are bluesky, linkedin and myspace." {
		t.Errorf("sentence is %q", got)
	}
	if _, ok := catalog.All.Get("myspace"); ok {
		t.Error("the catalog itself has changed")
	}

	p, ok := sandbox.OfAll(list, func() string { return "1" }, clock.RealClock{}).Get("myspace")
	if !ok || p.Connector == nil || p.Publisher == nil || p.Title != "Myspace" {
		t.Fatalf("the sandbox plays %+v", p)
	}
	begun, err := p.Connector.Begin(t.Context(), platform.ConnectionRequest{})
	if err != nil || !strings.Contains(begun.Descriptor.HelpText, "the sandbox of Myspace") {
		t.Errorf("begun %+v, error %v", begun, err)
	}
	var asked []string
	for _, f := range begun.Descriptor.Fields {
		asked = append(asked, f.Name+" "+f.Type+" "+f.HelpText)
	}
	if diff := cmp.Diff([]string{"identifier text ", "key password Anything: it is thrown away."}, asked); diff != "" {
		t.Errorf("what is asked for (-want +got):\n%s", diff)
	}
	answer := platform.ConnectionAnswer{Credentials: map[string]string{"identifier": "alice", "key": "x"}}
	if c, err := p.Connector.Complete(t.Context(), answer); err != nil || c.DisplayName != "alice" || c.Secrets != nil {
		t.Errorf("connection %+v, error %v", c, err)
	}

	if f := p.Publisher.Preflight(platform.Content{Text: "too long"}); f == nil || f.Rule != "myspace.text.max_graphemes" {
		t.Errorf("preflight says %+v", f)
	}
	reply := platform.Content{Text: "short", Options: platform.Options{ReplyToURI: "u", ReplyToCID: "c"}}
	if f := p.Publisher.Preflight(reply); f == nil || f.Rule != "myspace.reply.unsupported" {
		t.Errorf("preflight of a reply says %+v", f)
	}
	outcome, err := p.Publisher.Publish(t.Context(), platform.Publication{Content: platform.Content{Text: "short"}})
	published, ok := outcome.(platform.Published)
	if err != nil || !ok || !strings.Contains(published.Receipt.URI, "/myspace/") {
		t.Errorf("outcome %+v, error %v", outcome, err)
	}
}

// TestPlayingChangesNothing: a sandbox beside the real platform would otherwise leave its connector with that.
func TestPlayingChangesNothing(t *testing.T) {
	before, field := catalog.All[0], catalog.All[0].Fields[0]
	sandbox.OfAll(catalog.All, func() string { return "" }, clock.RealClock{})
	if p := catalog.All[0]; p.Connector != before.Connector || p.Publisher != before.Publisher || p.Fields[0] != field {
		t.Errorf("it is now %+v", p)
	}
}
