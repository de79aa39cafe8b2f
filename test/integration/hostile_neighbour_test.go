// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// neighbour is another tenant, who goes on working.
type neighbour struct {
	desk
	live, test *server
	subjects   []*subject   // live keys
	next       int          // which of them is deleted next
	again      atomic.Int64 // writes that were sent again, see publish

	mu       sync.Mutex
	accepted []string // ids of posts
}

func newNeighbour(ctx SpecContext, live, test limited) *neighbour {
	GinkgoHelper()
	n := &neighbour{desk: newDesk(ctx, test.server), live: live.server, test: test.server}
	const keys = 200
	n.subjects = mintMany(ctx, newNamespace(ctx), keys) // an organization for each environment
	awaitServed(ctx, []string{live.url}, n.subjects)
	return n
}

// diary is what a tenant has noticed of a span of work.
type diary struct {
	mu    sync.Mutex
	took  map[string][]time.Duration // by kind of work
	wrong []string
}

func (d *diary) note(kind string, began time.Time, wrong string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.took[kind] = append(d.took[kind], time.Since(began))
	if wrong != "" && len(d.wrong) < 20 {
		d.wrong = append(d.wrong, kind+": "+wrong)
	}
}

func (d *diary) percentile(kind string, p int) time.Duration {
	took := slices.Sorted(slices.Values(d.took[kind]))
	if len(took) == 0 {
		return 0
	}
	return took[min(len(took)-1, len(took)*p/100)]
}

func (d *diary) String() string {
	var text strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(d.took)) {
		fmt.Fprintf(&text, "%s: %d, median %s, p99 %s; ", kind, len(d.took[kind]),
			d.percentile(kind, 50).Round(time.Millisecond), d.percentile(kind, 99).Round(time.Millisecond))
	}
	return text.String()
}

// work does what a tenant does for a while: deletes keys, reads, lists and publishes, one after the other of each kind.
func (n *neighbour) work(ctx context.Context, lasts time.Duration) *diary {
	d := &diary{took: map[string][]time.Duration{}}
	over, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	var group errgroup.Group
	for kind, task := range map[string]struct {
		every, due time.Duration
		do         func(context.Context) string
	}{
		"delete": {lasts / 60, 0, n.deleteOne}, // of each span, at most as many as there are keys for
		"read":   {20 * time.Millisecond, 0, n.readOne},
		"list":   {100 * time.Millisecond, 0, n.list},
		"write":  {200 * time.Millisecond, 0, n.publish},
		"come":   {time.Second, ahead, n.schedule},
		"mint":   {time.Second, 0, n.mintOne},
	} {
		group.Go(func() error {
			ticks := time.NewTicker(task.every)
			defer ticks.Stop()
			for over.Err() == nil {
				began := time.Now()
				d.note(kind, began.Add(task.due), task.do(ctx))
				select {
				case <-ticks.C:
				case <-over.Done():
				}
			}
			return nil
		})
	}
	_ = group.Wait()
	return d
}

// deleteOne deletes a live key that is served, and returns what was wrong: "" for nothing.
func (n *neighbour) deleteOne(ctx context.Context) string {
	if n.next == len(n.subjects) {
		return "no key is left to delete"
	}
	s := n.subjects[n.next]
	n.next++
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.asked.Store(time.Now().UnixNano())
	if err := deleteKey(ctx, s.ApiKey); err != nil {
		return err.Error() + ": " + whyHeld(ctx, s.ApiKey)
	}
	s.gone.Store(time.Now().UnixNano())
	if status, _, err := getBy(ctx, postingClient, n.live.url+"/v1/whoami", "Bearer "+s.plaintext); err != nil || status != http.StatusUnauthorized {
		return fmt.Sprintf("a deleted key is answered %d, %v", status, err)
	}
	return ""
}

// mintOne makes a live key, and waits until it is one.
func (n *neighbour) mintOne(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	k := apiKey(n.subjects[0].Namespace, "mint-"+strings.ToLower(rand.Text()))
	if err := admin.Create(ctx, k); err != nil {
		return err.Error()
	}
	for !meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionReady) {
		if err := errors.Join(pass(ctx, interval), admin.Get(ctx, client.ObjectKeyFromObject(k), k)); err != nil {
			return fmt.Sprintf("%s: %v, %+v", k.Name, err, k.Status.Conditions)
		}
	}
	return ""
}

// ahead is how long before their time posts are scheduled: longer than requests take.
const ahead = 6 * time.Second

// schedule has posts published ahead of now, and waits until they are.
func (n *neighbour) schedule(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var a answer
	var err error
	for late := true; late && err == nil; { // how long it takes is counted in any case
		at := time.Now().Add(ahead)
		a, err = n.writing(canary+" "+rand.Text(), at, n.accounts[1:]...).send(ctx, n.test.url, n.key)
		late = a.late(at)
	}
	var b batch
	if err == nil {
		err = a.into(&b)
	}
	if err != nil {
		return fmt.Sprint(a.String(), ", ", err)
	}
	for _, result := range b.Results {
		for {
			post, err := n.read(ctx, n.test, result.PostID)()
			if err != nil || post.Status == failed {
				return fmt.Sprintf("%+v, %v", post, err)
			}
			if post.Status == published {
				break
			}
			if err := pass(ctx, 100*time.Millisecond); err != nil {
				return "it is still " + post.Status
			}
		}
	}
	return ""
}

func (n *neighbour) readOne(ctx context.Context) string { return n.expect(ctx, "/v1/whoami") }
func (n *neighbour) list(ctx context.Context) string {
	return n.expect(ctx, "/v1/posts?limit=20&q=canary")
}

// expect waits for an answer as long as whoever publishes does: how long it took is measured, and bounded in the end.
func (n *neighbour) expect(ctx context.Context, path string) string {
	status, body, err := getBy(ctx, postingClient, n.test.url+path, "Bearer "+n.key)
	if err != nil || status != http.StatusOK {
		return fmt.Sprintf("GET %s: %d %s, %v", path, status, body, err)
	}
	return ""
}

// publish does as it is told: what the server has no room for at a moment is sent again, as the same request. How long
// it takes in all is what counts, and how often that was.
func (n *neighbour) publish(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := n.writing(canary+" "+rand.Text(), time.Time{})
	a, err := c.send(ctx, n.test.url, n.key)
	for err == nil && a.unavailable() {
		n.again.Add(1)
		if err = pass(ctx, time.Second); err == nil {
			a, err = c.send(ctx, n.test.url, n.key)
		}
	}
	var b batch
	if err == nil {
		err = a.into(&b)
	}
	if err != nil {
		return err.Error()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, result := range b.Results {
		n.accepted = append(n.accepted, result.PostID)
	}
	return ""
}

// lost are the posts that were accepted and are not there, or not published.
func (n *neighbour) lost(ctx context.Context) (found []string) {
	for _, id := range n.accepted {
		if post, err := n.read(ctx, n.test, id)(); err != nil || post.Status != published {
			found = append(found, fmt.Sprintf("%s: %s, %v", id, post.Status, err))
		}
	}
	return found
}
