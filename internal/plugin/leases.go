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

// controllerLease is that of leader election, controller.Name. It is looked for in the release's namespace, where it is
// unless the controller has been given another one for it (--leader-election-namespace).
const controllerLease = "letmepost-controller"

// ofGates is what the Leases of gates say in place of an environment. It is what cmd/gate registers as.
const ofGates = v1alpha1.Environment("gate")

// leases are those of the controller and of the replicas, by name.
type leases map[string]*coordinationv1.Lease

// checkLeases looks whether a controller leads and whether replicas answer: whether they renew their Leases. It
// compares no clocks, which may differ by anything: it watches each Lease until it is renewed, for as long as it lasts.
//
// A Lease that is gone meanwhile is not waited for: its replica has given it up, as one does that stops in order. An
// error in between only means that the next look has to do; if there is none, it is not known who has renewed what. An
// interrupted wait has found nothing out.
func (p *plugin) checkLeases(ctx context.Context, c *cluster) []finding {
	first, err := c.ourLeases(ctx, p.release)
	if err != nil {
		return p.unseenLeases(err)
	}
	since, last := p.Clock.Now(), first
	for {
		renewed, wait := last.renewedSince(first)
		over := wait == 0 || p.Clock.Since(since) > wait
		switch {
		case over && err != nil:
			return p.unseenLeases(err)
		case over:
			return append(p.findingsOf(last, renewed), p.waitingReports(ctx, c, first, last)...)
		// Twice a second: by default replicas and the leader renew every two, and who is well keeps nobody waiting.
		case !retry.Pause(ctx, lookAgain/2):
			return nil
		}
		var now leases
		if now, err = c.ourLeases(ctx, p.release); err == nil {
			last = now
		}
	}
}

func (p *plugin) unseenLeases(err error) []finding {
	return []finding{{
		unseen, fmt.Sprintf("the controller and the API replicas: %v", err),
		"a role that may list Leases in " + p.release + ", or --release-namespace",
	}}
}

// renewedSince tells which Leases somebody has renewed since the first look, and how long it may take until the others
// are: as long as the Lease with the longest duration lasts; of one that says none, it is the default of package
// revocation. One that was not there at the first look is a new one: its replica has come meanwhile.
func (l leases) renewedSince(first leases) (renewed map[string]bool, wait time.Duration) {
	renewed = map[string]bool{}
	for name, now := range l {
		if before := first[name]; before == nil || !now.Spec.RenewTime.Equal(before.Spec.RenewTime) {
			renewed[name] = true
			continue
		}
		wait = max(wait, time.Duration(ptr.Deref(now.Spec.LeaseDurationSeconds, 15))*time.Second)
	}
	return renewed, wait
}

// ourLeases are those of a namespace that are the controller's or a replica's. Others there are somebody else's: any
// program may have its leader election in that namespace.
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
//
// That no controller leads is known by the Lease alone: one that does without it, or has it in another namespace, can't
// be told from none. It is wrong all the same, because the chart's controllers have their Lease here.
//
// A live or test API that has no replica is a note, and not wrong: an installation need not have both. A late replica
// is one that the controller has marked: it renews its Lease, and so is not counted out, and yet has not confirmed.
func (p *plugin) findingsOf(all leases, renewed map[string]bool) []finding {
	pods := "kubectl get pods -n " + p.release
	var found []finding
	if l := all[controllerLease]; l == nil || ptr.Deref(l.Spec.HolderIdentity, "") == "" || !renewed[l.Name] {
		found = append(found, finding{
			isWrong,
			fmt.Sprintf("no controller leads by the Lease %s of %s; unless one runs without it (--leader-elect=false) or has "+
				"it elsewhere (--leader-election-namespace), nothing is minted, and no revocation is confirmed",
				controllerLease, p.release), pods,
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
