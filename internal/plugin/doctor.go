// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// How a finding is. Only what is wrong decides the exit status: what could not be looked at may be in order.
const (
	fine    = "ok"
	note    = "note"
	unseen  = "can't look"
	isWrong = "WRONG"
)

// finding is something that doctor has seen. The zero finding is none.
type finding struct {
	how, what string // how is one of those above
	remedy    string // a command, or what to do
}

// doctor is the verb. It needs no right at all, and says of each thing that it may not look at that it can't. To see
// all of it takes a role that may list ApiKeys, and in the release's namespace Leases and LeakedKeys.
func (p *plugin) doctor() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with an installation, and what mends it",
		Long: "Look at the resources, the controller, the replicas, your permissions, the keys of a namespace and those\n" +
			"that have leaked, and say what is wrong and the command that mends it. It changes nothing. Exit status 5:\n" +
			"something is wrong.",
		Example: "  kubectl letmepost doctor\n  kubectl letmepost doctor -A",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			if all {
				c.namespace = ""
			}
			return p.runDoctor(cmd.Context(), c)
		},
	}
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "look at the keys of all namespaces")
	return cmd
}

// runDoctor goes through all checks, whatever one of them finds: who mends things mends them together. Only what is
// wrong makes it fail. What one may not look at is how it is meant for most people. Each check's findings are printed
// as they come, so that nobody waits for the Leases to read the rest. Those of a check that was interrupted are not: it
// may have taken what it did not get to see for wrong.
func (p *plugin) runDoctor(ctx context.Context, c *cluster) error {
	wrong := 0
	for _, check := range []func(context.Context, *cluster) []finding{
		p.checkServed, p.checkRights, p.checkKeys, p.checkLeaks,
		p.checkLeases, // which may take as long as a Lease lasts
	} {
		found := check(ctx, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, f := range found {
			fmt.Fprintf(p.Out, "%-10s  %s\n", f.how, f.what)
			if f.remedy != "" {
				fmt.Fprintf(p.Out, "%-10s  -> %s\n", "", f.remedy)
			}
			if f.how == isWrong {
				wrong++
			}
		}
	}
	if wrong > 0 {
		return unhealthyError{fmt.Errorf("things to mend: %d", wrong)}
	}
	return nil
}

// checkRights says what the caller may not do with keys here. That may well be as it is meant. Rights to Pods and
// Secrets are left out, and so is the one to choose names of Secrets: people work with keys without them. The remedy
// names the first word of a deed's role.
func (p *plugin) checkRights(ctx context.Context, c *cluster) []finding {
	others := func(d deed) bool { return d.group != group || d.subresource == "secrets" }
	of := slices.DeleteFunc(slices.Clone(deeds), others)
	may, err := c.rights(ctx, of)
	if err != nil {
		return []finding{{unseen, err.Error(), ""}}
	}
	var found []finding
	for i, d := range of {
		if !may[i] {
			found = append(found, finding{note, "you may not " + d.name, fmt.Sprintf(
				"an administrator: kubectl create rolebinding NAME -n %s --clusterrole=%s --user=YOU",
				cmp.Or(c.namespace, "NAMESPACE"), strings.Fields(d.role)[0])})
		}
	}
	if len(found) == 0 {
		found = append(found, finding{fine, "you may see, mint and revoke keys", ""})
	}
	return found
}

// checkKeys looks for keys that wait for a person, or for somebody who does not come. Keys that are in order are only
// counted: with thousands of them, nobody would find the others.
func (p *plugin) checkKeys(ctx context.Context, c *cluster) []finding {
	list, err := c.list(ctx, c.namespace, "")
	if err != nil {
		return []finding{{unseen, fmt.Sprintf("keys: %v", err), ""}}
	}
	var found []finding
	for i := range list.Items {
		if f := checkKey(&list.Items[i], p.release); f.how != "" {
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		found = append(found, finding{fine, fmt.Sprintf("keys: %d, none of which waits for anybody", len(list.Items)), ""})
	}
	return found
}

// checkKey is pure. The zero finding is of a key that is in order. release is the namespace of the installation.
//
// A deletion under way is wrong as soon as the controller names whom it waits for, since it is not over until they
// confirm. One that its finalizer no longer holds is confirmed, or unconfirmed for good; that it is still there is up
// to others. That a key has expired is no matter for doctor by itself: the controller says so by Stalled, and this
// machine's clock is not asked.
//
// The order matters. A deletion comes first, since Ready may still tell of the time before it. A key that has leaked is
// stalled as well, and has a remedy of its own. That one is stalled comes before its finalizer: a running controller
// puts that back, and only a person mends the other.
func checkKey(k *v1alpha1.ApiKey, release string) finding {
	name, pods := k.Namespace+"/"+k.Name, "kubectl get pods -n "+release
	held := slices.Contains(k.Finalizers, v1alpha1.FinalizerRevocation)
	switch {
	case !k.DeletionTimestamp.IsZero() && held && progressOf(k) != "":
		return finding{
			isWrong, name + " is being deleted: " + progressOf(k),
			pods + "; a replica that is stopped is counted out after its Lease (docs/revocation.md)",
		}
	case !k.DeletionTimestamp.IsZero() && !held:
		// All of them may be taken off together: the one that a policy guards (revocation-guard) is not among them.
		return finding{
			isWrong, name + " is revoked, and held by finalizers of others: " + strings.Join(k.Finalizers, ", "),
			fmt.Sprintf(`ask whoever has put them on it; if nobody has: kubectl patch %s -n %s --type=merge `+
				`-p '{"metadata":{"finalizers":null}}'`, nameOf(k), k.Namespace),
		}
	case !k.DeletionTimestamp.IsZero():
		return finding{note, name + " is being deleted", ""}
	case stateOf(k, time.Time{}) == v1alpha1.ReasonLeaked:
		return leakedFinding(k)
	case meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionStalled):
		return finding{
			isWrong, name + " is not served: " + whyNot(k),
			fmt.Sprintf("kubectl describe %s -n %s", nameOf(k), k.Namespace),
		}
	case k.Status.Hash != "" && !held:
		return finding{
			isWrong, name + " lacks the finalizer " + v1alpha1.FinalizerRevocation + ": its revocation can't be confirmed",
			"a running controller puts it back: " + pods,
		}
	default:
		return finding{}
	}
}
