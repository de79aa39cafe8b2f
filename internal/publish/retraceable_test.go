// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// asked is a platform's Asker that nobody asks.
type asked struct{}

func (asked) Ask(context.Context, platform.Publication, []byte) (platform.Outcome, error) {
	panic("it is asked")
}

// TestRetraceable: what a platform is not asked about, or would not answer alike, must be on disk before it is told.
func TestRetraceable(t *testing.T) {
	traced, untraced := bluesky.Platform, bluesky.Platform
	traced.Asker, traced.Retraceable, untraced.Name, untraced.Asker = asked{}, true, "untraced", asked{}
	unasked := traced
	unasked.Name, unasked.Asker = "unasked", nil
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "db"), nil, func(o *publish.Options) {
		o.Platforms = platform.List{traced, untraced, unasked}
	})
	out := store.Outcome{Receipt: platform.Receipt{URI: "at://it"}}
	warned, failed := out, store.Outcome{Failure: &platform.Failure{Code: platform.CodeRejected}}
	warned.Receipt.Warnings = []platform.Warning{{Code: "shrunk"}}
	for name, tc := range map[string]struct {
		to   []platform.Name
		as   []store.Outcome
		want bool
	}{
		"published":                         {[]platform.Name{"bluesky"}, []store.Outcome{out}, true},
		"twice":                             {[]platform.Name{"bluesky", "bluesky"}, []store.Outcome{out, out}, true},
		"with a warning":                    {[]platform.Name{"bluesky"}, []store.Outcome{warned}, false},
		"refused":                           {[]platform.Name{"bluesky"}, []store.Outcome{failed}, false},
		"one of two":                        {[]platform.Name{"bluesky", "bluesky"}, []store.Outcome{out, failed}, false},
		"a receipt that has to be kept":     {[]platform.Name{"untraced"}, []store.Outcome{out}, false},
		"a platform that can't be asked":    {[]platform.Name{"unasked"}, []store.Outcome{out}, false},
		"a platform that is there no more":  {[]platform.Name{"gone"}, []store.Outcome{out}, false},
		"another platform's post beside it": {[]platform.Name{"bluesky", "untraced"}, []store.Outcome{out, out}, false},
	} {
		var posts []store.Post
		for _, to := range tc.to {
			posts = append(posts, store.Post{Platform: to})
		}
		if got := p.Retraceable(posts, tc.as); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
