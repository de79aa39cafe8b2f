// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
)

func TestStores(t *testing.T) {
	x := authn.NewIndex()
	keys, profiles, _ := authn.Stores(x)
	profile := authntest.Profile()
	stays, s1 := minted(t, authntest.PinnedTo(profile))
	goes, s2 := minted(t)
	comes, s3 := minted(t)

	must(t, keys.Replace([]any{stays, goes}, "10"))
	refused(t, x, s1, authn.Unserved)
	must(t, profiles.Replace([]any{profile}, "10"))
	served(t, x, s1, stays)
	served(t, x, s2, goes)

	// The watch broke; what was missed is in the next list, or no longer in it.
	must(t, keys.Replace([]any{stays, comes}, "20"))
	served(t, x, s1, stays)
	refused(t, x, s2, authn.Unknown)
	served(t, x, s3, comes)
	held(t, x, 2, 1, 1)

	must(t, keys.Delete(comes))
	refused(t, x, s3, authn.Unknown)
	must(t, keys.Add(comes))
	served(t, x, s3, comes)
	going := comes.DeepCopy()
	authntest.Deleting(going)
	must(t, keys.Update(going))
	refused(t, x, s3, authn.Revoked)

	must(t, profiles.Replace(nil, "30"))
	refused(t, x, s1, authn.Unserved)
	must(t, profiles.Add(profile))
	served(t, x, s1, stays)
	must(t, profiles.Delete(profile))
	refused(t, x, s1, authn.Unserved)

	must(t, keys.Replace(nil, "40"))
	held(t, x, 0, 0, 0)
}

// TestReplaceOfARecreatedKey: between two lists an ApiKey was deleted and made again under its name. It is another key.
func TestReplaceOfARecreatedKey(t *testing.T) {
	x := authn.NewIndex()
	keys, _, _ := authn.Stores(x)
	before, s1 := minted(t, authntest.Named("website"))
	again, s2 := minted(t, authntest.Named("website"))
	sameHash, _ := minted(t, authntest.Named("website"), sharing(before), authntest.CreatedAt(after(time.Hour)))

	must(t, keys.Replace([]any{before}, "10"))
	must(t, keys.Replace([]any{again}, "20"))
	refused(t, x, s1, authn.Unknown)
	served(t, x, s2, again)

	must(t, keys.Replace([]any{before}, "30"))
	must(t, keys.Replace([]any{sameHash}, "40"))
	served(t, x, s1, sameHash)
	held(t, x, 1, 1, 0)
}

func TestStoresRefuseOtherKinds(t *testing.T) {
	x := authn.NewIndex()
	keys, profiles, feed := authn.Stores(x)
	k, _ := minted(t)
	for name, err := range map[string]error{
		"add a Profile as a key":      keys.Add(authntest.Profile()),
		"update a Profile as a key":   keys.Update(authntest.Profile()),
		"delete a Profile as a key":   keys.Delete(authntest.Profile()),
		"a list with a Profile in it": keys.Replace([]any{k, authntest.Profile()}, "10"),
		"add a key as a Profile":      profiles.Add(k),
		"delete a key as a Profile":   profiles.Delete(k),
		"add nothing":                 keys.Add(nil),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	held(t, x, 0, 0, 0)
	if version, _ := feed.Applied(1); version != "" {
		t.Errorf("it says that it has applied all up to %s, and has applied nothing", version)
	}
}

// TestFeedFollows runs a feed against a server that speaks the apiserver's list and watch: pages, events, a broken
// watch and a resourceVersion that is too old.
func TestFeedFollows(t *testing.T) {
	profile := authntest.Profile()
	first, s1 := minted(t, authntest.PinnedTo(profile))
	second, s2 := minted(t)
	third, s3 := minted(t)
	server := newServer(t)
	server.set("apikeys", first, second)
	server.set("profiles", profile)

	x := authn.NewIndex()
	feed := run(t, x, server)
	must(t, feed.Relist(t.Context()))
	served(t, x, s1, first)
	served(t, x, s2, second)

	server.send("apikeys", "ADDED", third)
	eventually(t, "an added key is served", func() bool { return accepts(t, x, s3) })
	going := third.DeepCopy()
	authntest.Deleting(going)
	server.send("apikeys", "MODIFIED", going)
	eventually(t, "a key is refused that is being deleted", func() bool { return !accepts(t, x, s3) })
	server.send("apikeys", "DELETED", second)
	eventually(t, "a deleted key is refused", func() bool { return !accepts(t, x, s2) })
	server.send("profiles", "DELETED", profile)
	eventually(t, "a key is refused whose Profile is deleted", func() bool { return !accepts(t, x, s1) })

	// While the watch is away, two keys change places.
	server.set("apikeys", second)
	server.expire("apikeys")
	eventually(t, "the next list is taken in", func() bool { return accepts(t, x, s2) && x.Size() == 1 })
	for i, q := range server.lists() {
		switch version := q.Get("resourceVersion"); {
		case version != "":
			t.Errorf("list %d asked for resourceVersion %q: it may be answered with what has passed", i, version)
		case q.Get("limit") != "500" && q.Get("continue") == "":
			t.Errorf("list %d asked for everything at once: %v", i, q)
		}
	}
}

// run runs a feed until the test ends.
func run(t *testing.T, x *authn.Index, server *server, namespaces ...string) *authn.Feed {
	t.Helper()
	return runAt(t, x, server, clock.RealClock{}, namespaces...)
}

func runAt(t *testing.T, x *authn.Index, server *server, clock clock.PassiveClock, namespaces ...string) *authn.Feed {
	t.Helper()
	feed := authn.NewFeed(x, server.client(t), clock, namespaces...)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { feed.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return feed
}

// TestRelist: the watch goes on as if nothing had happened, but it has lost events.
func TestRelist(t *testing.T) {
	k, plaintext := minted(t)
	server := newServer(t)
	server.set("apikeys", k)
	x := authn.NewIndex()
	feed := run(t, x, server)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := feed.Relist(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v from a context that has ended", err)
	}
	must(t, feed.Relist(t.Context()))
	served(t, x, plaintext, k)
	server.set("apikeys")
	must(t, feed.Relist(t.Context()))
	refused(t, x, plaintext, authn.Unknown)

	other, otherPlaintext := minted(t)
	server.send("apikeys", "ADDED", other)
	eventually(t, "the new watch is followed", func() bool { return accepts(t, x, otherPlaintext) })
}

// TestFeedWaitsToBeAsked: a replica must have registered before it lists.
func TestFeedWaitsToBeAsked(t *testing.T) {
	server := newServer(t)
	feed := run(t, authn.NewIndex(), server)
	if lists := server.lists(); len(lists) != 0 {
		t.Fatalf("it has listed before it was asked to: %v", lists)
	}
	must(t, feed.Relist(t.Context()))
	if lists := server.lists(); len(lists) != 2 {
		t.Errorf("%d lists, want one of keys and one of Profiles", len(lists))
	}
}

// TestRelistIsSentAfterTheCall: a list that is under way when another one is asked for may be of the past.
func TestRelistIsSentAfterTheCall(t *testing.T) {
	k, plaintext := minted(t)
	server := newServer(t)
	server.set("apikeys", k)
	arrived, answer := server.hold("apikeys")
	x := authn.NewIndex()
	feed := run(t, x, server)
	first := make(chan error, 1)
	go func() { first <- feed.Relist(t.Context()) }()
	<-arrived // and the server has made up its mind what to answer
	server.set("apikeys")
	second := make(chan error, 1)
	go func() { second <- feed.Relist(t.Context()) }()
	answer()
	must(t, <-second)
	refused(t, x, plaintext, authn.Unknown)
	must(t, <-first)
}

// TestListTook: by the list that was applied, with all its pages, and without those that failed before it.
func TestListTook(t *testing.T) {
	one, _ := minted(t)
	other, _ := minted(t)
	server, clock := newServer(t), clocktesting.NewFakePassiveClock(now)
	server.set("apikeys", one, other) // which are two pages
	server.forbid("apikeys", true)
	arrived, answer := server.hold("apikeys")
	feed := runAt(t, authn.NewIndex(), server, clock)
	if took := feed.ListTook(); took != 0 {
		t.Errorf("before the first list: %s", took)
	}
	listed := make(chan error, 1)
	go func() { listed <- feed.Relist(t.Context()) }()
	eventually(t, "a list has failed", func() bool { return server.refusals() > 0 })
	eventually(t, "that of the Profiles was applied", func() bool { return server.watches("profiles") > 0 })
	clock.SetTime(now.Add(time.Hour))
	since := server.refusals()
	eventually(t, "one has failed that began after that", func() bool { return server.refusals() > since+1 })
	server.forbid("apikeys", false)
	<-arrived
	clock.SetTime(now.Add(time.Hour + 42*time.Second))
	answer()
	must(t, <-listed)
	if took := feed.ListTook(); took != 42*time.Second {
		t.Errorf("it took %s, want 42s", took)
	}
}

func TestListPage(t *testing.T) {
	k, _ := minted(t)
	server := newServer(t)
	server.set("apikeys", k)
	for _, asked := range []string{"", "0", "12"} {
		list, err := authn.ListPage(t.Context(), server.client(t), metav1.ListOptions{ResourceVersion: asked, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		if q := server.lastList(); q.Has("resourceVersion") || q.Has("resourceVersionMatch") {
			t.Errorf("asked for resourceVersion %q, it lists with %v, want the newest state", asked, q)
		}
		if n := meta.LenList(list); n != 1 {
			t.Errorf("it lists %d keys, want 1", n)
		}
	}
	server.Close()
	if _, err := authn.ListPage(t.Context(), server.client(t), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "list apikeys") {
		t.Errorf("error %v, want one that says what was listed", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func accepts(t *testing.T, x *authn.Index, plaintext string) bool {
	t.Helper()
	_, err := authenticator(t, x).Identify(bearer(plaintext))
	return err == nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
