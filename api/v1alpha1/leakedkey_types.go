// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LeakedKeySpec says of whom the key was when it was reported. It decides
// nothing: the name of the LeakedKey does.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec is immutable: it says how the key was reported"
type LeakedKeySpec struct {
	// apiKeyNamespace is the namespace of the ApiKey that was found first to
	// have the key.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	ApiKeyNamespace string `json:"apiKeyNamespace"`

	// apiKeyName is the name of that ApiKey.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ApiKeyName string `json:"apiKeyName"`

	// environment that the key opened.
	//
	// +required
	Environment Environment `json:"environment"`

	// hint is what people tell the key by, as in the ApiKey's status.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Hint string `json:"hint,omitempty"`

	// reportedTo is the Lease of the process that the key was shown to.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ReportedTo string `json:"reportedTo"`
}

// LeakedKey is an API key that somebody has reported as leaked, by showing
// it. Its name is the SHA-256 of the key in hexadecimal digits. As long as it
// is there, nothing serves the key, whatever ApiKey brings it, in whatever
// namespace. The controller makes it, in the namespace of the release, and
// nobody else can. To forgive, delete it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=leakedkeys,scope=Namespaced
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[0-9a-f]{64}$')",message="the name of a LeakedKey is the SHA-256 of the key, in 64 lower-case hexadecimal digits"
// +kubebuilder:printcolumn:name="Key Namespace",type=string,JSONPath=`.spec.apiKeyNamespace`
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.spec.apiKeyName`
// +kubebuilder:printcolumn:name="Hint",type=string,JSONPath=`.spec.hint`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type LeakedKey struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says of whom the key was when it was reported.
	//
	// +required
	Spec LeakedKeySpec `json:"spec"`
}

// LeakedKeyList is a list of LeakedKeys.
//
// +kubebuilder:object:root=true
type LeakedKeyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []LeakedKey `json:"items"`
}
