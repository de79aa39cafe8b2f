// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// talkative is a platform that says much of every post.
type talkative struct {
	platform.Publisher
	outcome platform.Outcome
	asked   func()
}

func (p talkative) Publish(context.Context, platform.Publication) (platform.Outcome, error) {
	p.asked()
	return p.outcome, nil
}

// Whatever a platform says of a post, no more than so much of it is kept and shown, and memory is counted for it before
// anything is sent.
func TestWhatPlatformsSayIsBounded(t *testing.T) { onBoth(t, whatPlatformsSayIsBounded) }

func whatPlatformsSayIsBounded(t *testing.T) {
	t.Helper()
	long := strings.Repeat("no ", 1<<19)
	failure := platform.Failure{Code: platform.CodeRejected, Message: long, PlatformResponse: json.RawMessage("<html>" + long)}
	const targets, most = 25, 25 * (platform.MaxOutcome + 1<<10)
	for reason, outcome := range map[string]platform.Outcome{
		"rejected":  platform.Rejected{Failure: failure},
		"not taken": platform.NotTaken{Failure: failure},
		"unknown":   platform.OutcomeUnknown{Failure: failure},
		"published": platform.Published{Receipt: platform.Receipt{URI: "https://" + long, CID: long}},
	} {
		var counted atomic.Int64
		p := &played{}
		f := newFixture(t, nil, playing(t, p))
		key := f.newKey(t)
		account := f.connect(t, key)
		p.Publisher = talkative{p.Publisher, outcome, func() { counted.Store(int64(f.counted(t, "lmp_http_bytes_in_flight"))) }}
		var all []string
		for i := range targets {
			all = append(all, targetOf(account, fmt.Sprintf(`,"text":"%d"`, i)))
		}
		w := f.send(publication(key, strings.Join(all, ","), ""))
		checkStatus(t, reason, w, http.StatusOK)
		if n := w.Body.Len(); n > most || int64(n) > counted.Load() || n < targets*100 {
			t.Errorf("%s: the answer has %d bytes, and %d are counted", reason, n, counted.Load())
		}
		results := decode[batch](t, w.Body.String()).Results
		if len(results) != targets {
			t.Errorf("%s: %d results", reason, len(results))
			continue
		}
		id := results[0].PostID
		if got := f.get(t, "/v1/posts/"+id, key); len(got) > 3*platform.MaxOutcome {
			t.Errorf("%s: the post has %d bytes", reason, len(got))
		}
		if got := f.get(t, "/v1/posts", key); len(got) > most {
			t.Errorf("%s: the list has %d bytes", reason, len(got))
		}
		if n := f.counted(t, "lmp_http_bytes_in_flight"); n != 0 {
			t.Errorf("%s: %v bytes are held by nobody", reason, n)
		}
	}
}

// Who publishes to more targets than there is memory to answer is refused before anything is stored.
func TestRoomForTheAnswerComesFirst(t *testing.T) {
	f := newFixture(t, nil, func(c *parts) { c.BytesInFlight = 512 << 10 })
	key := f.newKey(t)
	account := f.connect(t, key)
	var all []string
	for i := range 25 {
		all = append(all, targetOf(account, fmt.Sprintf(`,"text":"%d"`, i)))
	}
	f.refused(t, "25 targets", publication(key, strings.Join(all, ","), ""), http.StatusTooManyRequests, "organization.bytes_in_flight")
	if n := f.rows(t, "posts"); n != 0 {
		t.Errorf("%d posts", n)
	}
	ok[batch](t, f, publication(key, strings.Join(all[:3], ","), ""))
	ok[batch](t, f, publication(key, strings.Join(all, ","), `,"scheduledAt":"`+later+`"`)) // of which nothing is said yet
}
