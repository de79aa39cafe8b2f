// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// listOptions are those of list.
type listOptions struct {
	output
	all      bool
	selector string // of labels; "": all keys
	apiURL   string // "": nobody is asked when keys were last used
}

// list is the verb. It takes the right to list ApiKeys, in all namespaces with -A, and shows more to whoever may list
// Pods. It watches nothing: what it prints is of one moment.
func (p *plugin) list() *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Use:        "list",
		SuggestFor: []string{"get", "ls"},
		Short:      "List keys: what they may do now, when they expire, and which Pods have them",
		Long: "List the keys of a namespace: what each may do now, its hint, when it expires, and how many Pods have its\n" +
			"Secret.\n\n" +
			"When a key was last used only the API knows, and it tells who has a key of that organization: give --api-url,\n" +
			"and the key in the environment variable " + envKey + ".",
		Example: "  kubectl letmepost list -n acme\n  kubectl letmepost list -A -o wide",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			return p.runList(cmd.Context(), c, o)
		},
	}
	o.addFlags(cmd)
	cmd.Flags().BoolVarP(&o.all, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().StringVarP(&o.selector, "selector", "l", "", "only keys with these `labels`, such as team=web")
	cmd.Flags().StringVar(&o.apiURL, "api-url", "",
		"`URL` of an API to ask when keys were last used, with the key in "+envKey)
	return cmd
}

// runList asks for keys, Pods and last uses at once. Without the keys, or without the last uses that somebody has asked
// for, it fails. Pods may be out of sight for whoever may list keys: then their column says that it is not known, and
// the reason is told below the table.
func (p *plugin) runList(ctx context.Context, c *cluster, o *listOptions) error {
	printer, err := o.objects()
	if err != nil {
		return err
	}
	namespace := c.namespace
	if o.all {
		namespace = ""
	}
	// For programs there are the objects alone. Pods and last uses are no part of them, so nobody is asked for either.
	if printer != nil {
		keys, err := c.list(ctx, namespace, o.selector)
		if err != nil {
			return err
		}
		return o.printKeys(printer, keys, p.Out)
	}
	var keys *v1alpha1.ApiKeyList
	var have users
	var unseen error // why it is not known which Pods have keys
	var used map[types.UID]time.Time
	group, within := errgroup.WithContext(ctx)
	group.Go(func() (err error) { keys, err = c.list(within, namespace, o.selector); return err })
	// The group is not told of its error: it would end the others with it, and the keys are there without the Pods.
	group.Go(func() error { have, unseen = c.users(within, namespace); return nil })
	if o.apiURL != "" {
		group.Go(func() (err error) { used, err = p.lastUsed(within, o.apiURL); return err })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if len(keys.Items) == 0 {
		p.tell("No keys found in %s.", cmp.Or(namespace, "any namespace"))
		return nil
	}
	if err := o.table(p.Out, o.headings(), o.rows(keys.Items, have, used, p.Clock.Now())); err != nil {
		return err
	}
	p.tellLeaked(keys.Items)
	if unseen != nil {
		p.tell("Which Pods have keys is not known: %v", unseen)
	}
	return nil
}

// headings and rows have the columns that flags ask for at the same places. "+" marks what only -o wide shows; see
// output.table. The numbers count from columns that are always there, and the namespace goes in last, as it moves all
// others.
func (o *listOptions) headings() []string {
	h := []string{
		"Name", "Environment", "State", "Hint", "Expires", "Used by", "Age", "+Profile", "+Scopes", "+Claims", "+Secret",
		"+Why",
	}
	if o.apiURL != "" {
		h = slices.Insert(h, 4, "Last used")
	}
	if o.all {
		h = slices.Insert(h, 0, "Namespace")
	}
	return h
}

// rows is pure. used holds what the API has told, by UID: a key that is not in it was never used, or is of an
// organization or an environment that the API does not tell of, and which of these it is, is not known.
func (o *listOptions) rows(keys []v1alpha1.ApiKey, have users, used map[types.UID]time.Time, now time.Time) [][]any {
	rows := make([][]any, 0, len(keys))
	for i := range keys {
		k := &keys[i]
		row := []any{
			k.Name, string(k.Spec.Environment), stateOf(k, now), cmp.Or(k.Status.Hint, none), until(expiryOf(k), now),
			usedBy(k, have), ago(k.CreationTimestamp.Time, now), profileOf(k), scopesOf(k), claimsOf(k),
			cmp.Or(k.SecretName(), none), whyUnserved(k),
		}
		if o.apiURL != "" {
			last := unknown
			if at, ok := used[k.UID]; ok {
				last = ago(at, now) + " ago"
			}
			row = slices.Insert(row, 4, any(last))
		}
		if o.all {
			row = slices.Insert(row, 0, any(k.Namespace))
		}
		rows = append(rows, row)
	}
	return rows
}

// usedBy says how many Pods have the key. Whoever has it elsewhere is not seen, and a key that was brought by its hash
// stands in no Secret that is known. "no Pod" is said only when Pods could be looked at: what is not known must not
// pass for a key that nobody has.
func usedBy(k *v1alpha1.ApiKey, have users) string {
	if have == nil || k.SecretName() == "" {
		return unknown
	}
	switch n := len(have[types.NamespacedName{Namespace: k.Namespace, Name: k.SecretName()}]); n {
	case 0:
		return "no Pod"
	case 1:
		return "1 Pod"
	default:
		return strconv.Itoa(n) + " Pods"
	}
}

func profileOf(k *v1alpha1.ApiKey) string {
	if k.Spec.ProfileRef == nil {
		return none
	}
	return k.Spec.ProfileRef.Name
}

// scopesOf are the scopes of a key; "all" is shorter than all of the API's. Those of somebody's own stand beside it. A
// built-in scope of a later API, which this program does not know, passes for one of somebody's own.
func scopesOf(k *v1alpha1.ApiKey) string {
	var known, own []string
	for _, s := range k.Spec.Scopes {
		if s.BuiltIn() {
			known = append(known, string(s))
		} else {
			own = append(own, string(s))
		}
	}
	if len(known) == len(v1alpha1.Scopes) { // they are a set
		known = []string{"all"}
	}
	return strings.Join(append(known, own...), ",")
}

// claimsOf are the claims of a key, by name.
func claimsOf(k *v1alpha1.ApiKey) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(k.Spec.Claims)) {
		all = append(all, name+"="+string(k.Spec.Claims[name]))
	}
	return cmp.Or(strings.Join(all, ","), none)
}

// nameOf is a key as people write it after kubectl. The group is part of it, so that a line that is pasted behind
// kubectl hits our resource and no namesake.
func nameOf(k *v1alpha1.ApiKey) string {
	return fmt.Sprintf("%s.%s/%s", resource, v1alpha1.GroupVersion.Group, k.Name)
}
