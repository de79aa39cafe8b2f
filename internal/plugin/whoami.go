// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// deed is something that people do with keys, what it takes, and which role gives that. The roles are those of the
// chart's people.yaml, or Kubernetes' own: who renames one there renames it here. The first word of role is one that
// can be bound by itself.
type deed struct {
	name        string
	verb        string
	group       string
	resource    string
	subresource string // "": the resource itself
	role        string // of the chart
}

const group = "letmepost.dev"

// deeds are all that there are, in the order of a key's life. apikeys/live and apikeys/secrets are no subresources:
// RBAC alone knows them, and admission policies ask for them when a live key is minted, or into a Secret of any name.
var deeds = []deed{
	{"see keys", "list", group, resource, "", "letmepost-apikey-viewer"},
	{"watch keys", "watch", group, resource, "", "letmepost-apikey-viewer"},
	{"mint test keys", "create", group, resource, "", "letmepost-apikey-minter or -test-minter"},
	{"mint live keys", "create", group, resource, "live", "letmepost-apikey-minter"},
	{"choose any name for their Secrets", "create", group, resource, "secrets", "whoever may create Secrets has it"},
	{"cancel what a key has scheduled", "patch", group, resource, "", "letmepost-apikey-revoker"},
	{"revoke keys", "delete", group, resource, "", "letmepost-apikey-revoker"},
	{"see which Pods have keys", "list", "", "pods", "", "view"},
	{"read keys out of their Secrets", "get", "", "secrets", "", "edit"},
}

// whoami is the verb. It takes no right that anybody lacks who may log in: reviews of oneself are open to all of them
// by Kubernetes' own roles.
func (p *plugin) whoami() *cobra.Command {
	o := &output{}
	cmd := &cobra.Command{
		Use:     "whoami",
		Short:   "Say who you are to the cluster, and what you may do with keys in a namespace",
		Example: "  kubectl letmepost whoami -n acme",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			return p.runWhoami(cmd.Context(), c, o)
		},
	}
	o.addFlags(cmd)
	return cmd
}

// runWhoami asks the apiserver and not the kubeconfig who it is: what a token or a certificate comes to, impersonation
// included, only the apiserver knows. With -o it prints that answer alone.
func (p *plugin) runWhoami(ctx context.Context, c *cluster, o *output) error {
	printer, err := o.objects()
	if err != nil {
		return err
	}
	who, err := c.authentication.SelfSubjectReviews().
		Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("ask who you are: %w", err)
	}
	if printer != nil {
		return printer.PrintObj(who, p.Out)
	}
	may, err := c.rights(ctx, deeds)
	if err != nil {
		return err
	}
	u := who.Status.UserInfo
	fmt.Fprintf(p.Out, "%s (%s)\ncontext %s, namespace %s\n\n",
		u.Username, strings.Join(u.Groups, ", "), c.context, c.namespace)
	rows := make([][]any, len(deeds))
	for i, d := range deeds {
		rows[i] = []any{d.name, yesNo(may[i]), strings.TrimSuffix(d.resource+"/"+d.subresource, "/"), d.verb, d.role}
	}
	return o.table(p.Out, []string{"May you", "Answer", "+Resource", "+Verb", "Role that gives it"}, rows)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// rights asks the apiserver which deeds the caller may do in the namespace. Each is asked for by itself: a list of
// rules would have to be read as the authorizer reads it, and of a webhook it may be incomplete. A namespace of "" asks
// for all namespaces at once, which only a right that is cluster-wide answers. The answers are in the order of the
// deeds. What admission policies refuse is not seen by it.
func (c *cluster) rights(ctx context.Context, of []deed) ([]bool, error) {
	may := make([]bool, len(of))
	asking, ctx := errgroup.WithContext(ctx)
	for i, d := range of {
		asking.Go(func() error {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: c.namespace, Verb: d.verb, Group: d.group, Resource: d.resource, Subresource: d.subresource,
				},
			}}
			answer, err := c.authorization.SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("ask whether you may %s: %w", d.name, err)
			}
			may[i] = answer.Status.Allowed
			return nil
		})
	}
	return may, asking.Wait()
}
