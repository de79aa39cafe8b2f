// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// leasing creates a Lease as a replica of the test environment would.
func leasing(ctx context.Context, c client.Client, _ string) error {
	replica := lease("letmepost-api-test-new")
	replica.Labels = map[string]string{v1alpha1.LabelReplica: "test"}
	return c.Create(ctx, replica, client.DryRunAll)
}

// awaitPolicies waits until the apiserver has taken up each of the policies and who has which role, and the controller
// manager has aggregated the roles: each comes by a watch of its own, and none says anything of another.
func awaitPolicies(ctx context.Context, namespace string) {
	GinkgoHelper()
	creatingTest, minter, testMinter := creating(v1alpha1.EnvironmentTest), "letmepost-apikey-minter", "letmepost-apikey-test-minter"
	for user, deeds := range map[string][]deed{
		"edit": {creatingTest, labelling, deleting}, "admin": {creatingTest, labelling, deleting},
		clusterAdmin: {creatingTest, labelling, deleting}, minter: {creatingTest, labelling}, testMinter: {creatingTest},
		"letmepost-apikey-revoker": {labelling, deleting}, controllerUser: {patchingKeyStatus, storing(unchanged)}, testUser: {leasing},
	} {
		for _, allowed := range deeds {
			Eventually(ctx, allowed).WithArguments(as(user), namespace).Should(Succeed(), user)
		}
	}
	for _, refused := range []struct {
		user string
		deed deed
		says string
	}{
		{masters, patchingKeyStatus, statusGuard},
		{masters, endingKey, noLeakedKeys},
		{masters, creatingWith(func(m *metav1.ObjectMeta) {
			m.Finalizers = slices.Repeat([]string{v1alpha1.FinalizerRevocation}, 2)
		}), "may list letmepost.dev/revocation once"},
		{masters, func(ctx context.Context, c client.Client, namespace string) error {
			return c.Create(ctx, withNull(namespace, "ApiKey", "profileRef"), client.DryRunAll)
		}, "null would be taken for"},
		{testMinter, creating(v1alpha1.EnvironmentLive), noLiveKeys},
		{testMinter, shaped(named("x-tls")), "may not have a Secret x-tls minted"},
		{controllerUser, storing(asToken), noSecret},
		{liveUser, leasing, "may write no Leases but those of its replicas"},
	} {
		Eventually(ctx, func() error {
			return refused.deed(ctx, as(refused.user), namespace)
		}).Should(MatchError(ContainSubstring(refused.says)))
	}
}
