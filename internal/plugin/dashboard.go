// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// dashboardPath is where the API serves the web page for people. It is dashboard.Base, and is not taken from there:
// with that room would come rooms that this program must not contain.
const dashboardPath = "/dashboard"

// dashboardFlags say where the dashboard is, and as whom it is opened.
type dashboardFlags struct {
	address        string // of the API; "": only say how to reach it
	serviceAccount string // of the namespace; "": as whoever runs this
	noBrowser      bool   // print the link, which is a secret, in place of opening it
}

// dashboard is the verb. Of the cluster it needs nothing but a token that the apiserver knows; that is handed over, and
// never a kubeconfig or a private key.
func (p *plugin) dashboard() *cobra.Command {
	o := &dashboardFlags{}
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Open the dashboard in your browser, signed in",
		Long: "Open the dashboard in your browser, signed in as who you are to the cluster.\n\n" +
			"Your token is sent to the API at --api-url, by HTTPS or to a loopback address alone, for a link that works\n" +
			"once, within a minute. Without --api-url, it says how to reach the API, and sends nothing.",
		Example: "  kubectl letmepost dashboard --api-url https://api.example.com\n" +
			"  kubectl letmepost dashboard --api-url http://localhost:8080 --service-account minter -n acme",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			if o.address == "" {
				if o.serviceAccount != "" || o.noBrowser {
					return usage("--service-account and --no-browser go with --api-url")
				}
				return p.sayWhereDashboardIs(cmd.Context(), c)
			}
			return p.openDashboard(cmd.Context(), c, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.address, "api-url", "", "`URL` of the API, as your browser reaches it")
	f.StringVar(&o.serviceAccount, "service-account", "",
		"be this ServiceAccount of the namespace, by a token of an hour that is made for it, and not yourself: `name`")
	f.BoolVar(&o.noBrowser, "no-browser", false, "print the link, and open no browser")
	return cmd
}

// sayWhereDashboardIs prints commands, and runs none of them: a port-forward lasts as long as its process, and this one
// ends. The labels are those that the chart's Services have; only the live API is looked for.
func (p *plugin) sayWhereDashboardIs(ctx context.Context, c *cluster) error {
	selector := labels.Set{"app.kubernetes.io/component": "api", "letmepost.dev/environment": "live"}
	services, err := c.core.Services(p.release).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	name, port := "letmepost-api-live", "80"
	if err == nil && len(services.Items) > 0 && len(services.Items[0].Spec.Ports) > 0 {
		name, port = services.Items[0].Name, fmt.Sprint(services.Items[0].Spec.Ports[0].Port)
	} // who may not list them is told the usual name
	p.tell("In another terminal, as long as you use it:\n\n    kubectl port-forward -n %s service/%s 8080:%s\n",
		p.release, name, port)
	fmt.Fprintln(p.Out, "http://localhost:8080"+dashboardPath)
	p.tell("\nTo be signed in there:\n\n    kubectl letmepost dashboard --api-url http://localhost:8080 -n %[1]s\n\n"+
		"or paste a token that the cluster knows, such as one of a ServiceAccount that may work with keys:\n\n"+
		"    kubectl create token NAME -n %[1]s\n", c.namespace)
	return nil
}

// openDashboard has the browser signed in. The link is a secret while it works, so that it is printed only if it is
// asked for, or if there is no other way. The address is checked before a token is had: some ways to get one ask a
// person to sign in. A browser that can't be opened is no failure.
func (p *plugin) openDashboard(ctx context.Context, c *cluster, o *dashboardFlags) error {
	address, err := safeAddress(o.address, "token")
	if err != nil {
		return err
	}
	token, err := p.tokenFor(ctx, c, o.serviceAccount)
	if err != nil {
		return err
	}
	link, err := handToken(ctx, address, token)
	if err != nil {
		return err
	}
	if !o.noBrowser {
		if err = p.Open(ctx, link); err == nil {
			p.tell("Your browser asks whether to sign you in at %s.", address.JoinPath(dashboardPath))
			return nil
		}
		p.tell("No browser could be opened: %v", err)
	}
	p.tell("Open this within a minute. It signs one browser in, once:")
	_, err = fmt.Fprintln(p.Out, link)
	return err
}
