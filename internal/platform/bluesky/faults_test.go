// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/pds"
)

// fault is what goes wrong with one request.
type fault int

const (
	noFault     fault = iota
	faultBefore       // the connection breaks before the server gets the request
	faultAfter        // the server gets and answers it, and the answer is lost
	faultError        // the server is not asked, and something in front of it answers 502
	faultLate         // the server gets and answers it, and the answer is 502
	faultSlow         // the server gets and answers it, and the answer comes too late
	faultLimit        // the server says that it is asked too often
	faults
)

// attempt makes one attempt, of which the process dies when ctx ends.
func attempt(
	ctx context.Context, t *testing.T, w *world, p platform.Publication, before platform.Outcome,
) platform.Outcome {
	t.Helper()
	var o platform.Outcome
	var err error
	switch b := before.(type) {
	case nil, platform.NotTaken:
		o, err = w.Publisher.Publish(ctx, p)
	case platform.OutcomeUnknown:
		o, err = w.Asker.Ask(ctx, p, b.Token)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestOnePostWhateverHappens: 50 seeded schedules of faults, each until the post is published: it is there once, and so
// is its comment. Some attempts die on the way, of which nobody knows how far they came.
func TestOnePostWhateverHappens(t *testing.T) {
	t.Parallel()
	const schedules = 50
	w := newWorld(t)
	connected := w.connect(t)
	for seed := range uint64(schedules) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel() // most of it is waiting
			random := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			spoils := rand.New(rand.NewPCG(seed, 2)) // of the proxy's goroutines
			left := 1 + random.IntN(6)               // faults, after which all goes well
			spoiled, c := behind(t, w, connected, func(r *http.Request) fault {
				mu.Lock()
				defer mu.Unlock()
				if left == 0 || spoils.IntN(3) == 0 {
					return noFault
				}
				left--
				return fault(1 + spoils.IntN(int(faults)-1))
			})
			content := platform.Content{Text: fmt.Sprintf("Post %d, for @%s", seed, w.account.Handle)}
			if random.IntN(2) == 0 {
				content.FirstComment = fmt.Sprintf("Comment %d", seed)
			}
			if random.IntN(3) == 0 {
				content.Media = []platform.Media{image(t, 8, 8)}
			}
			if random.IntN(4) == 0 {
				c = c.with(platform.SecretAccessToken, w.account.ExpiredToken(accessScope, "at+jwt"))
			}
			p := w.publication(c, content)
			var last platform.Outcome
			for attempts := 0; ; attempts++ {
				if attempts == 40 {
					t.Fatalf("it is not published after %d attempts: %+v", attempts, last)
				}
				// Longer each time: a loaded machine is no fault.
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(700+300*attempts)*time.Millisecond)
				last = attempt(ctx, t, spoiled, p, last)
				cancel()
				// A process that dies says nothing: whoever comes next knows only that there was an attempt.
				if random.IntN(5) == 0 {
					last = platform.OutcomeUnknown{}
				}
				if _, done := last.(platform.Published); done {
					break
				}
				if _, not := last.(platform.NotTaken); not {
					p.FirstSentAt = time.Now() // as the store has it of what is certainly not there
				}
				if o, no := last.(platform.Rejected); no {
					t.Fatalf("rejected: %+v", o)
				}
			}
			r := published(t, last)
			posts, comments := 0, 0
			records, err := w.account.Posts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, record := range records {
				switch text := string(record.Value); {
				case strings.Contains(text, content.Text):
					posts++
					if record.URI != r.URI || record.CID != r.CID {
						t.Errorf("the receipt is %+v, the record %s %s", r, record.URI, record.CID)
					}
				case content.FirstComment != "" && strings.Contains(text, `"`+content.FirstComment+`"`):
					comments++
					if record.URI != r.FirstCommentURI || record.CID != r.FirstCommentCID {
						t.Errorf("the receipt is %+v, the comment's record %s %s", r, record.URI, record.CID)
					}
				}
			}
			if want := min(1, len(content.FirstComment)); posts != 1 || comments != want {
				t.Errorf("there are %d posts and %d comments, want 1 and %d", posts, comments, want)
			}
		})
	}
}

// TestRateLimit: the post waits until the server wants to be asked again, and does not fail.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"putRecord", "uploadBlob", "resolveHandle"} {
		w := newWorld(t)
		spoiled, c := behind(t, w, w.connect(t), func(r *http.Request) fault {
			if strings.HasSuffix(r.URL.Path, method) {
				return faultLimit
			}
			return noFault
		})
		o, ok := spoiled.send(t, w.publication(c, platform.Content{
			Text: "Hello @" + w.account.Handle, Media: []platform.Media{image(t, 8, 8)},
		})).(platform.NotTaken)
		if wait := time.Until(o.NotBefore); !ok || o.Failure.Code != platform.CodeRateLimited || wait < 4*time.Minute || wait > 6*time.Minute {
			t.Errorf("%s: %+v", method, o)
		}
		if n := len(w.posts(t)); n > 0 {
			t.Errorf("%s: there are %d posts", method, n)
		}
	}
}

// TestUnavailable: what was not sent is certainly not there, and is sent again soon.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := standIn(t, nil)
	gone.Close()
	w.Platform = newPlatform(t, w.server, gone.URL)
	for name, p := range map[string]platform.Publication{
		"gone":           w.publication(w.connect(t).with("pdsUrl", gone.URL), platform.Content{Text: "Hello"}),
		"name not found": w.publication(w.connect(t).with("pdsUrl", "https://pds.invalid"), platform.Content{Text: "Hello"}),
	} {
		o, ok := w.send(t, p).(platform.NotTaken)
		if wait := time.Until(o.NotBefore); !ok || o.Failure.Code != platform.CodeUnavailable || wait < 20*time.Second || wait > time.Minute {
			t.Errorf("%s: %+v", name, o)
		}
	}
	spoiled, c := behind(t, w, w.connect(t), func(r *http.Request) fault {
		if strings.HasSuffix(r.URL.Path, "uploadBlob") {
			return faultError
		}
		return noFault
	})
	o, ok := spoiled.send(t, w.publication(c, platform.Content{Media: []platform.Media{image(t, 8, 8)}})).(platform.NotTaken)
	if !ok || o.Failure.Code != platform.CodeUnavailable {
		t.Errorf("an upload: %+v", o)
	}
}

// TestKilledServer: a server that is killed takes nothing, and has everything when it is back.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	shared := newWorld(t).server
	ports, err := kube.FreePorts(1) // which nobody else is given while it is away
	if err != nil {
		t.Fatal(err)
	}
	o := pds.Options{PLCURL: shared.PLCURL, Data: t.TempDir(), Port: strconv.Itoa(ports[0])}
	s, err := pds.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Kill() }()
	a, err := s.NewAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{newPlatform(t, s), s, a}
	c := w.connect(t)
	first := w.publication(c, platform.Content{Text: "First"})
	published(t, w.send(t, first))
	s.Kill()
	// What is not known of the first, because its process died, is not known while the server is away either. It
	// comes first, as a question may be asked again: the client finds out by it that its connection is gone.
	if o, err := w.Asker.Ask(t.Context(), first, nil); err != nil || !isUnknown(o) {
		t.Fatalf("asked while it is away: %+v, error %v", o, err)
	}
	second := w.publication(c, platform.Content{Text: "Second"})
	if o, ok := w.send(t, second).(platform.NotTaken); !ok || o.NotBefore.IsZero() {
		t.Fatalf("while it is away: %+v", o)
	}
	if s, err = pds.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	published(t, w.send(t, second))
	asked, err := w.Asker.Ask(t.Context(), first, nil)
	if err != nil {
		t.Fatal(err)
	}
	published(t, asked)
	if n := len(w.posts(t)); n != 2 {
		t.Errorf("there are %d posts", n)
	}
}

func isUnknown(o platform.Outcome) bool { _, ok := o.(platform.OutcomeUnknown); return ok }

// TestEndOfContext: an attempt that is cut off says what is known, and soon.
func TestEndOfContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	spoiled, c := behind(t, w, w.connect(t), func(r *http.Request) (f fault) {
		if strings.HasSuffix(r.URL.Path, "putRecord") {
			once.Do(func() { cancel(); f = faultSlow })
		}
		return f
	})
	p := w.publication(c, platform.Content{Text: "Hello"})
	o, err := spoiled.Publisher.Publish(ctx, p)
	if u, ok := o.(platform.OutcomeUnknown); err != nil || !ok || u.Failure.Rule != "publish.outcome_unknown" || u.Failure.Code != platform.CodeUnavailable {
		t.Fatalf("outcome %+v, error %v", o, err)
	}
	asked, err := spoiled.Asker.Ask(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	published(t, asked)
	w.only(t)
}

// TestKilledInTheMiddle: a server that is killed while it writes a post, or when it has written it and nobody has got
// its answer, has it once when it is back and the post is tried until it is published.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	ports, err := kube.FreePorts(1) // which nobody else is given while it is away
	if err != nil {
		t.Fatal(err)
	}
	o := pds.Options{PLCURL: newWorld(t).server.PLCURL, Data: t.TempDir(), Port: strconv.Itoa(ports[0])}
	s, err := pds.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Kill() }()
	a, err := s.NewAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{newPlatform(t, s), s, a}
	c := w.connect(t)
	for seed := range uint64(3) {
		delay := time.Duration(rand.New(rand.NewPCG(seed, 3)).IntN(25)) * time.Millisecond
		killed := make(chan struct{})
		kill := sync.OnceFunc(func() { s.Kill(); close(killed) })
		spoiled, by := behind(t, w, c, func(r *http.Request) fault {
			switch {
			case !strings.HasSuffix(r.URL.Path, "putRecord"):
			case seed%2 == 0:
				time.AfterFunc(delay, kill)
			default:
				return faultAfter
			}
			return noFault
		})
		p := w.publication(by, platform.Content{Text: fmt.Sprintf("Post %d", seed), FirstComment: "Comment"})
		last := attempt(t.Context(), t, spoiled, p, nil)
		if seed%2 == 1 {
			kill()
		}
		<-killed
		if s, err = pds.Start(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		p.Credentials = c // without anybody in between
		for attempts := 0; ; attempts++ {
			if _, done := last.(platform.Published); done {
				break
			}
			if _, no := last.(platform.Rejected); no || attempts == 20 {
				t.Fatalf("seed %d, after %s: %+v", seed, delay, last)
			}
			last = attempt(t.Context(), t, w, p, last)
		}
		if n := len(w.posts(t)); n != 2*int(seed+1) {
			t.Errorf("seed %d, killed after %s: there are %d records, want a post and a comment of each", seed, delay, n)
		}
	}
}
