// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
)

// withdrawals is a hook that finishes nothing by itself.
type withdrawals struct {
	keys  []types.UID
	dones []func()
}

func (w *withdrawals) hook(x *authn.Index) func(*authn.Key, func()) {
	return func(k *authn.Key, done func()) {
		_ = x.Size() // takes the index's lock
		w.keys = append(w.keys, k.ID())
		w.dones = append(w.dones, done)
	}
}

func canceling(value string) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: value, "example.com/other": "true"}
	}
}

func awaited(k *v1alpha1.ApiKey) { k.Finalizers = []string{v1alpha1.FinalizerRevocation} }

// withdrawing is an index whose keys are withdrawn by nobody but the test.
func withdrawing() (*authn.Index, cache.ReflectorStore, *authn.Feed, *withdrawals) {
	x, w := authn.NewIndex(), new(withdrawals)
	keys, _, feed := authn.Stores(x)
	x.OnWithdraw(w.hook(x))
	return x, keys, feed, w
}

// TestWithdraw: which keys are withdrawn, and that the replica confirms none of them before that is done.
func TestWithdraw(t *testing.T) {
	for _, tc := range []struct {
		reason string
		mods   []func(*v1alpha1.ApiKey) // step by step, each put
		calls  int
	}{
		{"it is served", []func(*v1alpha1.ApiKey){awaited, canceling("true")}, 0},
		{"deleted without the annotation", []func(*v1alpha1.ApiKey){awaited, authntest.Deleting}, 0},
		{"deleted with another word for true", []func(*v1alpha1.ApiKey){awaited, canceling("Yes "), authntest.Deleting}, 1},
		{"deleted with a word for false", []func(*v1alpha1.ApiKey){awaited, canceling("no"), authntest.Deleting}, 0},
		{"annotated, then deleted", []func(*v1alpha1.ApiKey){awaited, canceling("true"), authntest.Deleting}, 1},
		{"deleted, then annotated", []func(*v1alpha1.ApiKey){awaited, authntest.Deleting, canceling("true")}, 1},
		{"put again and again", []func(*v1alpha1.ApiKey){awaited, authntest.Deleting, canceling("true"), awaited, awaited}, 1},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			x, keys, feed, w := withdrawing()
			k, _ := minted(t)
			for _, mod := range tc.mods {
				mod(k)
				must(t, keys.Update(k.DeepCopy()))
			}
			if len(w.keys) != tc.calls {
				t.Fatalf("withdrawn %d times, want %d", len(w.keys), tc.calls)
			}
			if tc.calls > 0 {
				if w.keys[0] != k.UID {
					t.Errorf("%s is withdrawn, want %s", w.keys[0], k.UID)
				}
				confirms(t, feed, k, false)
				drain(feed)
				w.dones[0]()
				if !changed(feed) {
					t.Error("nobody is told that the key may be confirmed now")
				}
				w.dones[0]() // does no harm
			}
			confirms(t, feed, k, k.DeletionTimestamp != nil)
			must(t, keys.Delete(k))
			unheld(t, x, k)
		})
	}
}

// TestWithdrawAtStart: a key that is first seen when it is being deleted, by a list.
func TestWithdrawAtStart(t *testing.T) {
	x, keys, feed, w := withdrawing()
	k, _ := minted(t, awaited, canceling("true"), authntest.Deleting)
	other, _ := minted(t, awaited, authntest.Deleting)
	listed := []any{authn.ListItem(k), authn.ListItem(other)}
	must(t, keys.Replace(slices.Clone(listed), "7"))
	if !slices.Equal(w.keys, []types.UID{k.UID}) {
		t.Fatalf("withdrawn: %v, want %v", w.keys, k.UID)
	}
	confirms(t, feed, k, false)
	confirms(t, feed, other, true)
	must(t, keys.Replace(listed, "8"))
	if len(w.keys) != 1 {
		t.Error("a second list withdraws it once more")
	}
	// It goes away before it is done with.
	must(t, keys.Replace(nil, "9"))
	w.dones[0]()
	unheld(t, x, k)
}

// TestWithdrawWithoutAHook: the keys are confirmed as ever.
func TestWithdrawWithoutAHook(t *testing.T) {
	x := authn.NewIndex()
	keys, _, feed := authn.Stores(x)
	k, _ := minted(t, awaited, canceling("true"), authntest.Deleting)
	must(t, keys.Update(k))
	confirms(t, feed, k, true)
}

// TestWithdrawDoneAtOnce: a hook that has nothing to do may say so before it returns.
func TestWithdrawDoneAtOnce(t *testing.T) {
	x := authn.NewIndex()
	keys, _, feed := authn.Stores(x)
	x.OnWithdraw(func(_ *authn.Key, done func()) { done() })
	k, _ := minted(t, awaited, canceling("true"), authntest.Deleting)
	must(t, keys.Update(k))
	confirms(t, feed, k, true)
}

// TestWithdrawWaitsForWrites: what a running write still queues must be there when the key is withdrawn.
func TestWithdrawWaitsForWrites(t *testing.T) {
	for _, removed := range []bool{false, true} {
		k, s := minted(t, awaited)
		x, w := newFlying(t, k), new(withdrawals)
		told := 0
		x.OnCommitsOver(func() { told++ })
		x.OnWithdraw(w.hook(x.Index))
		f, ctx := x.begin(t, s)
		other, otherCtx := x.begin(t, s)
		leaked := k.DeepCopy()
		canceling("true")(leaked)
		authntest.Deleting(leaked)
		must(t, authn.Commit(ctx, func(context.Context) error {
			return authn.Commit(otherCtx, func(context.Context) error {
				x.PutKey(leaked)
				if removed {
					x.RemoveKey(leaked)
				}
				if len(w.keys) != 0 {
					t.Error("the key is withdrawn while two writes of it run")
				}
				return nil
			})
		}))
		if len(w.keys) != 1 || !x.Committing(k.UID) {
			t.Fatalf("after the last write it is withdrawn %d times, committing: %v", len(w.keys), x.Committing(k.UID))
		}
		before := told
		w.dones[0]()
		if told != before+1 {
			t.Errorf("commitsOver is called %d times, want once", told-before)
		}
		unheld(t, x.Index, k)
		_, _ = f.End(), other.End()
	}
}

func confirms(t *testing.T, feed *authn.Feed, k *v1alpha1.ApiKey, want bool) {
	t.Helper()
	if _, revoked := feed.Applied(10); slices.Contains(revoked, k.UID) != want {
		t.Errorf("the replica names %v, want %s among them: %v", revoked, k.UID, want)
	}
}

func changed(feed *authn.Feed) bool {
	select {
	case <-feed.Changed():
		return true
	default:
		return false
	}
}

func drain(feed *authn.Feed) { changed(feed) }

// unheld checks that nothing counts as a write of k any more, nor waits for one.
func unheld(t *testing.T, x *authn.Index, k *v1alpha1.ApiKey) {
	t.Helper()
	if commits, waiting := x.Writes(); commits != 0 || waiting != 0 || x.Committing(k.UID) {
		t.Errorf("%d keys have a write running, %d wait for one", commits, waiting)
	}
}
