// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Environment names one of the two worlds a key can open. A key of one is
// unknown in the other.
//
// +kubebuilder:validation:Enum=live;test
type Environment string

// The environments.
const (
	// EnvironmentLive publishes to real platforms. Its keys begin with
	// lmp_live_.
	EnvironmentLive Environment = "live"
	// EnvironmentTest reaches sandbox accounts only. Its keys begin with
	// lmp_test_.
	EnvironmentTest Environment = "test"
)

// Scope is one permission of a key: one of those that this API knows, or one of somebody's own, for a service that a
// gate guards: a domain, a colon and a word, such as billing.example.com:read. Those mean nothing to this API.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self in ['posts:read','posts:write','media:read','media:write','accounts:read','accounts:write'] || self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?(:[a-z]([-a-z0-9._]*[a-z0-9])?)+$')",message="must be one of posts:read, posts:write, media:read, media:write, accounts:read and accounts:write, or one of your own: a domain of yours, a colon and a word, all in lower case, such as billing.example.com:read"
// +kubebuilder:validation:XValidation:rule="!self.matches('^([-a-z0-9.]+[.])?letmepost[.]dev:')",message="scopes of letmepost.dev are reserved: take a domain of yours"
type Scope string

// ClaimValue is the text of one claim. It goes into a header, where it needs no quoting, and nothing that a proxy might
// take for one of its variables is in it.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[-A-Za-z0-9._~:/@+]([-A-Za-z0-9._~:/@+ ]*[-A-Za-z0-9._~:/@+])?$')",message="must be of letters, digits, and the characters - . _ ~ : / @ +, with spaces within"
type ClaimValue string

// ProfileReference names a Profile of the same namespace.
type ProfileReference struct {
	// name of the Profile. At the first reconcile the key is bound to the UID
	// behind this name, for good: a Profile that is deleted and made again under
	// the same name does not revive the key.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="must be the name of a Profile: lower case letters, digits, '-' and '.'"
	Name string `json:"name"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
type LabelValue string

// AnnotationValue is the value of an annotation.
//
// +kubebuilder:validation:MaxLength=1024
type AnnotationValue string

// SecretTemplate is the metadata that the minted Secret gets.
//
// +kubebuilder:validation:MinProperties=1
type SecretTemplate struct {
	// labels of the minted Secret. app.kubernetes.io/managed-by is set by the
	// controller.
	//
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && !format.qualifiedName().validate(k).hasValue())",message="each key must be a qualified name, as in example.com/team"
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// annotations of the minted Secret.
	//
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && !format.qualifiedName().validate(k).hasValue())",message="each key must be a qualified name, as in example.com/team"
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`
}

// ApiKeySpec says which key is wanted. It is immutable as a whole: to change
// anything, create a new ApiKey, move its users over, and delete the old
// one. A field that narrows what the key can do must not be null.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec is immutable: create a new ApiKey with the wanted spec, move its users over, then delete this one"
// +kubebuilder:validation:XValidation:rule="has(self.scopes)",message="scopes is null, which would be all scopes: list those that the key is to have, or leave the field out"
// +kubebuilder:validation:XValidation:rule="!has(self.secretHash) || !has(self.secretName)",message="secretHash and secretName exclude each other: nothing is minted for a key brought by hash"
// +kubebuilder:validation:XValidation:rule="!has(self.secretHash) || !has(self.secretTemplate)",message="secretHash and secretTemplate exclude each other: nothing is minted for a key brought by hash"
type ApiKeySpec struct {
	// environment that the key opens: live publishes to real platforms, test
	// reaches sandbox accounts only. A key of one environment is refused by the
	// other with 401.
	//
	// +required
	Environment Environment `json:"environment"`

	// profileRef pins the key to one Profile of its namespace. To a pinned key
	// nothing outside that Profile exists: the API answers 404. Without it the
	// key reaches the whole organization, that is, the namespace.
	//
	// +optional
	// +nullable
	ProfileRef *ProfileReference `json:"profileRef,omitempty"`

	// scopes that the key holds, 32 at most: posts:read, posts:write, media:read,
	// media:write, accounts:read, accounts:write, and any of your own for services
	// behind a gate, such as billing.example.com:read, of 63 characters at most.
	// Default: the six, and none of your own.
	//
	// +optional
	// +nullable
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:default={"posts:read","posts:write","media:read","media:write","accounts:read","accounts:write"}
	Scopes []Scope `json:"scopes,omitempty"`

	// claims are up to 8 short texts that services behind a gate are told of
	// whoever has the key, such as "plan: gold". They grant nothing here. A name is
	// of at most 63 lower case letters, digits, '-', '_' and '.'; a text of at most
	// 128 letters, digits, spaces and the characters - . _ ~ : / @ +
	//
	// +optional
	// +nullable
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=8
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.size() <= 63 && name.matches('^[a-z]([-a-z0-9._]*[a-z0-9])?$'))",message="each name must be of lower case letters, digits, '-', '_' and '.', begin with a letter and end with a letter or a digit, and have 63 characters at most"
	Claims map[string]ClaimValue `json:"claims,omitempty"`

	// secretName is the Secret to mint into, in the ApiKey's namespace. Default:
	// the ApiKey's own name. A Secret that exists already is never touched.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="must be the name of a Secret: lower case letters, digits, '-' and '.'"
	SecretName string `json:"secretName,omitempty"`

	// secretTemplate is metadata for the minted Secret.
	//
	// +optional
	SecretTemplate *SecretTemplate `json:"secretTemplate,omitempty"`

	// secretHash brings your own key by its hash: "bound:<lookup>:<binding>",
	// each of 32 lower-case hexadecimal digits. lookup is the first half of the
	// SHA-256 of the whole key; binding is the first half of the SHA-256 of the
	// other half, followed by "ns:" and the name of this namespace. In any other
	// namespace it opens nothing, so that it may be seen by anybody. Nothing is
	// minted and the plaintext never enters the cluster. The key itself must
	// have the shape described in docs/http-api.md, or the API refuses it before
	// hashing.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:XValidation:rule="self.matches('^bound:[0-9a-f]{32}:[0-9a-f]{32}$')",message="must be bound:<lookup>:<binding>, made of the key and the name of its namespace as docs/spec/v1alpha1/apikey.md says. The SHA-256 of the key alone is not taken: whoever sees it could bring the key to a namespace of theirs"
	SecretHash string `json:"secretHash,omitempty"`

	// expiresAt is the moment (RFC 3339) from which the key is refused. The API
	// enforces it by its own clock, to the second, whether or not the controller
	// runs. Default: never, unless the Profile has a maxKeyLifetime.
	//
	// +optional
	// +nullable
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:MaxLength=35
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	// +kubebuilder:validation:XValidation:rule="self > timestamp('2020-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')",message="must be an RFC 3339 time of the years 2020 to 9999 in UTC, such as 2027-01-31T00:00:00Z"
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// rateLimit is the key's allowance of requests. Default: the Profile's
	// defaultRateLimit, then the server's own. All the requests of a window may
	// come at once; beyond them the API answers 429 with a Retry-After.
	//
	// +optional
	// +nullable
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
}

// Binding makes an ApiKey a Provisioned Service of the Service Binding
// specification.
type Binding struct {
	// name of the minted Secret.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ApiKeyStatus is written by the controller alone. What decides access
// (hash, organizationID, profileID, mintedAt, expiresAt) is written once:
// the schema refuses a change, whoever asks.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.hash) || (has(self.hash) && self.hash == oldSelf.hash)",message="hash is written once"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.organizationID) || (has(self.organizationID) && self.organizationID == oldSelf.organizationID)",message="organizationID is written once"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.profileID) || (has(self.profileID) && self.profileID == oldSelf.profileID)",message="profileID is written once"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.mintedAt) || (has(self.mintedAt) && self.mintedAt == oldSelf.mintedAt)",message="mintedAt is written once"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.mintedAt) || (has(self.expiresAt) == has(oldSelf.expiresAt) && (!has(self.expiresAt) || self.expiresAt == oldSelf.expiresAt))",message="expiresAt is settled when the key is minted"
type ApiKeyStatus struct {
	// hash of the key, "bound:<lookup>:<binding>". It is all that is kept of the
	// key, and all that the API needs. It is bound to organizationID, or for a
	// key brought by its hash to the namespace's name, and worth nothing to who
	// sees it. A key minted before version 0.2 has "sha256:" and the SHA-256 of
	// the key, which is served as well.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:Pattern=`^(bound:[0-9a-f]{32}:[0-9a-f]{32}|sha256:[0-9a-f]{64})$`
	Hash string `json:"hash,omitempty"`

	// hint tells keys apart without giving them away: the prefix and the last
	// four characters, as in lmp_live_…wxyz. A key brought by hash shows the
	// prefix alone.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Hint string `json:"hint,omitempty"`

	// organizationID is the UID of the namespace.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	OrganizationID string `json:"organizationID,omitempty"`

	// profileID is the UID of the Profile that the key is pinned to. Absent: the
	// key reaches the whole organization.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ProfileID string `json:"profileID,omitempty"`

	// mintedAt is when the hash was written.
	//
	// +optional
	MintedAt *metav1.Time `json:"mintedAt,omitempty"`

	// expiresAt is the effective expiry, settled when the key is minted:
	// spec.expiresAt, or sooner where the Profile's maxKeyLifetime says so.
	// Absent: the key does not expire.
	//
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// binding names the minted Secret.
	//
	// +optional
	Binding *Binding `json:"binding,omitempty"`

	// observedGeneration is the generation that this status speaks of.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Ready (is the key served?), SecretAvailable (is the minted
	// Secret there?), Stalled (must a person act?).
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ApiKey is one API key. The controller mints its secret once, into a
// Secret, and keeps only the hash, in status. The key is served from then on
// until the ApiKey is deleted, which revokes it, or until it expires.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=apikeys,scope=Namespaced,shortName=ak,categories=letmepost
// +kubebuilder:printcolumn:name="Environment",type=string,JSONPath=`.spec.environment`
// +kubebuilder:printcolumn:name="Profile",type=string,JSONPath=`.spec.profileRef.name`
// +kubebuilder:printcolumn:name="Scopes",type=string,JSONPath=`.spec.scopes`
// +kubebuilder:printcolumn:name="Hint",type=string,JSONPath=`.status.hint`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiresAt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ApiKey struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which key is wanted. It is immutable as a whole: to change
	// anything, create a new ApiKey, move its users over, and delete the old
	// one.
	//
	// +required
	Spec ApiKeySpec `json:"spec"`

	// status is written by the controller alone.
	//
	// +optional
	// +kubebuilder:default={"conditions": {{"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "Waiting for the controller", "lastTransitionTime": "1970-01-01T00:00:00Z"}}}
	Status ApiKeyStatus `json:"status,omitempty"`
}

// ApiKeyList is a list of ApiKeys.
//
// +kubebuilder:object:root=true
type ApiKeyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ApiKey `json:"items"`
}

// SecretName is the name of the Secret that the key is minted into; "" for a
// key brought by hash.
func (k *ApiKey) SecretName() string {
	switch {
	case k.Spec.SecretHash != "":
		return ""
	case k.Spec.SecretName != "":
		return k.Spec.SecretName
	default:
		return k.Name
	}
}
