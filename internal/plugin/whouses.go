// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// whoUses is the verb. It takes the right to get the ApiKey, and not the one to get its Secret: who is given a Secret
// stands in what names it.
func (p *plugin) whoUses() *cobra.Command {
	var apiURL string
	cmd := &cobra.Command{
		Use:   "who-uses NAME",
		Short: "Say who has a key: Pods, what Pods are made of, and their ServiceAccounts",
		Long: "Say who has the Secret of a key: running Pods, what Pods are yet to be made of, and as which\n" +
			"ServiceAccount. It does not see who has copied the key elsewhere.",
		Example: "  kubectl letmepost who-uses backend -n acme",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			return p.runWhoUses(cmd.Context(), c, args[0], apiURL)
		},
	}
	cmd.Flags().StringVar(&apiURL, "api-url", "",
		"`URL` of an API to ask when the key was last used, with a key in "+envKey)
	return cmd
}

// runWhoUses prints what was found, and says of the rest that it could not be looked at: an empty table must not pass
// for "nobody". The API is asked first, because a wrong key or address there fails the run, which then prints nothing.
func (p *plugin) runWhoUses(ctx context.Context, c *cluster, name, apiURL string) error {
	k, err := c.get(ctx, name)
	if err != nil {
		return err
	}
	var used map[types.UID]time.Time
	if apiURL != "" {
		if used, err = p.lastUsed(ctx, apiURL); err != nil {
			return err
		}
	}
	if k.SecretName() == "" {
		fmt.Fprintf(p.Out, "%s was brought by its hash: the cluster does not know where the key is\n", nameOf(k))
		return p.tellLastUse(k, apiURL, used)
	}
	found, unseen, err := c.usersOf(ctx, k)
	if err != nil {
		return err
	}
	accounts, err := c.accountsNaming(ctx, k)
	fmt.Fprintf(p.Out, "%s is in the Secret %s\n", nameOf(k), k.SecretName())
	if err := p.printUsers(found, accounts, unseen == nil && err == nil); err != nil {
		return err
	}
	for _, e := range []error{unseen, err} {
		if e != nil {
			p.tell("Not all could be looked at: %v", e)
		}
	}
	return p.tellLastUse(k, apiURL, used)
}

// printUsers prints what is given a key's Secret. all tells whether all of the namespace was looked at.
func (p *plugin) printUsers(found []user, accounts []string, all bool) error {
	rows := make([][]any, 0, len(found)+len(accounts))
	for _, u := range found {
		rows = append(rows, []any{u.what, u.account, strings.Join(u.how, ", ")})
	}
	for _, a := range accounts {
		rows = append(rows, []any{"serviceaccount/" + a, a, "secrets"})
	}
	if len(rows) > 0 {
		return new(output).table(p.Out, []string{"Used by", "Service account", "How"}, rows)
	}
	text := "nothing in this namespace is given it"
	if !all {
		text = "nothing that you may look at is given it"
	}
	_, err := fmt.Fprintln(p.Out, text)
	return err
}

// tellLastUse says nothing if nobody was asked. A key that the API has not told of is not known to be unused: it may be
// of another organization than the key that the API was asked with.
func (p *plugin) tellLastUse(k *v1alpha1.ApiKey, apiURL string, used map[types.UID]time.Time) error {
	if apiURL == "" {
		return nil
	}
	last := unknown
	if at, ok := used[k.UID]; ok {
		last = ago(at, p.Clock.Now()) + " ago"
	}
	fmt.Fprintln(p.Out, "last used:", last)
	return nil
}

// accountsNaming are the ServiceAccounts that list the key's Secret as theirs. The field mounts nothing by itself: such
// an account is a sign that somebody means to use the key, and rotate does not wait for it.
func (c *cluster) accountsNaming(ctx context.Context, k *v1alpha1.ApiKey) (names []string, err error) {
	accounts, err := c.core.ServiceAccounts(k.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range accounts.Items {
		for _, s := range accounts.Items[i].Secrets {
			if s.Name == k.SecretName() {
				names = append(names, accounts.Items[i].Name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}
