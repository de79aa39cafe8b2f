// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/publish"
)

// counting opens every account for whoever still waits for it.
type counting struct{ opened atomic.Int32 }

func (c *counting) Open(ctx context.Context, _ string) (platform.Credentials, *platform.Failure, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	c.opened.Add(1)
	return open{}, nil, nil
}

func (c *counting) Refused(context.Context, platform.Credentials, platform.Failure) {}

// TestOpenedAhead: what was opened while the attempts were being stored is not opened again, unless the request ended
// before it was; and it is nobody's but the first post's.
func TestOpenedAhead(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	for name, tc := range map[string]struct {
		posts  []string
		ahead  context.Context // of the request; nil: nothing was opened
		opened int32
	}{
		"not":                         {[]string{"one"}, nil, 1},
		"ahead":                       {[]string{"one"}, t.Context(), 1},
		"for a caller who has gone":   {[]string{"one"}, gone, 1},
		"with others":                 {[]string{"one", "two", "three"}, t.Context(), 3},
		"with others, who have gone":  {[]string{"one", "two"}, gone, 2},
		"not, of several at one time": {[]string{"one", "two"}, nil, 2},
	} {
		c := &counting{}
		p := start(t, sqlite(t), newSandbox(), func(o *publish.Options) { o.Connections = c })
		posts, attempts := begun(tc.posts...)
		var first *publish.Opening
		if tc.ahead != nil {
			first = p.Open(tc.ahead, posts[0])
		}
		for i, o := range p.Publish(t.Context(), posts, attempts, first) {
			if o.Failure != nil {
				t.Errorf("%s: %s is not published: %+v", name, tc.posts[i], o.Failure)
			}
		}
		if n := c.opened.Load(); n != tc.opened {
			t.Errorf("%s: opened %d times, want %d", name, n, tc.opened)
		}
	}
}
