// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the contract with users: the ApiKey and Profile resources, their validation
// (schema and CEL: there is no webhook), and every condition type and reason, each with its meaning.
//
// An organization is a namespace. Names are for people; UIDs decide access.
//
// +kubebuilder:object:generate=true
// +groupName=letmepost.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is letmepost.dev/v1alpha1.
var GroupVersion = schema.GroupVersion{Group: "letmepost.dev", Version: "v1alpha1"}

// SchemeBuilder and AddToScheme register the types of this package.
var (
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	AddToScheme   = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &ApiKey{}, &ApiKeyList{}, &Profile{}, &ProfileList{})
	scheme.AddKnownTypes(GroupVersion, &LeakedKey{}, &LeakedKeyList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
