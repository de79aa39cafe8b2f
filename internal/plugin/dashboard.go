// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// dashboardPath is where the API serves the web page for people.
const dashboardPath = "/dashboard"

func (p *plugin) dashboard() *cobra.Command {
	address := ""
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Say where the dashboard is, and how to get a token to sign in with",
		Long: "Say where the dashboard is, and how to get a token to sign in with. It does not open a browser, and\n" +
			"hands no credential over: there is no way yet to sign in but to paste a token.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			return p.runDashboard(cmd.Context(), c, address)
		},
	}
	cmd.Flags().StringVar(&address, "api-url", "", "`URL` of the API, if it has one that your browser reaches")
	return cmd
}

func (p *plugin) runDashboard(ctx context.Context, c *cluster, address string) error {
	if address == "" {
		selector := labels.Set{"app.kubernetes.io/component": "api", "letmepost.dev/environment": "live"}
		services, err := c.core.Services(p.release).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
		name, port := "letmepost-api-live", "80"
		if err == nil && len(services.Items) > 0 && len(services.Items[0].Spec.Ports) > 0 {
			name, port = services.Items[0].Name, fmt.Sprint(services.Items[0].Spec.Ports[0].Port)
		} // who may not list them is told the usual name
		p.tell("In another terminal, as long as you use it:\n\n    kubectl port-forward -n %s service/%s 8080:%s\n",
			p.release, name, port)
		address = "http://localhost:8080"
	}
	fmt.Fprintln(p.Out, strings.TrimSuffix(address, "/")+dashboardPath)
	p.tell("\nSign in with a token that the cluster knows, such as one of a ServiceAccount that may work with keys:\n\n"+
		"    kubectl create token NAME -n %s\n", c.namespace)
	return nil
}
