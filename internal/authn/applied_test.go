// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
)

// TestAppliedInTurns: one organization deletes more keys than can be told, and another one more, later.
func TestAppliedInTurns(t *testing.T) {
	x := authn.NewIndex()
	store, _, feed := authn.Stores(x)
	deleted := func(i int, namespace string) *v1alpha1.ApiKey {
		k, _ := minted(t)
		k.Namespace, k.UID = namespace, types.UID(fmt.Sprintf("%s-%04d", namespace, i))
		k.Finalizers = []string{v1alpha1.FinalizerRevocation}
		k.DeletionTimestamp = &metav1.Time{Time: authntest.Epoch.Add(time.Duration(i) * time.Second)}
		must(t, store.Update(k))
		return k
	}
	for i := range 20 {
		deleted(i, "many")
	}
	deleted(100, "few")
	deleted(101, "few")
	for _, tc := range []struct {
		reason string
		limit  int
		first  []types.UID
		want   string
	}{
		{"in turns", 5, nil, "many-0000 few-0100 many-0001 few-0101 many-0002"},
		{"in one place", 1, nil, "many-0000"},
		{"what is asked for first", 4, []types.UID{"many-0019", "few-0101"}, "many-0019 few-0101 many-0000 few-0100"},
		{"not what is not there", 2, []types.UID{"gone", "many-0003", "many-0003"}, "many-0003 many-0000"},
	} {
		_, got := feed.Applied(tc.limit, tc.first...)
		if fmt.Sprint(got) != "["+tc.want+"]" {
			t.Errorf("%s: %v, want %s", tc.reason, got, tc.want)
		}
	}
}

// TestApplied: what a replica tells the cluster.
func TestApplied(t *testing.T) {
	x := authn.NewIndex()
	store, _, feed := authn.Stores(x)
	keys := store.(interface {
		cache.ReflectorStore
		cache.ReflectorBookmarkStore
	})
	awaited := func(at time.Duration, version string) *v1alpha1.ApiKey {
		k, _ := minted(t)
		k.Finalizers = []string{"example.com/other", v1alpha1.FinalizerRevocation}
		k.DeletionTimestamp = &metav1.Time{Time: authntest.Epoch.Add(at)}
		k.ResourceVersion = version
		return k
	}
	says := func(version string, revoked ...*v1alpha1.ApiKey) {
		t.Helper()
		ids := make([]types.UID, 0, len(revoked))
		for _, k := range revoked {
			ids = append(ids, k.UID)
		}
		gotVersion, got := feed.Applied(3)
		if gotVersion != version || !slices.Equal(got, ids) {
			t.Errorf("applied %q %v, want %q %v", gotVersion, got, version, ids)
		}
	}
	changed := func(want bool) {
		t.Helper()
		select {
		case <-feed.Changed():
			if !want {
				t.Error("it says that something has changed")
			}
		default:
			if want {
				t.Error("it does not say that something has changed")
			}
		}
	}

	says("")
	plain, _ := minted(t)
	second := awaited(2*time.Second, "12")
	must(t, keys.Replace([]any{plain, second}, "20"))
	says("20", second)
	changed(true)

	first := awaited(time.Second, "21")
	must(t, keys.Update(first))
	says("21", first, second)
	changed(true)
	must(t, keys.Update(first))
	changed(false)

	must(t, keys.Bookmark("30"))
	says("30", first, second)
	changed(false)

	foreign := awaited(0, "31")
	foreign.Finalizers = foreign.Finalizers[:1]
	must(t, keys.Update(foreign))
	says("31", first, second)
	refusedBy := foreign.DeepCopy()
	refusedBy.ResourceVersion = "32"
	must(t, keys.Update(refusedBy))
	says("32", first, second)
	changed(false)

	third, fourth := awaited(3*time.Second, "33"), awaited(4*time.Second, "34")
	must(t, keys.Update(fourth))
	must(t, keys.Update(third))
	says("33", first, second, third) // the oldest deletions, and no more than was asked for

	lifted := first.DeepCopy()
	lifted.Finalizers, lifted.ResourceVersion = nil, "35"
	must(t, keys.Update(lifted))
	says("35", second, third, fourth)
	second.ResourceVersion = "36"
	must(t, keys.Delete(second))
	says("36", third, fourth)
	must(t, keys.Replace([]any{fourth}, "40"))
	says("40", fourth)
}

// TestAppliedWaitsForWrites: a revocation is not confirmed while a write with the key is past its commit point.
func TestAppliedWaitsForWrites(t *testing.T) {
	x := authn.NewIndex()
	keys, _, feed := authn.Stores(x)
	k, plaintext := minted(t)
	must(t, keys.Add(k))
	flight := new(authn.Flight)
	must(t, authenticator(t, x).AdmitNow(t.Context(), bearer(plaintext), flight))
	writing, finish, committed := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		committed <- authn.Commit(flight.Context(), func(context.Context) error {
			close(writing)
			<-finish
			return nil
		})
	}()
	<-writing
	going := k.DeepCopy()
	authntest.Deleting(going)
	going.Finalizers = []string{v1alpha1.FinalizerRevocation}
	must(t, keys.Update(going))
	<-feed.Changed()
	if _, revoked := feed.Applied(10); len(revoked) != 0 {
		t.Errorf("it confirms %v while a write is under way", revoked)
	}
	close(finish)
	must(t, <-committed)
	<-feed.Changed()
	if _, revoked := feed.Applied(10); !slices.Equal(revoked, []types.UID{k.UID}) {
		t.Errorf("it confirms %v when the write is over", revoked)
	}
	must(t, flight.End())
}
