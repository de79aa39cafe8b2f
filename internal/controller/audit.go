// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"time"

	"github.com/go-logr/logr"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// auditor writes one line for each key that comes into being, and one for each that ends: its revocation is confirmed,
// or it went past the barrier. Who asked for it is not known here: the apiserver's audit log has it.
//
// A process that dies between the write to the apiserver and the line leaves none: the ApiKey's status and the
// apiserver's audit log say what was done.
type auditor struct{ log logr.Logger }

// created says that k has got its hash: from here on the key exists. It comes after the write of status, so a line
// never tells of a key that does not exist.
func (a auditor) created(k *v1alpha1.ApiKey) {
	message, event := "Key minted", "key.minted"
	if k.Spec.SecretHash != "" {
		message, event = "Hash of a key brought along was taken over", "key.brought"
	}
	a.log.Info(message, append(fields(k, event),
		"organizationID", k.Status.OrganizationID, "profile", profileName(k), "secret", k.SecretName())...)
}

// revoked says that the deletion of k, as it was before, has been let go.
func (a auditor) revoked(k *v1alpha1.ApiKey, v revocation.Verdict, now time.Time) {
	a.log.Info("Key revoked", append(fields(k, "key.revoked"),
		"deletedAt", k.DeletionTimestamp.UTC().Format(time.RFC3339),
		"confirmedAt", now.UTC().Format(time.RFC3339Nano),
		"waitedSeconds", v.Waited.Seconds(), "replicas", v.Replicas)...)
}

// unconfirmed says that k was deleted, and that nobody asked the replicas about it: its finalizer was missing, or
// somebody else took it off.
func (a auditor) unconfirmed(k *v1alpha1.ApiKey, now time.Time) {
	deletedAt := now // without a finalizer, it was gone the moment that it was deleted
	if k.DeletionTimestamp != nil {
		deletedAt = k.DeletionTimestamp.Time
	}
	a.log.Info("Key deleted without confirmation", append(fields(k, "key.unconfirmed"),
		"deletedAt", deletedAt.UTC().Format(time.RFC3339))...)
}

// leaked says that somebody has shown k's key, to the process with that Lease, as one that has leaked. What becomes of
// the ApiKey follows: key.revoked, if it is deleted.
func (a auditor) leaked(k *v1alpha1.ApiKey, lease string) {
	a.log.Info("Key reported as leaked", append(fields(k, "key.leaked"), "reportedTo", lease)...)
}

// fields are on every line. The hint is all of the key that may be told, and the hash is not among them. The UID is the
// key's id in the API's audit log and in what is stored, so that one search finds a key in all of them; a name may be
// used again.
func fields(k *v1alpha1.ApiKey, event string) []any {
	return []any{
		"event", event, "keyId", string(k.UID), "key", k.Namespace + "/" + k.Name,
		"environment", string(k.Spec.Environment), "hint", k.Status.Hint,
	}
}
