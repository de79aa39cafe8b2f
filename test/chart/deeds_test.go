// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

// A deed is a request of somebody about a key and a profile that exist, in a namespace. Nothing comes of it: it is a
// dry run.
type deed func(ctx context.Context, c client.Client, namespace string) error

// creating is about an ApiKey of that environment.
func creating(environment v1alpha1.Environment) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		return c.Create(ctx, apiKey(namespace, "lmp-new", environment), client.DryRunAll)
	}
}

func generating(environment v1alpha1.Environment) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		k := apiKey(namespace, "", environment)
		k.GenerateName = "lmp-new-"
		return c.Create(ctx, k, client.DryRunAll)
	}
}

// applying is server-side apply of a new ApiKey: a patch by its verb, and a creation.
func applying(environment v1alpha1.Environment) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		body := fmt.Sprintf(`{"apiVersion":"letmepost.dev/v1alpha1","kind":"ApiKey","metadata":{"name":"lmp-new"},"spec":{"environment":%q}}`, environment)
		return c.Patch(ctx, apiKey(namespace, "lmp-new", environment), client.RawPatch(types.ApplyPatchType, []byte(body)),
			client.FieldOwner("kubectl"), client.ForceOwnership, client.DryRunAll)
	}
}

func patchingKeyStatus(ctx context.Context, c client.Client, namespace string) error {
	return c.Status().Patch(ctx, apiKey(namespace, aKey, ""), client.RawPatch(types.MergePatchType, []byte(forged)), client.DryRunAll)
}

func updatingKeyStatus(ctx context.Context, c client.Client, namespace string) error {
	k := &v1alpha1.ApiKey{}
	if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: aKey}, k); err != nil {
		return err
	}
	k.Status.Hint = "lmp_test_…mine"
	return c.Status().Update(ctx, k, client.DryRunAll)
}

func endingKey(ctx context.Context, c client.Client, _ string) error {
	return c.Create(ctx, &v1alpha1.LeakedKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: strings.Repeat("0", 64)},
		Spec: v1alpha1.LeakedKeySpec{
			ApiKeyNamespace: "acme", ApiKeyName: aKey, Environment: v1alpha1.EnvironmentLive, ReportedTo: "letmepost-api-live-0",
		},
	}, client.DryRunAll)
}

func applyingKeyStatus(ctx context.Context, c client.Client, namespace string) error {
	body := `{"apiVersion":"letmepost.dev/v1alpha1","kind":"ApiKey","metadata":{"name":"` + aKey + `"},` + forged[1:]
	return c.Status().Patch(ctx, apiKey(namespace, aKey, ""), client.RawPatch(types.ApplyPatchType, []byte(body)),
		client.FieldOwner("kubectl"), client.ForceOwnership, client.DryRunAll)
}

func patchingProfileStatus(ctx context.Context, c client.Client, namespace string) error {
	p := &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: aProfile}}
	return c.Status().Patch(ctx, p, client.RawPatch(types.MergePatchType, []byte(`{"status":{"keys":7}}`)), client.DryRunAll)
}

func labelling(ctx context.Context, c client.Client, namespace string) error {
	return c.Patch(ctx, apiKey(namespace, aKey, ""),
		client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`)), client.DryRunAll)
}

func makingLive(ctx context.Context, c client.Client, namespace string) error {
	return c.Patch(ctx, apiKey(namespace, aKey, ""),
		client.RawPatch(types.MergePatchType, []byte(`{"spec":{"environment":"live"}}`)), client.DryRunAll)
}

func deleting(ctx context.Context, c client.Client, namespace string) error {
	return c.Delete(ctx, apiKey(namespace, aKey, ""), client.DryRunAll)
}

// storing creates the Secret that the controller would mint for a key, changed.
func storing(change func(s *corev1.Secret)) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		k := apiKey(namespace, "new", v1alpha1.EnvironmentTest)
		k.UID = "0000"
		s := keysecret.Encode(k, "lmp_test_x", "http://api")
		change(s)
		return c.Create(ctx, s, client.DryRunAll)
	}
}

func unchanged(*corev1.Secret) {}

func asToken(s *corev1.Secret) {
	s.Type, s.Data = corev1.SecretTypeServiceAccountToken, nil
	s.Annotations = map[string]string{corev1.ServiceAccountNameKey: "default"}
}

func asMutable(s *corev1.Secret) { s.Immutable = nil }

func withMore(s *corev1.Secret) { s.Data["tls.key"] = []byte("x") }

func withoutOwner(s *corev1.Secret) { s.OwnerReferences = nil }
