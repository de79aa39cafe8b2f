// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package leak_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/leak"
)

func reporter(t *testing.T, keys ...*v1alpha1.ApiKey) (*leak.Reporter, *authn.Index) {
	t.Helper()
	x := authn.NewIndex()
	for _, k := range keys {
		x.PutKey(k)
	}
	return leak.New(leak.Options{
		Index: x, Format: authntest.Format(t), Loaded: func() bool { return true }, Clock: clock.RealClock{},
	}), x
}

// TestReport: all who report something are answered when the Lease has been written after that, and not before;
// whatever it was that they have reported.
func TestReport(t *testing.T) {
	format := authntest.Format(t)
	k, real := authntest.Minted(t, format, key.Live)
	_, unknown := authntest.Minted(t, format, key.Live)
	_, elsewhere := authntest.Minted(t, format, key.Test)
	for _, tc := range []struct{ reason, key string }{
		{"a key", real},
		{"no key of anybody", unknown},
		{"nor of the other environment", elsewhere},
		{"no key at all", "hello"},
		{"nothing", ""},
		{"a long text", string(make([]byte, 100_000))},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := reporter(t, k)
				// A write that was begun before the report is none of its business.
				_, before := r.Take(10)
				answered := make(chan error, 1)
				go func() { answered <- r.Report(t.Context(), tc.key) }()
				<-r.Due()
				synctest.Wait()
				before()
				synctest.Wait()
				if len(answered) > 0 {
					t.Fatal("answered before the Lease was written")
				}
				reports, told := r.Take(10)
				if want := tc.key == real; (len(reports) == 1) != want {
					t.Errorf("to be reported: %d keys", len(reports))
				}
				told()
				if err := <-answered; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestReportsWait: with more reports than a Lease has room for, each stands on it in its turn, and its caller waits for
// that. While nobody writes the Lease, they are answered all the same after some seconds.
func TestReportsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys []*v1alpha1.ApiKey
		var texts []string
		for range 5 {
			k, s := authntest.Minted(t, authntest.Format(t), key.Live)
			keys, texts = append(keys, k), append(texts, s)
		}
		r, x := reporter(t, keys...)
		answered := make(chan error, len(texts))
		for _, s := range texts {
			go func() { answered <- r.Report(t.Context(), s) }()
			synctest.Wait()
		}
		left := len(texts)
		for _, room := range []int{2, 2, 1} { // alone, an organization has a quarter of the Lease
			reports, told := r.Take(8)
			if len(reports) != room {
				t.Fatalf("on the Lease: %d, want %d", len(reports), room)
			}
			told()
			for range room {
				if err := <-answered; err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
			if len(answered) > 0 {
				t.Fatal("somebody was answered whose report is not on the Lease")
			}
			for len(r.Due()) > 0 {
				<-r.Due()
			}
			for _, one := range reports { // as the controller has settled them
				x.PutLeak(leakedKey(one.Digest))
			}
			if left -= room; (len(r.Due()) > 0) != (left > 0) {
				t.Errorf("with %d reports left, the Lease is due to be written: %t", left, left == 0)
			}
		}
		if reports, _ := r.Take(8); len(reports) > 0 || r.Unsettled() > 0 {
			t.Errorf("%d reports are left that have been settled", len(reports))
		}

		k, s := authntest.Minted(t, authntest.Format(t), key.Test)
		x.PutKey(k)
		began := time.Now()
		if err := r.Report(t.Context(), s); err != nil || time.Since(began) == 0 {
			t.Errorf("Report = %v after %s", err, time.Since(began))
		}
		if reports, _ := r.Take(2); len(reports) != 1 {
			t.Error("what was answered without the apiserver is not reported later")
		}
	})
}

// TestFlood: what is reported of keys that nobody has leaves nothing behind.
func TestFlood(t *testing.T) {
	r, _ := reporter(t)
	ended, end := context.WithCancel(t.Context())
	end() // nobody waits
	for i := range 100_000 {
		if err := r.Report(ended, fmt.Sprintf("lmp_live_%d", i)); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if reports, _ := r.Take(10); len(reports) > 0 {
		t.Error("keys that nobody has are reported")
	}
}

// leakedKey is what the controller makes of a report.
func leakedKey(d key.Digest) *v1alpha1.LeakedKey {
	return &v1alpha1.LeakedKey{ObjectMeta: metav1.ObjectMeta{Name: d.Hex(), UID: types.UID(d.Hex())}}
}

// TestNotLoaded: before all keys are known, a key that exists would pass for one that does not.
func TestNotLoaded(t *testing.T) {
	r := leak.New(leak.Options{
		Index: authn.NewIndex(), Format: authntest.Format(t), Loaded: func() bool { return false }, Clock: clock.RealClock{},
	})
	if err := r.Report(t.Context(), "hello"); !errors.Is(err, leak.ErrUnavailable) {
		t.Errorf("Report = %v", err)
	}
}

// TestLearn: who may be told is told which of the keys there are.
func TestLearn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, real := authntest.Minted(t, authntest.Format(t), key.Test)
		r, _ := reporter(t, k)
		known, err := r.Learn(t.Context(), "hello", real)
		if err != nil || !slices.Equal(known, []bool{false, true}) {
			t.Errorf("Learn = %v, %v", known, err)
		}
	})
}
