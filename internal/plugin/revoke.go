// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// atOnce is how many deletions are asked for together: many keys that have leaked are to be refused soon.
const atOnce = 16

// revokeOptions are the flags of revoke. The zero value asks for a deletion that cancels nothing: that of rotate.
type revokeOptions struct {
	selector        string
	dryRun          bool
	cancelScheduled bool
	timeout         time.Duration
}

// revoke is the verb. It takes the rights to get ApiKeys (with -l, to list them), to delete them, and to list and watch
// them for the confirmation; --cancel-scheduled also takes patch. It deletes keys one by one, and never by
// deletecollection, which the chart's roles don't have.
func (p *plugin) revoke() *cobra.Command {
	o := &revokeOptions{}
	cmd := &cobra.Command{
		Use:        "revoke NAME... | -l SELECTOR",
		SuggestFor: []string{"delete", "rm"},
		Short:      "Revoke keys, and wait until no API replica accepts them any more",
		Long: "Revoke keys: their ApiKeys are deleted, and their Secrets with them. It waits until every API replica has\n" +
			"confirmed that it refuses them, and says so by its exit status: 0 is confirmed.",
		Example: "  kubectl letmepost revoke backend -n acme\n" +
			"  kubectl letmepost revoke -l team=web -n acme --dry-run\n" +
			"  kubectl letmepost revoke backend -n acme --cancel-scheduled   # it has leaked",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			switch {
			case cmd.Flags().Changed("selector") && o.selector == "":
				return usage("-l selects by labels: an empty selector would revoke all keys of the namespace")
			case (len(names) == 0) == (o.selector == ""):
				return usage("say which keys: either their names, or -l and their labels")
			}
			return p.runRevoke(cmd.Context(), c, names, o)
		},
	}
	cmd.Flags().StringVarP(&o.selector, "selector", "l", "",
		"the keys of the namespace with these `labels`, such as team=web")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only say which keys would be revoked, and whether you may")
	cmd.Flags().BoolVar(&o.cancelScheduled, "cancel-scheduled", false, "cancel the posts that the keys have scheduled")
	addTimeout(cmd, &o.timeout, 2*time.Minute,
		"how long to wait for the confirmation; what was asked for goes on after it")
	return cmd
}

func addTimeout(cmd *cobra.Command, d *time.Duration, value time.Duration, help string) {
	cmd.Flags().DurationVar(d, "timeout", value, help)
}

// runRevoke asks for all deletions, then waits for each. It goes on whatever fails for one of the keys, and joins the
// errors: who revokes keys that have leaked wants as many ended as can be. A key counts as revoked, and is printed,
// only when it is confirmed.
func (p *plugin) runRevoke(ctx context.Context, c *cluster, names []string, o *revokeOptions) error {
	keys, missing := c.find(ctx, names, o.selector)
	if len(keys) == 0 {
		if missing == nil {
			p.tell("No key of %s has these labels.", c.namespace)
		}
		return missing
	}
	asked, refused := p.askDeletions(ctx, c, keys, o)
	if o.dryRun {
		return errors.Join(missing, refused)
	}
	// One time for all of them: they are refused side by side, and the wait for the first is one for the others.
	waiting, cancel := context.WithTimeoutCause(ctx, o.timeout, errTimeout)
	defer cancel()
	var unconfirmed []error
	for _, k := range asked {
		if err := p.awaitRevoked(waiting, c, k); err != nil {
			unconfirmed = append(unconfirmed, err)
			continue
		}
		fmt.Fprintf(p.Out, "%s revoked: no replica accepts it any more\n", nameOf(k))
	}
	return errors.Join(errors.Join(unconfirmed...), missing, refused)
}

// find returns the keys of these names, or those that a selector picks. What is not found does not keep the others from
// being revoked. With names, the error joins one for each that could not be had, and the keys that were found come
// beside it. The namespace is always that of the run: nothing is revoked across namespaces.
func (c *cluster) find(ctx context.Context, names []string, selector string) ([]*v1alpha1.ApiKey, error) {
	if selector != "" {
		list, err := c.list(ctx, c.namespace, selector)
		if err != nil {
			return nil, err
		}
		keys := make([]*v1alpha1.ApiKey, len(list.Items))
		for i := range list.Items {
			keys[i] = &list.Items[i]
		}
		return keys, nil
	}
	var keys []*v1alpha1.ApiKey
	var missing []error
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		k, err := c.get(ctx, name)
		if err != nil {
			missing = append(missing, err)
			continue
		}
		keys = append(keys, k)
	}
	return keys, errors.Join(missing...)
}

// askDeletions asks for all deletions before any is waited for. It returns the keys whose deletion is under way. It
// returns only when the apiserver has answered for each; then the deletions stand, whatever becomes of this process.
func (p *plugin) askDeletions(ctx context.Context, c *cluster, keys []*v1alpha1.ApiKey, o *revokeOptions) (
	[]*v1alpha1.ApiKey, error,
) {
	failed := make([]error, len(keys))
	var asking errgroup.Group
	asking.SetLimit(atOnce)
	for i, k := range keys {
		asking.Go(func() error {
			if failed[i] = p.askDeletion(ctx, c, k, o); failed[i] != nil {
				failed[i] = fmt.Errorf("revoke %s: %w", k.Name, failed[i])
			}
			return nil
		})
	}
	_ = asking.Wait() // each has its own error
	var asked []*v1alpha1.ApiKey
	for i, k := range keys {
		switch {
		case failed[i] != nil:
		case o.dryRun:
			fmt.Fprintf(p.Out, "%s would be revoked (%s, %s)\n", nameOf(k), stateOf(k, p.Clock.Now()), k.Status.Hint)
		default:
			asked = append(asked, k)
		}
	}
	return asked, errors.Join(failed...)
}

// askDeletion asks for one. One that is gone by then is as it was to be. The annotation comes before the deletion: the
// other way round, an ApiKey that nothing holds would be gone before it could say that its posts are to be canceled. If
// it can't be set, nothing is deleted, as something else was asked for.
func (p *plugin) askDeletion(ctx context.Context, c *cluster, k *v1alpha1.ApiKey, o *revokeOptions) error {
	if o.cancelScheduled && !o.dryRun {
		err := c.annotate(ctx, k, v1alpha1.AnnotationCancelScheduled, v1alpha1.CancelScheduled)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("have what it has scheduled canceled: %w", err)
		}
	}
	if err := c.delete(ctx, k, o.dryRun); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// awaitRevoked waits until k, whose deletion was asked for, is gone, and says meanwhile whom that waits for. ctx bounds
// the wait and has errTimeout as its cause when that is up; the deletion goes on after it in any case. That the object
// is gone is the confirmation, as the finalizer has held it until the replicas refused the key; unless it was seen
// without one.
func (p *plugin) awaitRevoked(ctx context.Context, c *cluster, k *v1alpha1.ApiKey) error {
	last, said := k, ""
	err := c.follow(ctx, k.Namespace, k.Name, func(now *v1alpha1.ApiKey) bool {
		if now == nil || now.UID != k.UID {
			return true
		}
		last = now
		if text := progressOf(now); text != "" && text != said {
			said = text
			p.tell("%s: %s", k.Name, text)
		}
		return isRevoked(now)
	})
	switch {
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTimeout):
		return fmt.Errorf("%s: the deletion goes on, and is not confirmed yet", k.Name)
	case err != nil:
		return unconfirmedError{fmt.Errorf("%s: it is being deleted, and that is not confirmed: %w%s",
			k.Name, err, after(said))}
	case isUnconfirmed(last):
		return unconfirmedError{fmt.Errorf("%s is gone without the word of the API replicas: it had lost its finalizer %s. "+
			"A replica that is cut off may accept it for as long as its Lease lasts", k.Name, v1alpha1.FinalizerRevocation)}
	default:
		return nil
	}
}

func after(said string) string {
	if said == "" {
		return ""
	}
	return "; " + said
}

// progressOf says how far the deletion of k is; "": nothing is known of it. The numbers are read out of the condition's
// message by package revocation, which also writes it; a message that it does not know, as of a later controller, is
// shown as it is.
func progressOf(k *v1alpha1.ApiKey) string {
	revoking := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionRevoking)
	if revoking == nil {
		return ""
	}
	if refused, replicas, names, ok := revocation.Progress(revoking.Message); ok {
		return fmt.Sprintf("refused by %d of %d replicas; waiting for %s", refused, replicas, names)
	}
	return revoking.Message
}

// isRevoked tells whether k is refused everywhere and stays for others, whose finalizers hold it. Unconfirmed is as
// final as Revoked: nobody will ever confirm it. isUnconfirmed tells the two apart.
func isRevoked(k *v1alpha1.ApiKey) bool {
	ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && (ready.Reason == v1alpha1.ReasonRevoked || ready.Reason == v1alpha1.ReasonUnconfirmed)
}

// isUnconfirmed tells whether k, as it was last seen, could go without anybody's word: it was served, and nothing held
// it until the replicas had confirmed. Such a key is gone from the apiserver like any other, and only what was seen of
// it before tells the difference. One that has no hash was never served, and needs nobody's word.
func isUnconfirmed(k *v1alpha1.ApiKey) bool {
	ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil && (ready.Reason == v1alpha1.ReasonRevoked || ready.Reason == v1alpha1.ReasonUnconfirmed) {
		return ready.Reason == v1alpha1.ReasonUnconfirmed
	}
	return k.Status.Hash != "" && !slices.Contains(k.Finalizers, v1alpha1.FinalizerRevocation)
}
