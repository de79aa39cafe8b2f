// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package keysecret is how a key is stored: ApiKey and key to Secret and back. Writer and reader stand in one file,
// so that they cannot drift apart.
package keysecret

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// Errors of Decode. They speak of the Secret's form, never of its content.
var (
	// ErrNotOwned means that the Secret is somebody else's.
	ErrNotOwned = errors.New("not controlled by this ApiKey")
	// ErrPreviousOwner means that the Secret belonged to an ApiKey of the same name which is gone: the garbage collector
	// is about to delete it.
	ErrPreviousOwner = errors.New("controlled by a deleted ApiKey of the same name")
	// ErrMalformed means that the Secret is this ApiKey's by its owner reference, but is not what Encode writes.
	ErrMalformed = errors.New("not in the form of a minted Secret")
)

// Encode returns the Secret that secret, a key in plaintext, is stored in.
func Encode(owner *v1alpha1.ApiKey, secret, baseURL string) *corev1.Secret {
	labels, annotations := templateOf(owner)
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.Namespace,
			Name:            owner.SecretName(),
			Labels:          labels,
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{ownerReference(owner)},
		},
		// A change of the Secret would not change the key, and mislead whoever reads it. To be immutable also saves the
		// kubelets from watching it.
		Immutable: new(true),
		Type:      v1alpha1.SecretType,
		Data: map[string][]byte{
			v1alpha1.SecretKeyAPIKey:      []byte(secret),
			v1alpha1.SecretKeyBaseURL:     []byte(baseURL),
			v1alpha1.SecretKeyBindingType: []byte(v1alpha1.BindingType),
		},
	}
}

// ownerReference makes the garbage collector delete the Secret after its ApiKey. It does not hold the ApiKey's deletion
// up (blockOwnerDeletion): a key is revoked whether or not its Secret is gone yet, and setting that would take one more
// permission where OwnerReferencesPermissionEnforcement is on.
func ownerReference(owner *v1alpha1.ApiKey) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(),
		Kind:       "ApiKey",
		Name:       owner.Name,
		UID:        owner.UID,
		Controller: new(true),
	}
}

// templateOf is the metadata that spec.secretTemplate asks for. The label that says whose the Secret is comes last, so
// that no template can claim otherwise.
func templateOf(owner *v1alpha1.ApiKey) (labels, annotations map[string]string) {
	labels = map[string]string{}
	if t := owner.Spec.SecretTemplate; t != nil {
		for k, v := range t.Labels {
			labels[k] = string(v)
		}
		if len(t.Annotations) > 0 {
			annotations = make(map[string]string, len(t.Annotations))
		}
		for k, v := range t.Annotations {
			annotations[k] = string(v)
		}
	}
	labels[v1alpha1.LabelManagedBy] = v1alpha1.ManagedBy
	return labels, annotations
}

// Decode returns the key that s holds for owner. Only a Secret that Encode could have written for this very ApiKey is
// believed: controlled by its UID, immutable, and with a well-formed key of its environment.
func Decode(owner *v1alpha1.ApiKey, s *corev1.Secret, format key.Format) (string, error) {
	switch ref := metav1.GetControllerOfNoCopy(s); {
	case ref == nil || ref.Kind != "ApiKey" || ref.APIVersion != v1alpha1.GroupVersion.String() || ref.Name != owner.Name:
		return "", ErrNotOwned
	case ref.UID != owner.UID:
		return "", ErrPreviousOwner
	}
	if s.Type != v1alpha1.SecretType || s.Immutable == nil || !*s.Immutable {
		return "", ErrMalformed
	}
	secret := string(s.Data[v1alpha1.SecretKeyAPIKey])
	env, err := format.Parse(secret)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if string(env) != string(owner.Spec.Environment) {
		return "", fmt.Errorf("%w: a key of the %s environment", ErrMalformed, env)
	}
	return secret, nil
}
