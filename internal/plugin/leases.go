// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/retry"
)

// controllerLease is that of leader election, where it has not been given another name.
const controllerLease = "letmepost-controller"

// ofGates is what the Leases of gates say in place of an environment.
const ofGates = v1alpha1.Environment("gate")

// leases are those of the controller and of the replicas, by name.
type leases map[string]*coordinationv1.Lease

// checkLeases looks whether a controller leads and whether replicas answer: whether they renew their Leases. It
// compares no clocks, which may differ by anything: it watches each Lease until it is renewed, for as long as it lasts.
func (p *plugin) checkLeases(ctx context.Context, c *cluster) []finding {
	first, err := c.ourLeases(ctx, p.release)
	if err != nil {
		return []finding{{
			unseen, fmt.Sprintf("the controller and the API replicas: %v", err),
			"a role that may list Leases in " + p.release + ", or --release-namespace",
		}}
	}
	since, last := p.Clock.Now(), first
	renewed := map[string]bool{}
	for {
		wait := time.Duration(0)
		for name, l := range first {
			if now, there := last[name]; !there || !now.Spec.RenewTime.Equal(l.Spec.RenewTime) {
				renewed[name] = true
			} else if !renewed[name] {
				wait = max(wait, time.Duration(ptr.Deref(l.Spec.LeaseDurationSeconds, 15))*time.Second)
			}
		}
		if wait == 0 || p.Clock.Since(since) > wait || !retry.Pause(ctx, lookAgain/2) {
			break
		}
		if now, err := c.ourLeases(ctx, p.release); err == nil {
			last = now
		}
	}
	return append(p.findingsOf(last, renewed), p.waitingReports(ctx, c, first, last)...)
}

func (c *cluster) ourLeases(ctx context.Context, namespace string) (leases, error) {
	list, err := c.leases.Leases(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	ours := leases{}
	for i := range list.Items {
		l := &list.Items[i]
		if l.Name == controllerLease || l.Labels[v1alpha1.LabelReplica] != "" {
			ours[l.Name] = l
		}
	}
	return ours, nil
}

// findingsOf says of each Lease what it tells, the controller's first, then by name.
func (p *plugin) findingsOf(all leases, renewed map[string]bool) []finding {
	pods := "kubectl get pods -n " + p.release
	var found []finding
	if l := all[controllerLease]; l == nil || ptr.Deref(l.Spec.HolderIdentity, "") == "" || !renewed[l.Name] {
		found = append(found, finding{
			isWrong,
			"no controller leads: nothing is minted, and no revocation is confirmed", pods,
		})
	} else {
		found = append(found, finding{fine, "the controller leads: " + *l.Spec.HolderIdentity, ""})
	}
	replicas := map[v1alpha1.Environment]int{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		l := all[name]
		environment := l.Labels[v1alpha1.LabelReplica]
		who := fmt.Sprintf("%s replica %s (%s)", environment, name, ptr.Deref(l.Spec.HolderIdentity, ""))
		switch late := l.Annotations[v1alpha1.AnnotationAwaited] != ""; {
		case environment == "":
		case !renewed[name]:
			found = append(found, finding{
				isWrong,
				who + " does not renew its Lease: it is gone, or fenced and answers 503 to everybody", pods,
			})
		case late:
			found = append(found, finding{
				isWrong,
				who + " is late: a revocation waits for it", "kubectl logs -n " + p.release + " POD",
			})
		default:
			replicas[v1alpha1.Environment(environment)]++
		}
	}
	for _, e := range []v1alpha1.Environment{v1alpha1.EnvironmentLive, v1alpha1.EnvironmentTest} {
		if n := replicas[e]; n > 0 {
			found = append(found, finding{fine, fmt.Sprintf("%s: API replicas that answer: %d", e, n), ""})
		} else {
			found = append(found, finding{note, fmt.Sprintf("%s: no API replica answers", e), pods})
		}
	}
	if n := replicas[ofGates]; n > 0 { // an installation need not have any
		found = append(found, finding{fine, fmt.Sprintf("gates that answer: %d", n), ""})
	}
	return found
}
