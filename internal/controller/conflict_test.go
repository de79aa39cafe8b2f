// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

// TestInTheWay: each Secret that can be in a key's way is said whose it is, and nobody is advised to delete one that a
// living ApiKey owns, or whose key it has: that may be the only copy.
func TestInTheWay(t *testing.T) {
	other := &v1alpha1.ApiKey{ObjectMeta: metav1.ObjectMeta{Namespace: "acme", Name: "first", UID: "first-1"}}
	mine := anApiKey()
	controlledBy := func(kind, version, name string) func(*corev1.Secret) {
		return func(s *corev1.Secret) {
			yes := true
			s.OwnerReferences = []metav1.OwnerReference{{Kind: kind, APIVersion: version, Name: name, UID: "uid", Controller: &yes}}
		}
	}
	ours := func(name string) func(*corev1.Secret) {
		return controlledBy("ApiKey", v1alpha1.GroupVersion.String(), name)
	}
	orphaned := func(s *corev1.Secret) { s.Type = v1alpha1.SecretType }
	for _, tc := range []struct {
		reason        string
		secret        func(*corev1.Secret)
		why           error
		owner, holder *v1alpha1.ApiKey
		state         secretState
		says, advises string
	}{
		{"another ApiKey's, which lives", ours("first"), keysecret.ErrNotOwned, other, other, secretConflict, "ApiKey first", ""},
		{"another ApiKey's, which is not minted yet", ours("first"), keysecret.ErrNotOwned, other, nil, secretConflict, "ApiKey first", ""},
		{"a living ApiKey's of this name, before the cache has caught up", ours("website"), keysecret.ErrPreviousOwner, other, nil, secretConflict, "ApiKey first", ""},
		{"with the key of a living ApiKey, and the reference taken off", orphaned, keysecret.ErrNotOwned, nil, other, secretConflict, "the key of ApiKey first", ""},
		{"a copy of a living ApiKey's", nil, keysecret.ErrNotOwned, nil, other, secretConflict, "the key of ApiKey first", ""},
		{"a copy of a living ApiKey's, under our name", ours("website"), keysecret.ErrMalformed, mine, other, secretConflict, "the key of ApiKey first", ""},
		{"another ApiKey's, which is gone", ours("first"), keysecret.ErrNotOwned, nil, nil, secretLeaving, "", ""},
		{"one of this name, which is gone", ours("website"), keysecret.ErrPreviousOwner, nil, nil, secretLeaving, "", ""},
		{"left behind by --cascade=orphan", orphaned, keysecret.ErrNotOwned, nil, nil, secretConflict, "--cascade=orphan", "delete it, and a new key is minted"},
		{"of another controller, which would make it again", controlledBy("Certificate", "cert-manager.io/v1", "tls"), keysecret.ErrNotOwned, nil, nil, secretConflict, "controlled by Certificate tls", ""},
		{"an ApiKey's of another group", controlledBy("ApiKey", "example.com/v1", "x"), keysecret.ErrNotOwned, nil, nil, secretConflict, "controlled by ApiKey x", ""},
		{"somebody's", nil, keysecret.ErrNotOwned, nil, nil, secretConflict, "", "delete it if nobody needs it"},
		{"made in our name, without a key that was ever served", ours("website"), keysecret.ErrMalformed, mine, nil, secretConflict, "", "delete it if nobody needs it"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "acme", Name: "website"}}
			if tc.secret != nil {
				tc.secret(s)
			}
			found := findings{}
			found.secret, found.detail, found.advice = inTheWay{s, tc.why, tc.owner, tc.holder}.tell()
			k := anApiKey()
			derive(k, found, now)
			message := k.Status.Conditions[0].Message
			if found.secret != tc.state || !strings.Contains(message, tc.says) || !strings.Contains(message, tc.advises) {
				t.Errorf("state %d: %s; want state %d, %q and %q", found.secret, message, tc.state, tc.says, tc.advises)
			}
			if advises := strings.Contains(strings.ToLower(message), "delete it"); advises != (tc.advises != "") {
				t.Errorf("%s: it advises to delete the Secret: %t", message, advises)
			}
			if tc.state == secretConflict && !strings.Contains(message, "another secretName") {
				t.Errorf("%s: it does not say what can be done in any case", message)
			}
		})
	}
}
