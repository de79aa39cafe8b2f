// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

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
	"k8s.io/client-go/discovery"
)

// anything is a name that no rule is about.
const anything = "anything"

// verbs are those that a request can have, and those that RBAC has for itself.
var verbs = []string{
	"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection",
	"bind", "escalate", "impersonate", "*",
}

// place is what a request may be about: objects of that name in a namespace; "" is all namespaces.
type place struct{ namespace, name string }

// identity is somebody, to the authorizer.
type identity struct {
	user   string
	groups []string
}

func person(name string) identity { return identity{name, []string{"system:authenticated"}} }

func account(name string) identity {
	return identity{
		"system:serviceaccount:" + systemNamespace + ":" + name,
		[]string{"system:serviceaccounts", "system:serviceaccounts:" + systemNamespace, "system:authenticated"},
	}
}

// permissions asks the apiserver about each verb of each resource, and returns what is allowed, sorted: VERB
// RESOURCE[/SUBRESOURCE][.GROUP].
func permissions(ctx context.Context, who identity, resources []string, where place) ([]string, error) {
	var mu sync.Mutex
	var may []string
	var group errgroup.Group
	group.SetLimit(8)
	for _, resource := range resources {
		for _, verb := range verbs {
			group.Go(func() error {
				ok, err := mayDo(ctx, who, verb, resource, where)
				if ok {
					mu.Lock()
					defer mu.Unlock()
					may = append(may, verb+" "+resource)
				}
				return err
			})
		}
	}
	err := group.Wait()
	slices.Sort(may)
	return may, err
}

func mayDo(ctx context.Context, who identity, verb, resource string, where place) (bool, error) {
	path, group, _ := strings.Cut(resource, ".")
	path, subresource, _ := strings.Cut(path, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: who.user, Groups: who.groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: where.namespace, Name: where.name, Verb: verb, Group: group, Version: "*", Resource: path, Subresource: subresource,
		},
	}}
	if err := admin.Create(ctx, review); err != nil {
		return false, fmt.Errorf("ask whether %s may %s %s: %w", who.user, verb, resource, err)
	}
	return review.Status.Allowed, nil
}

// allResources is every resource and subresource that the apiserver serves, as RESOURCE[/SUBRESOURCE][.GROUP], and the
// two that mean all.
func allResources() []string {
	GinkgoHelper()
	_, lists, err := discovery.NewDiscoveryClientForConfigOrDie(server.AdminConfig()).ServerGroupsAndResources()
	Expect(err).NotTo(HaveOccurred())
	all := map[string]bool{"*": true, "*.*": true}
	for _, list := range lists {
		group, _, versioned := strings.Cut(list.GroupVersion, "/")
		if !versioned {
			group = ""
		}
		for _, resource := range list.APIResources {
			all[strings.TrimSuffix(resource.Name+"."+group, ".")] = true
		}
	}
	Expect(len(all)).To(BeNumerically(">", 80))
	return slices.Sorted(maps.Keys(all))
}

// allowed is all that our processes are meant to do in an organization's namespace: VERB
// RESOURCE[/SUBRESOURCE][.GROUP]. That they use no more says nothing of whether they should: a permission that is new
// is written down here as well.
var allowed = map[string][]string{
	apiAccount: {
		"list apikeys.letmepost.dev", "watch apikeys.letmepost.dev",
		"list profiles.letmepost.dev", "watch profiles.letmepost.dev",
	},
	gateAccount: {
		"list apikeys.letmepost.dev", "watch apikeys.letmepost.dev",
		"list profiles.letmepost.dev", "watch profiles.letmepost.dev",
	},
	controllerAccount: {
		"get apikeys.letmepost.dev", "list apikeys.letmepost.dev", "watch apikeys.letmepost.dev",
		"patch apikeys.letmepost.dev", "delete apikeys.letmepost.dev", "patch apikeys/status.letmepost.dev",
		"get profiles.letmepost.dev", "list profiles.letmepost.dev", "watch profiles.letmepost.dev", "patch profiles/status.letmepost.dev",
		"get secrets", "create secrets",
		"get namespaces",
		"create events.events.k8s.io",
	},
}

// allowedAtHome is what they may do besides, in letmepost-system. An admission policy narrows the API's Leases further.
var allowedAtHome = map[string][]string{
	apiAccount: {
		"create leases.coordination.k8s.io", "patch leases.coordination.k8s.io", "delete leases.coordination.k8s.io",
		"list leakedkeys.letmepost.dev", "watch leakedkeys.letmepost.dev",
	},
	gateAccount: {
		"create leases.coordination.k8s.io", "patch leases.coordination.k8s.io", "delete leases.coordination.k8s.io",
		"list leakedkeys.letmepost.dev", "watch leakedkeys.letmepost.dev",
	},
	controllerAccount: {
		"create leases.coordination.k8s.io", "list leases.coordination.k8s.io", "watch leases.coordination.k8s.io",
		"patch leases.coordination.k8s.io", "delete leases.coordination.k8s.io", "create events",
		"list leakedkeys.letmepost.dev", "watch leakedkeys.letmepost.dev", "create leakedkeys.letmepost.dev",
	},
}

// allowedOnLease is what they may do besides with the Lease that leaders hold, and no other.
var allowedOnLease = map[string][]string{
	controllerAccount: {"get leases.coordination.k8s.io", "update leases.coordination.k8s.io"},
}

// meant is what an account is meant to be allowed at a place.
func meant(name string, where place) []string {
	all := slices.Concat(everybody, allowed[name])
	if where.namespace == systemNamespace {
		all = append(all, allowedAtHome[name]...)
		if where.name == leaderLease {
			all = append(all, allowedOnLease[name]...)
		}
	}
	return all
}
