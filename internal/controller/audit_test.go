// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

func TestAuditLines(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	minted := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "acme", Name: "ci", UID: "u-1"},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, ProfileRef: &v1alpha1.ProfileReference{Name: "shop"}},
		Status:     v1alpha1.ApiKeyStatus{Hash: "sha256:secret", Hint: "lmp_live_…wxyz", OrganizationID: "o-1"},
	}
	brought := minted.DeepCopy()
	brought.Spec.SecretHash, brought.Spec.ProfileRef = "sha256:secret", nil
	deleted := minted.DeepCopy()
	deleted.DeletionTimestamp = &metav1.Time{Time: at}
	fields := func(event string, more ...any) map[string]any {
		all := map[string]any{
			"logger": "audit", "level": 0.0, "event": event, "keyId": "u-1", "key": "acme/ci", "environment": "live", "hint": "lmp_live_…wxyz",
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i].(string)] = more[i+1]
		}
		return all
	}
	for _, tc := range []struct {
		reason string
		do     func(auditor)
		want   map[string]any
	}{
		{"a key is minted", func(a auditor) { a.created(minted) }, fields("key.minted", "msg", "Key minted",
			"organizationID", "o-1", "profile", "shop", "secret", "ci")},
		{"a hash is taken over", func(a auditor) { a.created(brought) }, fields("key.brought", "msg", "Hash of a key brought along was taken over",
			"organizationID", "o-1", "profile", "", "secret", "")},
		{"a deletion is confirmed", func(a auditor) {
			a.revoked(deleted, revocation.Verdict{Replicas: 2, Waited: 1500 * time.Millisecond}, at.Add(1500*time.Millisecond))
		}, fields("key.revoked", "msg", "Key revoked", "deletedAt", "2026-01-02T03:04:05Z", "confirmedAt", "2026-01-02T03:04:06.5Z",
			"waitedSeconds", 1.5, "replicas", 2.0)},
		{"it was reported as leaked", func(a auditor) { a.leaked(minted, "letmepost-api-live-0") }, fields("key.leaked",
			"msg", "Key reported as leaked", "reportedTo", "letmepost-api-live-0")},
		{"somebody took the finalizer off", func(a auditor) { a.unconfirmed(deleted, at.Add(time.Hour)) }, fields("key.unconfirmed",
			"msg", "Key deleted without confirmation", "deletedAt", "2026-01-02T03:04:05Z")},
		{"it had no finalizer, and was gone at once", func(a auditor) { a.unconfirmed(minted, at.Add(time.Second)) }, fields("key.unconfirmed",
			"msg", "Key deleted without confirmation", "deletedAt", "2026-01-02T03:04:06Z")},
	} {
		var lines []map[string]any
		log := funcr.NewJSON(func(line string) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Error(err)
			}
			lines = append(lines, fields)
		}, funcr.Options{})
		tc.do(auditor{log.WithName("audit")})
		if diff := cmp.Diff([]map[string]any{tc.want}, lines); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}
