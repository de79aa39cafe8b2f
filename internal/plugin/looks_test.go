// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// leaseOf is a Lease of a second that was renewed at some time.
func leaseOf(name string, renewed int64, labels map[string]string) coordinationv1.Lease {
	return coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("holder"), LeaseDurationSeconds: ptr.To[int32](1),
			RenewTime: &metav1.MicroTime{Time: time.Unix(renewed, 0)},
		},
	}
}

// doctorThatSees has what an apiserver shows at each look at its Leases; nil: it is away. The real one can't be had to
// change between two looks, and not before or after them.
func doctorThatSees(t *testing.T, look func(n int64) []coordinationv1.Lease) (*plugin, *cluster) {
	t.Helper()
	looks := new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		seen := look(looks.Add(1))
		if seen == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(coordinationv1.LeaseList{
			TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "LeaseList"}, Items: seen,
		})
	}))
	t.Cleanup(server.Close)
	leases, err := coordinationclient.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	p := &plugin{Options: Options{Clock: clock.RealClock{}}, release: "letmepost-system"}
	return p, &cluster{leases: leases}
}

// TestLooks: what changes while doctor waits for Leases to be renewed, and what it then may say.
func TestLooks(t *testing.T) {
	replica := map[string]string{v1alpha1.LabelReplica: "test"}
	gone := leaseOf("letmepost-api-test-gone", 1, replica)
	const stale = "WRONG: test replica letmepost-api-test-gone (holder) does not renew its Lease: " +
		"it is gone, or fenced and answers 503 to everybody"
	const away = "can't look: the controller and the API replicas: " +
		"the server is currently unable to handle the request (get leases.coordination.k8s.io)"
	const noLeader = "WRONG: no controller leads by the Lease letmepost-controller of letmepost-system; " +
		"unless one runs without it (--leader-elect=false) or has it elsewhere (--leader-election-namespace), " +
		"nothing is minted, and no revocation is confirmed"
	for _, c := range []struct {
		reason string
		look   func(n int64) []coordinationv1.Lease
		want   []string
	}{
		{"a controller, a replica and a gate start meanwhile", func(n int64) []coordinationv1.Lease {
			if n == 1 {
				return []coordinationv1.Lease{gone}
			}
			return []coordinationv1.Lease{
				gone, leaseOf(controllerLease, 7, nil), leaseOf("letmepost-api-test-new", 7, replica),
				leaseOf("letmepost-gate-new", 7, map[string]string{v1alpha1.LabelReplica: "gate"}),
			}
		}, []string{
			"ok: the controller leads: holder", stale, "note: live: no API replica answers",
			"ok: test: API replicas that answer: 1", "ok: gates that answer: 1",
		}},
		{"no controller has a Lease", func(n int64) []coordinationv1.Lease {
			return []coordinationv1.Lease{leaseOf("letmepost-api-test-alive", n, replica)}
		}, []string{noLeader, "note: live: no API replica answers", "ok: test: API replicas that answer: 1"}},
		{"a controller that ended has given up its Lease", func(n int64) []coordinationv1.Lease {
			given := leaseOf(controllerLease, 1, nil)
			given.Spec.HolderIdentity = ptr.To("")
			return []coordinationv1.Lease{given, leaseOf("letmepost-api-test-alive", n, replica)}
		}, []string{noLeader, "note: live: no API replica answers", "ok: test: API replicas that answer: 1"}},
		{"the apiserver goes", func(n int64) []coordinationv1.Lease {
			if n == 1 {
				return []coordinationv1.Lease{gone, leaseOf(controllerLease, 1, nil)}
			}
			return nil
		}, []string{away}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			p, cluster := doctorThatSees(t, c.look)
			var got []string
			for _, f := range p.checkLeases(t.Context(), cluster) {
				got = append(got, f.how+": "+f.what)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("it says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestInterruptedLook: of what Ctrl-C kept from being seen, nothing is said to be wrong.
func TestInterruptedLook(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	p, cluster := doctorThatSees(t, func(n int64) []coordinationv1.Lease {
		if n == 2 {
			interrupt()
		}
		return []coordinationv1.Lease{leaseOf(controllerLease, 1, nil), leaseOf("letmepost-gate-any", 1, map[string]string{
			v1alpha1.LabelReplica: "gate",
		})}
	})
	if found := p.checkLeases(ctx, cluster); len(found) > 0 {
		t.Errorf("it says %v", found)
	}
}

// TestScopesByDefault: a key for which no scopes are named has those that the cluster's version knows, and not those of
// this program's.
func TestScopesByDefault(t *testing.T) {
	k, err := (&mintOptions{environment: "test"}).key("backend", "acme", time.Unix(0, 0))
	if err != nil || k.Spec.Scopes != nil {
		t.Errorf("%v, %v", k.Spec.Scopes, err)
	}
}
