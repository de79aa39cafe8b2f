// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ProfileSpec describes a Profile. Unlike an ApiKey's, it may change at any
// time.
type ProfileSpec struct {
	// displayName is what people see. Default: the Profile's own name.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=120
	DisplayName string `json:"displayName,omitempty"`

	// description is free text for people.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1000
	Description string `json:"description,omitempty"`

	// maxKeyLifetime is a ceiling for the keys pinned to this Profile, such as
	// 720h: each is refused this long after it was minted, or at its own
	// expiresAt if that is sooner. It is read when a key is minted; a later
	// change leaves the keys that exist as they are. Whole hours, minutes or
	// seconds, 1s to 87600h.
	//
	// +optional
	// +nullable
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,8}(s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('87600h')",message="must be between 1s and 87600h (ten years)"
	MaxKeyLifetime *metav1.Duration `json:"maxKeyLifetime,omitempty"`

	// defaultRateLimit is the allowance of each key that is pinned to this
	// Profile and has none of its own: each has all of it. A change takes effect
	// at once. Default: the server's own.
	//
	// +optional
	// +nullable
	DefaultRateLimit *RateLimit `json:"defaultRateLimit,omitempty"`
}

// ProfileStatus is written by the controller alone.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.organizationID) || (has(self.organizationID) && self.organizationID == oldSelf.organizationID)",message="organizationID is written once"
type ProfileStatus struct {
	// organizationID is the UID of the namespace. The API shows a Profile only
	// to keys of that organization.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	OrganizationID string `json:"organizationID,omitempty"`

	// keys counts the ApiKeys bound to this Profile, served or not.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Keys int32 `json:"keys"`

	// observedGeneration is the generation that this status speaks of.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Ready (can keys be pinned to this Profile?).
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Profile is one brand, client or product of an organization. Keys can be
// pinned to it, and to a pinned key nothing else exists.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=profiles,scope=Namespaced,categories=letmepost
// +kubebuilder:printcolumn:name="Display Name",type=string,JSONPath=`.spec.displayName`
// +kubebuilder:printcolumn:name="Keys",type=integer,JSONPath=`.status.keys`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Max Key Lifetime",type=string,JSONPath=`.spec.maxKeyLifetime`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Profile struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec describes the Profile.
	//
	// +optional
	Spec ProfileSpec `json:"spec,omitempty"`

	// status is written by the controller alone.
	//
	// +optional
	// +kubebuilder:default={"keys": 0, "conditions": {{"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "Waiting for the controller", "lastTransitionTime": "1970-01-01T00:00:00Z"}}}
	Status ProfileStatus `json:"status,omitempty"`
}

// ProfileList is a list of Profiles.
//
// +kubebuilder:object:root=true
type ProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Profile `json:"items"`
}
