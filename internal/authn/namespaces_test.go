// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
)

// Another namespace than that of authntest.
const (
	zenith             = "zenith"
	zenithOrganization = "0ac3e000-0000-4000-8000-00000000000f"
)

var inZenith = authntest.In(zenith, zenithOrganization)

// dying makes a key one whose deletion waits for the replicas.
func dying(at time.Duration, version int) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Finalizers = []string{v1alpha1.FinalizerRevocation}
		k.DeletionTimestamp = &metav1.Time{Time: after(at)}
		k.ResourceVersion = strconv.Itoa(version)
	}
}

func zenithProfile(p *v1alpha1.Profile) {
	p.Namespace = zenith
	p.Status.OrganizationID = zenithOrganization
}

// A list of one namespace says nothing about what is in the others.
func TestAListIsOfItsNamespace(t *testing.T) {
	x := authn.NewIndex()
	keys, profiles, feed := authn.StoresOf(x, clock.RealClock{}, authntest.Namespace, zenith)
	young := authntest.Profile(zenithProfile, func(p *v1alpha1.Profile) { p.Status.OrganizationID = "" })
	profile := authntest.Profile(zenithProfile)
	here, s1 := minted(t)
	there, s2 := minted(t, inZenith)
	pinned, s3 := minted(t, inZenith, authntest.PinnedTo(profile))
	pinnedToYoung, s4 := minted(t, inZenith, authntest.PinnedTo(young))
	going, s5 := minted(t, inZenith, dying(0, 15))

	must(t, profiles[zenith].Replace([]any{profile, young}, "10"))
	must(t, keys[zenith].Replace([]any{there, pinned, pinnedToYoung, going}, "10"))
	must(t, profiles[authntest.Namespace].Replace(nil, "20"))
	must(t, keys[authntest.Namespace].Replace([]any{here}, "20"))
	for range 2 {
		served(t, x, s2, there)
		served(t, x, s3, pinned)
		served(t, x, s4, pinnedToYoung)
		refused(t, x, s5, authn.Revoked)
		if _, revoked := feed.Applied(10); !slices.Equal(revoked, []types.UID{going.UID}) {
			t.Errorf("it names %v, want the key of the other namespace that is being deleted", revoked)
		}
		must(t, keys[authntest.Namespace].Replace(nil, "30"))
		refused(t, x, s1, authn.Unknown)
	}
	must(t, profiles[zenith].Replace(nil, "40"))
	refused(t, x, s3, authn.Unserved)
	refused(t, x, s4, authn.Unserved)
	must(t, keys[zenith].Replace(nil, "40"))
	refused(t, x, s2, authn.Unknown)
	if _, revoked := feed.Applied(10); len(revoked) != 0 {
		t.Errorf("it names %v, and nothing is left", revoked)
	}
	held(t, x, 0, 0, 0)
	authn.CheckIndex(t, x, "at the end")
}

// A key that says it belongs to another namespace's organization is let go with its own namespace, and does not come
// among the other one's.
func TestAKeyOfAnothersOrganization(t *testing.T) {
	x := authn.NewIndex()
	keys, _, _ := authn.StoresOf(x, clock.RealClock{}, authntest.Namespace, zenith)
	k, s1 := minted(t)
	stranger, s2 := minted(t, authntest.In(zenith, authntest.OrganizationID))
	must(t, keys[zenith].Replace([]any{stranger}, "10"))
	must(t, keys[authntest.Namespace].Replace([]any{k}, "10"))
	id := served(t, x, s1, k)
	if diff := cmp.Diff([]types.UID{k.UID}, keyIDs(x.Keys(id.Caller()))); diff != "" {
		t.Errorf("the organization's keys (-want +got):\n%s", diff)
	}
	must(t, keys[zenith].Replace(nil, "20"))
	refused(t, x, s2, authn.Unknown)
	served(t, x, s1, k)
	authn.CheckIndex(t, x, "at the end")
}

// TestAppliedOfNamespaces: whenever a key is named, the resourceVersion beside it is no older than its deletion,
// however quiet the other namespaces are. Then the controller, which compares both, need not wait.
func TestAppliedOfNamespaces(t *testing.T) {
	x := authn.NewIndex()
	keys, _, feed := authn.StoresOf(x, clock.RealClock{}, "busy", "quiet", "empty")
	says := func(version string, revoked ...*v1alpha1.ApiKey) {
		t.Helper()
		var ids []types.UID
		for _, k := range revoked {
			ids = append(ids, k.UID)
		}
		if gotVersion, got := feed.Applied(10); gotVersion != version || !slices.Equal(got, ids) {
			t.Errorf("applied %q %v, want %q %v", gotVersion, got, version, ids)
		}
	}
	in := func(namespace string) func(*v1alpha1.ApiKey) { return authntest.In(namespace, "uid-of-"+namespace) }
	says("")
	must(t, keys["quiet"].Replace(nil, "9"))
	says("9")
	must(t, keys["busy"].Replace(nil, "10"))
	says("10") // a number, and not a text

	first, _ := minted(t, in("busy"), dying(1*time.Second, 60))
	must(t, keys["busy"].Update(first))
	says("60", first)
	must(t, keys["quiet"].Bookmark("55")) // it was sent before, and arrives later
	says("60", first)
	second, _ := minted(t, in("quiet"), dying(2*time.Second, 70))
	must(t, keys["quiet"].Update(second))
	says("70", first, second)
	must(t, keys["empty"].Replace(nil, "5"))
	says("70", first, second)
	must(t, keys["busy"].Delete(first))
	says("70", second)
}

// What is told has been noted before: the controller would otherwise be shown the name with an old resourceVersion, and
// wait for the next renewal.
func TestToldWhenNoted(t *testing.T) {
	x := authn.NewIndex()
	keys, _, feed := authn.StoresOf(x, clock.RealClock{}, "busy", "quiet")
	var told []string
	authn.OnTell(feed, func() {
		version, revoked := feed.Applied(10)
		told = append(told, version+" "+strconv.Itoa(len(revoked)))
	})
	first, _ := minted(t, authntest.In("busy", "b"), dying(0, 12))
	second, _ := minted(t, authntest.In("quiet", "q"), dying(0, 31))
	must(t, keys["busy"].Replace([]any{first}, "20"))
	must(t, keys["quiet"].Replace(nil, "30"))
	must(t, keys["quiet"].Update(second))
	must(t, keys["quiet"].Bookmark("40"))
	if diff := cmp.Diff([]string{"20 1", "31 2"}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// The apiserver was heard of when the watch was that has been silent longest.
func TestHeardOfEachWatch(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(authntest.Epoch)
	keys, profiles, feed := authn.StoresOf(authn.NewIndex(), clock, "busy", "quiet")
	at := func(d time.Duration) { clock.SetTime(after(d)) }
	heard := func(want time.Time) {
		t.Helper()
		if got := feed.Heard(); !got.Equal(want) {
			t.Errorf("heard at %s, want %s", got, want)
		}
	}
	for i, store := range []authn.Store{keys["busy"], profiles["busy"], keys["quiet"], profiles["quiet"]} {
		heard(time.Time{})
		at(time.Duration(i) * time.Second)
		must(t, store.Replace(nil, "10"))
	}
	heard(authntest.Epoch)
	at(10 * time.Second)
	must(t, keys["busy"].Bookmark("20"))
	must(t, profiles["busy"].Bookmark("20"))
	heard(after(2 * time.Second))
	must(t, keys["quiet"].Bookmark("20"))
	heard(after(3 * time.Second))
}

// TestFeedOfNamespaces: each has a list and a watch of its own, and nothing is asked of any other.
func TestFeedOfNamespaces(t *testing.T) {
	here, s1 := minted(t)
	there, s2 := minted(t, inZenith)
	_, s3 := minted(t, authntest.In("elsewhere", "e"))
	server := newServer(t)
	server.set(authntest.Namespace+"/apikeys", here)
	server.set(zenith+"/apikeys", there)
	arrived, answer := server.hold(zenith + "/apikeys")
	x := authn.NewIndex()
	feed := run(t, x, server, authntest.Namespace, zenith)
	listed := make(chan error, 1)
	go func() { listed <- feed.Relist(t.Context()) }()
	<-arrived
	eventually(t, "the other namespace is served", func() bool { return accepts(t, x, s1) })
	select {
	case err := <-listed:
		t.Errorf("Relist returned (%v) before each namespace was listed", err)
	default:
	}
	answer()
	must(t, <-listed)
	served(t, x, s2, there)
	refused(t, x, s3, authn.Unknown)
	want := map[string]int{}
	for _, namespace := range []string{authntest.Namespace, zenith} {
		want[namespace+"/apikeys"], want[namespace+"/profiles"] = 1, 1
	}
	if diff := cmp.Diff(want, server.listed()); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}

	going := there.DeepCopy()
	dying(0, 200)(going)
	server.send(zenith+"/apikeys", "MODIFIED", going)
	<-feed.Changed()
	if version, revoked := feed.Applied(10); version != "200" || !slices.Equal(revoked, []types.UID{there.UID}) {
		t.Errorf("applied %q %v", version, revoked)
	}
	refused(t, x, s2, authn.Revoked)
	server.set(authntest.Namespace + "/apikeys")
	must(t, feed.Relist(t.Context()))
	refused(t, x, s1, authn.Unknown)
}

// A namespace that may no longer be listed is served no more, and holds nobody up: neither at once, nor for good.
func TestForbiddenNamespace(t *testing.T) {
	here, s1 := minted(t)
	there, s2 := minted(t, inZenith)
	server := newServer(t)
	server.set(authntest.Namespace+"/apikeys", here)
	server.set(zenith+"/apikeys", there)
	clock := clocktesting.NewFakePassiveClock(authntest.Epoch)
	x := authn.NewIndex()
	feed := runAt(t, x, server, clock, authntest.Namespace, zenith)
	must(t, feed.Relist(t.Context()))
	served(t, x, s2, there)

	server.forbid(zenith+"/apikeys", true)
	relisted := make(chan error, 1)
	go func() { relisted <- feed.Relist(t.Context()) }()
	refusals := server.refusals()
	eventually(t, "it is told, whatever was under way", func() bool { return server.refusals() > refusals+2 })
	served(t, x, s2, there) // an apiserver that has just started may know no roles yet
	select {
	case err := <-relisted:
		t.Errorf("Relist returned (%v) though a list was refused a moment ago", err)
	default:
	}
	clock.SetTime(after(10 * time.Second))
	must(t, <-relisted)
	refused(t, x, s2, authn.Unknown)
	served(t, x, s1, here)
	eventually(t, "a refusal is a sign of life", func() bool {
		clock.SetTime(after(time.Minute))
		must(t, feed.Relist(t.Context()))
		return feed.Heard().Equal(after(time.Minute))
	})
	server.forbid(zenith+"/apikeys", false)
	eventually(t, "it is served again", func() bool { return accepts(t, x, s2) })
}
