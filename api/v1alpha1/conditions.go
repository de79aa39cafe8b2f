// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. They follow kstatus: Ready is always present, Stalled only while True.
const (
	// ConditionReady is True while the key is served, as far as the controller knows. The API decides for itself, by
	// the same rules and its own clock: it never waits for this condition to refuse a key.
	ConditionReady = "Ready"
	// ConditionSecretAvailable is True while the minted Secret is there and holds the key. It is absent on a key
	// brought by hash, and says nothing of whether the key is served: status is the truth, not the Secret.
	ConditionSecretAvailable = "SecretAvailable"
	// ConditionStalled is present, and True, only while a person has to act: nothing gets better by itself, or nothing
	// ever will. Its reason and message are those of Ready.
	ConditionStalled = "Stalled"
	// ConditionRevoking is present, and True, only on an ApiKey that is being deleted, or that has leaked and stays, and
	// whose end is awaited: some replica may still accept the key, or has its queued posts to cancel. Its message says
	// who is awaited.
	ConditionRevoking = "Revoking"
)

// Reasons of Ready.
const (
	// ReasonPending (Unknown): the controller has not come to this object yet. Every new object starts with it.
	ReasonPending = "Pending"
	// ReasonRetrying (Unknown): the apiserver has answered with an error, which the message quotes: a webhook that it
	// can't reach, a permission that the controller lacks. It is tried again within half a minute. Of SecretAvailable
	// and of Revoking, it means the same. A key that was served has it if it has been reported as leaked, and its
	// LeakedKey can't be made.
	ReasonRetrying = "Retrying"
	// ReasonActive (True): an ApiKey is served; a Profile can be pinned to.
	ReasonActive = "Active"
	// ReasonExpired (False, Stalled): the effective expiry has passed. It is final: create a new ApiKey.
	ReasonExpired = "Expired"
	// ReasonProfileNotFound (False): the pinned Profile is not there, is being deleted, or is not the one that the key
	// was bound to (a Profile made again under an old name revives no key). A key that was never bound waits for its
	// Profile; one that was bound never comes back, and is Stalled.
	ReasonProfileNotFound = "ProfileNotFound"
	// ReasonDuplicateHash (False, Stalled): an ApiKey of the same namespace, which the message names, has the same key.
	// This one takes it over when that one is gone; unless it has its hash already, which a failover of the controller
	// may have written: then it is final.
	ReasonDuplicateHash = "DuplicateHash"
	// ReasonLeaked (False, Stalled): somebody has reported the key as leaked, by showing it. It is never served again,
	// in no namespace and whatever is restored, as long as the LeakedKey of it is there. The message says what to do.
	ReasonLeaked = "Leaked"
	// ReasonQuotaReached (False, Stalled): the namespace has as many keys as it may, which the message says. The key is
	// minted when another one of the namespace is gone.
	ReasonQuotaReached = "QuotaReached"
	// ReasonRevoking (False): the key is being deleted, and goes when every API replica refuses it. A Profile is being
	// deleted: its keys are refused, and finalizers of others, which the message names, hold it.
	ReasonRevoking = "Revoking"
	// ReasonRevoked (False): no API replica accepts the key any more, or it never was one. The ApiKey is still there
	// because finalizers of others hold it; the message names them.
	ReasonRevoked = "Revoked"
	// ReasonUnconfirmed (False): the key is being deleted, and somebody has taken FinalizerRevocation off: nobody knows
	// when the last API replica has refused it. Finalizers of others hold the ApiKey.
	ReasonUnconfirmed = "Unconfirmed"
	// ReasonSecretConflict (False, Stalled): a Secret of the wanted name exists and is not this key's. It is left
	// untouched. The message says whose it is, and what to do; the controller looks again by itself.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSecretRejected (False, Stalled): the apiserver refused the Secret (a quota, an admission policy). The
	// message says why; the controller tries again by itself. Or the ApiKey asks for a name or metadata that other
	// programs act on, and then only another ApiKey helps.
	ReasonSecretRejected = "SecretRejected"
)

// Reasons of Revoking.
const (
	// ReasonAwaitingReplicas (True): the replicas that the message names have not confirmed that they refuse the key. It
	// passes by itself: a replica that can't confirm is counted out when its Lease has expired, and accepts nothing from
	// before that on.
	ReasonAwaitingReplicas = "AwaitingReplicas"
	// ReasonAwaitingCancellation (True): no replica accepts the key any more, and none of the key's environment has
	// canceled yet what the key has queued, as AnnotationCancelScheduled asks for. The replicas go by it: nothing more is
	// queued from here on. It passes when one of them runs and reaches its database, or when the annotation is removed:
	// then what is queued stays.
	ReasonAwaitingCancellation = "AwaitingCancellation"
)

// Reasons of SecretAvailable.
const (
	// ReasonSecretCreated (True): the Secret is there and holds the key.
	ReasonSecretCreated = "SecretCreated"
	// ReasonSecretDeleted (False): the minted Secret is gone. The key goes on working and is never minted again: its
	// plaintext is wherever it was copied to, and nowhere else.
	ReasonSecretDeleted = "SecretDeleted"
	// ReasonSecretMismatch (False): a Secret of that name is there, but does not hold this key. The key goes on working.
	ReasonSecretMismatch = "SecretMismatch"
)
