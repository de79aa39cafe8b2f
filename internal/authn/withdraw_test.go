// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// unaccepted is how an ApiKey tells that no replica accepts its key any more.
func unaccepted(k *v1alpha1.ApiKey) {
	k.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionRevoking, Reason: v1alpha1.ReasonAwaitingCancellation}}
}

// TestWithdrawAgain: what other replicas have queued until all refuse the key is canceled as well, and only then does
// this one say that it is.
func TestWithdrawAgain(t *testing.T) {
	retried := func(k *v1alpha1.ApiKey) { k.Status.Conditions[0].Reason = v1alpha1.ReasonRetrying }
	for _, tc := range []struct {
		reason string
		before []func(*v1alpha1.ApiKey) // step by step, each put
		after  []func(*v1alpha1.ApiKey) // likewise, when all that was to be withdrawn is
		calls  int                      // for these
	}{
		{"nobody has said that no replica accepts it", []func(*v1alpha1.ApiKey){authntest.Deleting}, nil, 0},
		{"all refuse it", []func(*v1alpha1.ApiKey){authntest.Deleting}, []func(*v1alpha1.ApiKey){unaccepted}, 1},
		{"they do, and it is put again", []func(*v1alpha1.ApiKey){authntest.Deleting}, []func(*v1alpha1.ApiKey){unaccepted, awaited}, 1},
		{"and the controller can't let it go", []func(*v1alpha1.ApiKey){authntest.Deleting}, []func(*v1alpha1.ApiKey){unaccepted, retried}, 1},
		{"it had leaked before", []func(*v1alpha1.ApiKey){authntest.Leaked, authntest.Deleting}, []func(*v1alpha1.ApiKey){unaccepted}, 1},
		{"it is a duplicate", []func(*v1alpha1.ApiKey){authntest.Duplicate, authntest.Deleting}, []func(*v1alpha1.ApiKey){unaccepted}, 1},
		{"it is not being deleted", nil, []func(*v1alpha1.ApiKey){unaccepted}, 0},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			x, keys, feed, w := withdrawing()
			k, _ := minted(t, awaited, canceling("true"))
			put := func(mods []func(*v1alpha1.ApiKey)) {
				for _, mod := range mods {
					mod(k)
					must(t, keys.Update(k.DeepCopy()))
				}
			}
			put(tc.before)
			for _, done := range w.dones {
				done()
			}
			if canceled := feed.Canceled(10); len(canceled) != 0 {
				t.Errorf("canceled before all refuse it: %v", canceled)
			}
			before := len(w.keys)
			put(tc.after)
			if got := w.keys[before:]; len(got) != tc.calls || tc.calls > 0 && got[0] != k.UID {
				t.Fatalf("withdrawn: %v, want %s %d times", got, k.UID, tc.calls)
			}
			if canceled := feed.Canceled(10); len(canceled) != 0 {
				t.Errorf("canceled before it is done: %v", canceled)
			}
			drain(feed)
			for _, done := range w.dones[before:] {
				done()
			}
			if changed(feed) != (tc.calls > 0) {
				t.Error("somebody is told that nothing has changed, or nobody that something has")
			}
			if canceled := feed.Canceled(10); len(canceled) != tc.calls || len(feed.Canceled(0)) != 0 {
				t.Errorf("canceled: %v", canceled)
			}
			must(t, keys.Delete(k))
			if canceled := feed.Canceled(10); len(canceled) != 0 {
				t.Errorf("canceled, when it is gone: %v", canceled)
			}
			unheld(t, x, k)
		})
	}
}

// TestWithdrawAgainAtStart: a replica that starts has canceled nothing yet. Another organization's are not behind all
// of one's.
func TestWithdrawAgainAtStart(t *testing.T) {
	_, keys, feed, w := withdrawing()
	var listed []any
	for i, namespace := range []string{"acme", "acme", "globex"} {
		k, _ := minted(t, awaited, canceling("true"), authntest.Deleting, unaccepted)
		k.Namespace, k.UID = namespace, types.UID(fmt.Sprint(i))
		listed = append(listed, authn.ListItem(k))
	}
	must(t, keys.Replace(listed, "7"))
	if canceled := feed.Canceled(10); len(canceled) != 0 {
		t.Errorf("canceled: %v", canceled)
	}
	for i := 0; i < len(w.dones); i++ { // each may bring the next
		w.dones[i]()
	}
	if canceled := feed.Canceled(2); !slices.Equal(canceled, []types.UID{"0", "2"}) {
		t.Errorf("canceled: %v", canceled)
	}
}

// TestWithdrawWithoutAHook: the keys are confirmed as ever, and nothing is canceled.
func TestWithdrawWithoutAHook(t *testing.T) {
	x := authn.NewIndex()
	keys, _, feed := authn.Stores(x)
	k, _ := minted(t, awaited, canceling("true"), authntest.Deleting)
	must(t, keys.Update(k))
	confirms(t, feed, k, true)
	unaccepted(k)
	must(t, keys.Update(k))
	confirms(t, feed, k, true)
	if canceled := feed.Canceled(10); len(canceled) != 0 {
		t.Errorf("canceled: %v", canceled)
	}
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
