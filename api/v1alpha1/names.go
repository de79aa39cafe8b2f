// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import corev1 "k8s.io/api/core/v1"

// Names that appear in a cluster. They are part of the contract: changing one orphans what was made under it.
const (
	// SecretType is the type of every minted Secret.
	SecretType corev1.SecretType = "letmepost.dev/api-key"

	// SecretKeyAPIKey is the entry of a minted Secret that holds the key, once and in full.
	SecretKeyAPIKey = "LMP_API_KEY"
	// SecretKeyBaseURL is the entry of a minted Secret that holds the API's base URL for the key's environment.
	SecretKeyBaseURL = "LMP_BASE_URL"
	// SecretKeyBindingType is the entry that the Service Binding specification asks for; its value is BindingType.
	SecretKeyBindingType = "type"
	// BindingType is the Service Binding type of every minted Secret.
	BindingType = "letmepost"

	// FinalizerRevocation holds a deleted ApiKey back until no API replica accepts it any more. It is on every ApiKey
	// before the key is served.
	FinalizerRevocation = "letmepost.dev/revocation"

	// AnnotationCancelScheduled, set to CancelScheduled on an ApiKey before it is deleted, has the posts cancelled that
	// the key has queued, before the ApiKey is gone. It is for keys that have leaked; without it they are published when
	// due. CancelsScheduled reads it.
	AnnotationCancelScheduled = "letmepost.dev/cancel-scheduled"
	// CancelScheduled is the value of AnnotationCancelScheduled. Other words for true count as well.
	CancelScheduled = "true"

	// AnnotationUnconfirmed, set to Unconfirmed on an ApiKey, says that FinalizerRevocation may be missing from it: who
	// deletes it is not told whether a replica still accepts the key. It is the way out when no controller runs.
	// `controller release` sets it, and a controller takes it off again.
	AnnotationUnconfirmed = "letmepost.dev/unconfirmed"
	// Unconfirmed is the one value of AnnotationUnconfirmed.
	Unconfirmed = "true"

	// LabelShownTo is on an ApiKey that the dashboard has minted to be shown once, until the person that it was shown to
	// has said that they have the key. Its value stands for that person. A key that still has it may be nobody's: the
	// answer may not have reached them.
	LabelShownTo = "letmepost.dev/shown-to"
	// LabelRotates is on an ApiKey that was minted to take the place of another one, whose UID it is.
	LabelRotates = "letmepost.dev/rotates"
	// AnnotationForm is on an ApiKey that was minted in the dashboard: the id of the form, which is good for one key. It
	// is how a form that is sent again is told from a name that is taken.
	AnnotationForm = "letmepost.dev/form"

	// LabelReplica is on the Lease of every replica: of an API process its value is the environment that it serves, of a
	// gate it is "gate".
	LabelReplica = "letmepost.dev/replica"
	// AnnotationApplied, on a replica's Lease, is the resourceVersion up to which the replica has applied ApiKeys.
	AnnotationApplied = "letmepost.dev/applied-resource-version"
	// AnnotationRevoked, on a replica's Lease, lists the ApiKeys whose keys the replica refuses, separated by commas: the
	// UIDs of those that are being deleted; and of those that have leaked and stay UID@t, where t is since when that is
	// awaited, in Unix seconds.
	AnnotationRevoked = "letmepost.dev/revoked"
	// AnnotationCanceled, on a replica's Lease, lists the UIDs of the ApiKeys whose queued posts the replica has canceled,
	// separated by commas, since no replica accepts the key any more (ReasonAwaitingCancellation).
	AnnotationCanceled = "letmepost.dev/canceled"
	// AnnotationAwaited, on a replica's Lease, is the resourceVersion that the controller waits for the replica to apply;
	// it is there only while the replica is late.
	AnnotationAwaited = "letmepost.dev/awaited-resource-version"
	// AnnotationAsked, on a replica's Lease, lists ApiKeys, as AnnotationRevoked does, that the controller asks the
	// replica to name before all others; it is there only while a full Lease leaves out what is awaited.
	AnnotationAsked = "letmepost.dev/asked"

	// AnnotationLeaked, on a replica's Lease, lists keys that were reported to the replica as leaked: the namespace that
	// has the key, a slash, and the SHA-256 of the key in hexadecimal digits; separated by commas.
	AnnotationLeaked = "letmepost.dev/leaked"

	// LabelManagedBy is set to ManagedBy on every minted Secret, over whatever spec.secretTemplate says.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "letmepost-operator"
)
