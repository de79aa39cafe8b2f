// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package leak_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// reported is a Reporter, and the keys that were reported to it.
type reported struct {
	*testing.T
	*leak.Reporter
	*authn.Index
	apiKeys map[key.Digest]*v1alpha1.ApiKey
}

func newReported(t *testing.T) *reported {
	r, x := reporter(t)
	return &reported{t, r, x, map[key.Digest]*v1alpha1.ApiKey{}}
}

// report has so many keys of an organization reported, by a caller who does not wait.
func (q *reported) report(organization string, n int) (digests []key.Digest) {
	q.Helper()
	ended, end := context.WithCancel(q.Context())
	end()
	for range n {
		k, s := authntest.Minted(q.T, authntest.Format(q.T), key.Live, authntest.In(organization, organization))
		q.PutKey(k)
		if err := q.Report(ended, s); !errors.Is(err, context.Canceled) {
			q.Fatal(err)
		}
		digests = append(digests, key.DigestOf(s))
		q.apiKeys[key.DigestOf(s)] = k
	}
	return digests
}

// stand is how many reports of each organization stand on a Lease with so much room.
func (q *reported) stand(limit int) (reports []revocation.Report, each map[string]int) {
	q.Helper()
	reports, _ = q.Take(limit)
	each = map[string]int{}
	for _, one := range reports {
		each[one.Namespace]++
	}
	if len(reports) > limit {
		q.Fatalf("%d reports on a Lease with room for %d", len(reports), limit)
	}
	return reports, each
}

// TestTurns: whatever others have reported before, who comes next finds a place; and what stands stays.
func TestTurns(t *testing.T) {
	q := newReported(t)
	q.report("acme", 10_001) // and nobody is refused for it
	first, each := q.stand(64)
	if each["acme"] != 16 {
		t.Fatalf("one organization alone has %d places, want a quarter", each["acme"])
	}
	for n := range 32 { // each of 32 others brings more than there is room for
		name := fmt.Sprint("other-", n)
		q.report(name, 100)
		reports, each := q.stand(64)
		if each[name] == 0 {
			t.Fatalf("organization %d finds no place: %v", n, each)
		}
		for _, one := range first {
			if !slices.Contains(reports, one) {
				t.Fatal("what stood on the Lease is not there any more, though nobody has settled it")
			}
		}
	}
}

// TestTurnsGoOn: with more organizations than places, each gets as many as the others, whoever has most.
func TestTurnsGoOn(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	q := newReported(t)
	given := map[string]int{}
	for n := range 20 {
		q.report(fmt.Sprint("org-", n), 10+10*(n%3))
	}
	for step := range 150 {
		reports, _ := q.stand(8)
		if step > 20 && len(reports) < 8 {
			t.Fatalf("step %d: %d places are used", step, len(reports))
		}
		settled := reports[dice.IntN(len(reports))]
		given[settled.Namespace]++
		q.PutLeak(leakedKey(settled.Digest))
		q.RemoveKey(q.apiKeys[settled.Digest])
	}
	for n := range 20 {
		if times := given[fmt.Sprint("org-", n)]; times < 4 || times > 11 {
			t.Errorf("of 150 turns among 20 organizations, one had %d: %v", times, given)
		}
	}
}

// TestGone: keys that are not here take no places, and have their turn when they come back. Of those of one
// organization, a thousand are remembered.
func TestGone(t *testing.T) {
	q := newReported(t)
	gone := q.report("acme", 1500)
	q.report("globex", 1)
	for _, d := range gone {
		q.RemoveKey(q.apiKeys[d])
	}
	for range 50 {
		if reports, each := q.stand(64); len(reports) != 1 {
			t.Fatalf("places: %v", each)
		}
	}
	remembered := 0
	for _, d := range gone {
		if reported, _ := q.LeakOf(d); reported {
			remembered++
			q.PutKey(q.apiKeys[d])
		}
	}
	if remembered != 1000 {
		t.Errorf("%d reports are remembered", remembered)
	}
	settled := 0
	for range 100 {
		reports, _ := q.stand(64)
		for _, one := range reports {
			q.PutLeak(leakedKey(one.Digest))
			settled++
		}
	}
	if settled != remembered+1 || q.Unsettled() != 0 {
		t.Errorf("%d were settled, %d are left", settled, q.Unsettled())
	}
}

// TestMoved: a key that two organizations have stands for both; one that another one has by now, for that one.
func TestMoved(t *testing.T) {
	bring := func(organization, plaintext string) *v1alpha1.ApiKey {
		k, _ := authntest.Minted(t, authntest.Format(t), key.Live, authntest.In(organization, organization))
		k.Status.Hash = key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(organization)).String()
		k.Spec.SecretHash, k.UID = k.Status.Hash, types.UID(organization+"-brought")
		return k
	}
	_, s := authntest.Minted(t, authntest.Format(t), key.Live)
	q := newReported(t)
	acme, globex := bring("acme", s), bring("globex", s)
	q.PutKey(acme)
	q.PutKey(globex)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := q.Report(ended, s); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, each := q.stand(10); each["acme"] != 1 || each["globex"] != 1 {
		t.Errorf("both have it: %v", each)
	}
	q.RemoveKey(acme)
	if reports, each := q.stand(10); each["globex"] != 1 || len(reports) != 1 {
		t.Errorf("one of them has it, and a place of its own already: %v", each)
	}
	q.PutKey(acme)
	q.RemoveKey(globex)
	q.RemoveKey(acme)
	if reports, _ := q.stand(10); len(reports) > 0 {
		t.Errorf("nobody has it: %v", reports)
	}
	q.PutKey(bring("initech", s))
	q.stand(10) // finds out where it is
	if reports, each := q.stand(10); each["initech"] != 1 || len(reports) != 1 {
		t.Errorf("another one has it: %v", reports)
	}
}

// TestForgivenAtOnce: a report is settled by a LeakedKey that has come and gone before anybody looked.
func TestForgivenAtOnce(t *testing.T) {
	q := newReported(t)
	d := q.report("acme", 1)[0]
	q.stand(10)
	q.PutLeak(leakedKey(d))
	q.RemoveLeak(leakedKey(d))
	if reports, _ := q.stand(10); len(reports) > 0 {
		t.Error("what was forgiven is reported again")
	}
}
