// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// minting, revoking and viewing are the permissions that the roles for people are made of: VERB
// RESOURCE[/SUBRESOURCE].GROUP.
var (
	viewing = []string{
		"get apikeys.letmepost.dev", "list apikeys.letmepost.dev", "watch apikeys.letmepost.dev",
		"get profiles.letmepost.dev", "list profiles.letmepost.dev", "watch profiles.letmepost.dev",
	}
	reading = []string{
		"get posts.letmepost.dev", "list posts.letmepost.dev", "get media.letmepost.dev", "list media.letmepost.dev",
		"get accounts.letmepost.dev", "list accounts.letmepost.dev",
	}
	editing = slices.Concat(reading, []string{
		"create posts.letmepost.dev", "delete posts.letmepost.dev", "create media.letmepost.dev", "delete media.letmepost.dev",
		"create accounts.letmepost.dev", "delete accounts.letmepost.dev",
	})
	minting = []string{
		"create apikeys.letmepost.dev", "create apikeys/live.letmepost.dev",
		"update apikeys.letmepost.dev", "patch apikeys.letmepost.dev",
	}
	revoking = []string{
		"get apikeys.letmepost.dev", "list apikeys.letmepost.dev", "watch apikeys.letmepost.dev",
		"patch apikeys.letmepost.dev", "delete apikeys.letmepost.dev",
	}
	profiling = []string{
		"get profiles.letmepost.dev", "list profiles.letmepost.dev", "watch profiles.letmepost.dev",
		"create profiles.letmepost.dev", "update profiles.letmepost.dev", "patch profiles.letmepost.dev", "delete profiles.letmepost.dev",
	}
)

// peopleMay is all that who has one of the roles in a namespace may do with our resources there.
var peopleMay = map[string][]string{
	"view":                         slices.Concat(viewing, reading),
	"edit":                         slices.Concat(viewing, editing, minting, revoking),
	"admin":                        slices.Concat(viewing, editing, minting, revoking, profiling),
	"letmepost-content-viewer":     reading,
	"letmepost-content-editor":     editing,
	"letmepost-apikey-viewer":      viewing,
	"letmepost-apikey-minter":      minting,
	"letmepost-apikey-revoker":     revoking,
	"letmepost-profile-editor":     profiling,
	"letmepost-apikey-test-minter": {"create apikeys.letmepost.dev"},
}

// ours is each of our resources and subresources, those that exist in rules only as well.
var ours = []string{
	"apikeys.letmepost.dev", "apikeys/status.letmepost.dev", "apikeys/live.letmepost.dev", "apikeys/secrets.letmepost.dev", "apikeys/finalizers.letmepost.dev", "apikeys/anything.letmepost.dev",
	"profiles.letmepost.dev", "profiles/status.letmepost.dev", "profiles/anything.letmepost.dev", "anything.letmepost.dev",
	"posts.letmepost.dev", "media.letmepost.dev", "accounts.letmepost.dev",
}

var _ = Describe("Roles for people", func() {
	It("allow what they are for, and nothing else; the cluster's own roles take them up", func(ctx context.Context) {
		install(ctx, renderRules(ctx, nil))
		namespace, other := newOrganization(ctx), newOrganization(ctx)
		invite(ctx, namespace)
		for _, who := range people {
			want := slices.Compact(slices.Sorted(slices.Values(peopleMay[who])))
			Expect(want).NotTo(BeEmpty())
			Eventually(ctx, func() ([]string, error) {
				return permissions(ctx, person(who), ours, place{namespace, anything})
			}).Should(ConsistOf(want), who)
			Expect(permissions(ctx, person(who), ours, place{other, anything})).To(BeEmpty(), who)
			Expect(permissions(ctx, person(who), ours, place{"", anything})).To(BeEmpty(), who)
		}
	}, SpecTimeout(2*patience))

	It("are not taken up when rbac.people.aggregate is off", func(ctx context.Context) {
		install(ctx, renderRules(ctx, settings{"rbac.people.aggregate": false}))
		namespace := newOrganization(ctx)
		invite(ctx, namespace)
		// The viewer first, who is invited last: the authorizer hears of all of this by watches.
		for _, who := range []string{"letmepost-apikey-viewer", "view", "edit", "admin"} {
			want := BeEmpty()
			if who == "letmepost-apikey-viewer" {
				want = ConsistOf(viewing)
			}
			Eventually(ctx, func() ([]string, error) {
				return permissions(ctx, person(who), ours, place{namespace, anything})
			}).Should(want, who)
		}
	}, SpecTimeout(2*patience))

	It("let who may edit a namespace mint no live keys when rbac.people.aggregateLiveKeys is off", func(ctx context.Context) {
		install(ctx, renderRules(ctx, settings{"rbac.people.aggregateLiveKeys": false}))
		namespace := newOrganization(ctx)
		invite(ctx, namespace)
		edit := slices.Concat(viewing, editing, []string{"create apikeys.letmepost.dev"}, revoking)
		for who, want := range map[string][]string{
			"view": slices.Concat(viewing, reading), "edit": edit, "admin": slices.Concat(edit, profiling),
			"letmepost-apikey-minter": minting, "letmepost-apikey-test-minter": {"create apikeys.letmepost.dev"},
		} {
			Eventually(ctx, func() ([]string, error) {
				return permissions(ctx, person(who), ours, place{namespace, anything})
			}).Should(ConsistOf(slices.Compact(slices.Sorted(slices.Values(want)))), who)
		}
	}, SpecTimeout(2*patience))

	It("are not there when rbac.people.enabled is off", func(ctx context.Context) {
		for _, object := range renderRules(ctx, settings{"rbac.people.enabled": false}) {
			Expect(object.GetName()).NotTo(Or(ContainSubstring("apikey"), ContainSubstring("profile")))
		}
	})

	It("and all that is cluster-wide have the name of their install", func(ctx context.Context) {
		for _, object := range renderRules(ctx, settings{"nameOverride": "team-a"}) {
			Expect(object.GetName()).To(HavePrefix("team-a-"), object.GetKind())
			text, err := object.MarshalJSON()
			Expect(err).NotTo(HaveOccurred())
			Expect(strings.ReplaceAll(string(text), "system:serviceaccount:letmepost-system:team-a-", "")).NotTo(ContainSubstring("serviceaccount:"))
		}
	})
})
