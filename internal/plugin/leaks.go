// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

const leakedKeys = "leakedkeys"

// leakedFinding is of a key that has leaked and whose ApiKey stays. It is pure.
func leakedFinding(k *v1alpha1.ApiKey) finding {
	what := k.Namespace + "/" + k.Name + " has leaked, and is refused for good"
	if progress := progressOf(k); progress != "" {
		what += ": " + progress
	}
	return finding{isWrong, what, fmt.Sprintf(
		"mint another key, take this one out of where it is applied from, and then: kubectl letmepost revoke %s -n %s",
		k.Name, k.Namespace,
	)}
}

// checkLeaks counts the keys that have leaked, in the release's namespace. Which they are is not said: the names of
// LeakedKeys are whole digests. That there are some is in order: they are refused, and each has its finding if its
// ApiKey stays.
func (p *plugin) checkLeaks(ctx context.Context, c *cluster) []finding {
	options := metav1.ListOptions{Limit: page}
	count := int64(0)
	for {
		list := new(v1alpha1.LeakedKeyList)
		err := c.keys.Get().Namespace(p.release).Resource(leakedKeys).VersionedParams(&options, c.codec).Do(ctx).Into(list)
		switch {
		case err != nil && isUnserved(err): // which is another finding
			return nil
		case err != nil:
			return []finding{{unseen, fmt.Sprintf("keys that have leaked: %v", err), ""}}
		}
		// Counted page by page: remainingItemCount of the first one may be left out, and is no exact number.
		count += int64(len(list.Items))
		switch options.Continue = list.Continue; {
		case options.Continue != "":
		case count == 0:
			return []finding{{fine, "no key has leaked", ""}}
		default:
			return []finding{{fine, fmt.Sprintf("keys that have leaked, and are refused whatever brings them: %d", count), ""}}
		}
	}
}

// waitingReports are the reports of leaked keys that the controller has not settled: those that stood on a Lease at the
// first look and still do, and of which there is no LeakedKey. It settles a report in no time; a replica takes a
// settled one off its Lease with the next renewal, and one that is gone never does. The finding has their number, and
// never what is reported: a report holds the whole digest.
func (p *plugin) waitingReports(ctx context.Context, c *cluster, first, last leases) (found []finding) {
	for _, name := range slices.Sorted(maps.Keys(last)) {
		if first[name] == nil {
			continue
		}
		before, waiting := revocation.ReportsOn(first[name]), 0
		for _, r := range revocation.ReportsOn(last[name]) {
			if slices.Contains(before, r) && !p.isSettled(ctx, c, r) {
				waiting++
			}
		}
		if waiting > 0 {
			found = append(found, finding{
				isWrong,
				fmt.Sprintf("reports of leaked keys that wait on the Lease %s: %d. Until the controller takes them, "+
					"other replicas accept these keys", name, waiting),
				"kubectl get pods -n " + p.release + ", and the log of the controller",
			})
		}
	}
	return found
}

// isSettled tells whether there is a LeakedKey of what was reported. Who may not look is told so by checkLeaks. Any
// error but "not found" counts as settled: what could not be looked at is not to be called wrong.
func (p *plugin) isSettled(ctx context.Context, c *cluster, r revocation.Report) bool {
	err := c.keys.Get().Namespace(p.release).Resource(leakedKeys).Name(r.Digest.Hex()).Do(ctx).Error()
	return !apierrors.IsNotFound(err)
}
