// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// anything is a name that no rule is about. RBAC treats it as it does a request without a name, such as a list.
const anything = "anything"

// everybody is what Kubernetes gives to every ServiceAccount: to ask who and what it is itself (system:basic-user), and to
// read the public certificates of signers (system:cluster-trust-bundle-discovery).
var everybody = []string{
	"get clustertrustbundles.certificates.k8s.io",
	"list clustertrustbundles.certificates.k8s.io",
	"watch clustertrustbundles.certificates.k8s.io",
	"create selfsubjectaccessreviews.authorization.k8s.io",
	"create selfsubjectrulesreviews.authorization.k8s.io",
	"create selfsubjectreviews.authentication.k8s.io",
}

// allowed is all that our accounts may do in an organization's namespace: VERB RESOURCE[/SUBRESOURCE][.GROUP]. What is
// not here must be refused.
var allowed = map[string][]string{
	apiAccount: {
		"list apikeys.letmepost.dev", "watch apikeys.letmepost.dev",
		"list profiles.letmepost.dev", "watch profiles.letmepost.dev",
	},
	controllerAccount: {
		"get apikeys.letmepost.dev", "list apikeys.letmepost.dev", "watch apikeys.letmepost.dev",
		"patch apikeys.letmepost.dev", "patch apikeys/status.letmepost.dev",
		"get profiles.letmepost.dev", "list profiles.letmepost.dev", "watch profiles.letmepost.dev", "patch profiles/status.letmepost.dev",
		"get secrets", "create secrets",
		"get namespaces",
		"create events.events.k8s.io", "patch events.events.k8s.io",
	},
}

// allowedAtHome is what they may do besides, in letmepost-system. An admission policy narrows the API's Leases further.
var allowedAtHome = map[string][]string{
	apiAccount: {"create leases.coordination.k8s.io", "patch leases.coordination.k8s.io", "delete leases.coordination.k8s.io"},
	controllerAccount: {
		"create leases.coordination.k8s.io", "list leases.coordination.k8s.io", "watch leases.coordination.k8s.io",
		"patch leases.coordination.k8s.io", "delete leases.coordination.k8s.io", "create events", "patch events",
	},
}

// allowedOnLease is what they may do besides with the Lease that leaders hold, and no other.
var allowedOnLease = map[string][]string{
	controllerAccount: {"get leases.coordination.k8s.io", "update leases.coordination.k8s.io"},
}

var verbs = []string{
	"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection",
	"bind", "escalate", "impersonate", "*",
}

var _ = Describe("RBAC", func() {
	for _, account := range []string{apiAccount, controllerAccount} {
		It("allows "+account+" what it needs, and nothing else", func(ctx SpecContext) {
			resources := append(allResources(), "*", "*.*")
			tenant := newNamespace(ctx)
			client := kubernetes.NewForConfigOrDie(configOf(account))
			for _, where := range []struct {
				namespace, name string
				may             []string
			}{
				{tenant, anything, slices.Concat(everybody, allowed[account])},
				{"", anything, slices.Concat(everybody, allowed[account])},
				{systemNamespace, anything, slices.Concat(everybody, allowed[account], allowedAtHome[account])},
				{systemNamespace, "letmepost-controller", slices.Concat(everybody, allowed[account], allowedAtHome[account], allowedOnLease[account])},
				{"kube-system", "letmepost-controller", slices.Concat(everybody, allowed[account])},
			} {
				got, err := permissions(ctx, client, resources, where.namespace, where.name)
				Expect(err).NotTo(HaveOccurred())
				Expect(got).To(ConsistOf(where.may), "in namespace %q, on the name %q", where.namespace, where.name)
			}
		}, SpecTimeout(2*patience))
	}

	It("is asked about every resource", func() {
		resources := allResources()
		Expect(len(resources)).To(BeNumerically(">", 80))
		for _, needed := range []string{"secrets", "pods/exec", "apikeys.letmepost.dev", "apikeys/status.letmepost.dev", "leases.coordination.k8s.io", "serviceaccounts/token"} {
			Expect(resources).To(ContainElement(needed))
		}
		for _, table := range []map[string][]string{allowed, allowedAtHome, allowedOnLease} {
			for rule := range maps.Values(table) {
				for _, line := range rule {
					verb, resource, _ := strings.Cut(line, " ")
					Expect(verbs).To(ContainElement(verb))
					Expect(resources).To(ContainElement(resource))
				}
			}
		}
	})
})

// configOf is the client configuration of one of our ServiceAccounts.
func configOf(account string) *rest.Config {
	GinkgoHelper()
	config, err := clientcmd.BuildConfigFromFlags("", credentials(account))
	Expect(err).NotTo(HaveOccurred())
	config.QPS = -1
	return config
}

// allResources is every resource and subresource that the apiserver serves, as RESOURCE[/SUBRESOURCE][.GROUP].
func allResources() []string {
	GinkgoHelper()
	_, lists, err := discovery.NewDiscoveryClientForConfigOrDie(cluster.AdminConfig()).ServerGroupsAndResources()
	Expect(err).NotTo(HaveOccurred())
	all := map[string]bool{}
	for _, list := range lists {
		group, _, versioned := strings.Cut(list.GroupVersion, "/")
		if !versioned {
			group = ""
		}
		for _, resource := range list.APIResources {
			all[strings.TrimSuffix(resource.Name+"."+group, ".")] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// permissions asks the apiserver about each verb of each resource, with the credentials in question.
func permissions(ctx context.Context, client kubernetes.Interface, resources []string, namespace, name string) ([]string, error) {
	var mu sync.Mutex
	var may []string
	var group errgroup.Group
	group.SetLimit(8)
	for _, resource := range resources {
		for _, verb := range verbs {
			group.Go(func() error {
				ok, err := mayI(ctx, client, attributes(verb, resource, namespace, name))
				if ok {
					mu.Lock()
					defer mu.Unlock()
					may = append(may, verb+" "+resource)
				}
				return err
			})
		}
	}
	return may, group.Wait()
}

func attributes(verb, resource, namespace, name string) *authorizationv1.ResourceAttributes {
	path, group, _ := strings.Cut(resource, ".")
	path, subresource, _ := strings.Cut(path, "/")
	return &authorizationv1.ResourceAttributes{
		Namespace: namespace, Name: name, Verb: verb, Group: group, Version: "*", Resource: path, Subresource: subresource,
	}
}

func mayI(ctx context.Context, client kubernetes.Interface, what *authorizationv1.ResourceAttributes) (bool, error) {
	review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: what},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask about %v: %w", what, err)
	}
	return review.Status.Allowed, nil
}
