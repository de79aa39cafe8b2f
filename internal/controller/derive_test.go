// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

var (
	born     = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	now      = born.Add(time.Hour + time.Millisecond)
	nowWhole = metav1.NewTime(born.Add(time.Hour))
	tomorrow = metav1.NewTime(born.Add(24 * time.Hour))
	someHash = key.Hash{Lookup: key.Lookup{1, 2, 3}, Binding: key.Binding{4}}
)

func TestDerive(t *testing.T) {
	gave := &assignment{hash: someHash, hint: "lmp_live_…wxyz", organizationID: "org-1"}
	// told is what a condition says, without the times.
	told := func(c metav1.Condition) string {
		return strings.Join([]string{c.Type, string(c.Status), c.Reason, c.Message}, " | ")
	}
	const leaked = "Leaked | Somebody who has this key has reported it as leaked: it is refused, in any namespace and for good. " +
		"Create a new ApiKey with another key, move its users over, and take this one out of where it is applied from"
	const awaited = "Revoking | True | AwaitingReplicas | Waiting for the API replicas to confirm that they refuse the key"
	for _, tc := range []struct {
		reason string
		key    *v1alpha1.ApiKey
		found  findings
		want   []string
	}{
		{"nothing known, nothing said", anApiKey(), findings{}, []string{"Ready | Unknown | Pending | Waiting for the controller"}},
		{"minted", anApiKey(), findings{assigned: gave, secret: secretAvailable}, []string{
			"Ready | True | Active | The key is served", "SecretAvailable | True | SecretCreated | Secret website holds the key",
		}},
		{"brought by hash: of a Secret there is nothing to say", anApiKey(byHashOnly), findings{assigned: gave}, []string{"Ready | True | Active | The key is served"}},
		{"the Secret is gone; the key is not", anApiKey(minted), findings{secret: secretDeleted}, []string{
			"Ready | True | Active | The key is served",
			"SecretAvailable | False | SecretDeleted | Secret website is gone, and is not made again. Whether the key is served does not depend on it",
		}},
		{"the Secret is another", anApiKey(minted), findings{secret: secretMismatch}, []string{
			"Ready | True | Active | The key is served",
			"SecretAvailable | False | SecretMismatch | Secret website does not hold this key. Whether the key is served does not depend on it",
		}},
		{"somebody's Secret", anApiKey(), findings{secret: secretConflict, detail: "not controlled by this ApiKey", advice: "delete it, or create an ApiKey with another secretName"}, []string{
			"Ready | False | SecretConflict | Secret website exists already and is not controlled by this ApiKey. It is left as it is: delete it, or create an ApiKey with another secretName",
			"Stalled | True | SecretConflict | Secret website exists already and is not controlled by this ApiKey. It is left as it is: delete it, or create an ApiKey with another secretName",
		}},
		{"a refused Secret", anApiKey(), findings{secret: secretRejected, detail: "exceeded quota"}, []string{
			"Ready | False | SecretRejected | The apiserver refused the Secret: exceeded quota",
			"Stalled | True | SecretRejected | The apiserver refused the Secret: exceeded quota",
		}},
		{"a Secret that others would take for theirs", anApiKey(), findings{secret: secretReserved, detail: "that is Helm's. Choose another secretName"}, []string{
			"Ready | False | SecretRejected | No Secret website is minted: that is Helm's. Choose another secretName, in a new ApiKey, and delete this one",
			"Stalled | True | SecretRejected | No Secret website is minted: that is Helm's. Choose another secretName, in a new ApiKey, and delete this one",
		}},
		{"a failure that may last", anApiKey(), findings{failure: "create Secret: no webhook"}, []string{
			"Ready | Unknown | Retrying | create Secret: no webhook. It is tried again within half a minute",
		}},
		{"a failure in looking after a key that is served", anApiKey(minted), findings{failure: "get Secret website: forbidden"}, []string{
			"Ready | True | Active | The key is served",
			"SecretAvailable | Unknown | Retrying | get Secret website: forbidden. Whether the key is served does not depend on it",
		}},
		{"a failure, and no Secret to look after", anApiKey(minted, byHashOnly), findings{failure: "put the finalizer on: forbidden"}, []string{
			"Ready | True | Active | The key is served. put the finalizer on: forbidden. It is tried again within half a minute",
		}},
		{"a failure about a key that is refused for good, which it does not hide", anApiKey(minted, expiringAt(nowWhole)), findings{failure: "forbidden"}, []string{
			"Ready | False | Expired | The key has expired and is refused. Create a new ApiKey and delete this one. forbidden. It is tried again within half a minute",
			"Stalled | True | Expired | The key has expired and is refused. Create a new ApiKey and delete this one. forbidden. It is tried again within half a minute",
		}},
		{"a failure about a key that waits for its Profile", anApiKey(pinned), findings{failure: "get ApiKey: forbidden"}, []string{
			"Ready | False | ProfileNotFound | Waiting for Profile shop: it does not exist, or is being deleted. get ApiKey: forbidden. It is tried again within half a minute",
		}},
		{"a failure in looking at the Secret of a key that has expired since", anApiKey(minted, unseen, expiringAt(nowWhole)), findings{}, []string{
			"Ready | False | Expired | The key has expired and is refused. Create a new ApiKey and delete this one",
			"Stalled | True | Expired | The key has expired and is refused. Create a new ApiKey and delete this one",
		}},
		{"reported as leaked, and not taken note of: nobody says that it is served", anApiKey(minted, unseen), findings{unnoted: answer("no"), failure: "make the LeakedKey: no"}, []string{
			"Ready | Unknown | Retrying | Somebody who has this key has reported it as leaked: it is refused where that was said, " +
				"and everywhere once there is a LeakedKey. make the LeakedKey: no. It is tried again within half a minute",
		}},
		{"the same of a key that has not come into being", anApiKey(byHashOnly), findings{unnoted: answer("no"), failure: "make the LeakedKey: no"}, []string{
			"Ready | Unknown | Retrying | make the LeakedKey: no. It is tried again within half a minute",
		}},
		{"a Secret that will go by itself needs no person", anApiKey(), findings{secret: secretLeaving, detail: "controlled by a deleted ApiKey of the same name"}, []string{
			"Ready | Unknown | Pending | Waiting for Secret website to be garbage collected: it is controlled by a deleted ApiKey of the same name",
		}},
		{"no Profile yet: it may come", anApiKey(pinned), findings{}, []string{
			"Ready | False | ProfileNotFound | Waiting for Profile shop: it does not exist, or is being deleted",
		}},
		{"no Profile any more: it won't come back", anApiKey(bound), findings{}, []string{
			"Ready | False | ProfileNotFound | Profile shop, with the UID profile-1 that this key is bound to, is gone. Create a new ApiKey and delete this one",
			"Stalled | True | ProfileNotFound | Profile shop, with the UID profile-1 that this key is bound to, is gone. Create a new ApiKey and delete this one",
		}},
		{"another Profile of that name", anApiKey(bound), findings{profile: aProfile("2", 0)}, []string{
			"Ready | False | ProfileNotFound | Profile shop, with the UID profile-1 that this key is bound to, is gone. Create a new ApiKey and delete this one",
			"Stalled | True | ProfileNotFound | Profile shop, with the UID profile-1 that this key is bound to, is gone. Create a new ApiKey and delete this one",
		}},
		{"the Profile it is bound to", anApiKey(bound), findings{profile: aProfile("1", 0)}, []string{"Ready | True | Active | The key is served"}},
		{"expired", anApiKey(minted, expiringAt(nowWhole)), findings{}, []string{
			"Ready | False | Expired | The key has expired and is refused. Create a new ApiKey and delete this one",
			"Stalled | True | Expired | The key has expired and is refused. Create a new ApiKey and delete this one",
		}},
		{"another has the key: a person may delete it", anApiKey(byHashOnly), findings{rival: &rival{name: "old"}}, []string{
			"Ready | False | DuplicateHash | ApiKey old has this key. This one takes it over when that one is deleted; if the key is to be revoked, delete both",
			"Stalled | True | DuplicateHash | ApiKey old has this key. This one takes it over when that one is deleted; if the key is to be revoked, delete both",
		}},
		{"another has the key, and is being deleted: that passes", anApiKey(byHashOnly), findings{rival: &rival{name: "old", leaving: true}}, []string{
			"Ready | Unknown | Pending | Waiting for ApiKey old, which has this key and is being deleted, to be gone",
		}},
		{"the other is gone: what it waited for is over", anApiKey(byHashOnly, waitingFor("old")), findings{assigned: gave}, []string{
			"Ready | True | Active | The key is served",
		}},
		{"a failover has given the key to both", anApiKey(minted), findings{rival: &rival{name: "old"}}, []string{
			"Ready | False | DuplicateHash | Another ApiKey of this namespace had this key first. This one is refused for good. Create a new ApiKey with another key and delete this one",
			"Stalled | True | DuplicateHash | Another ApiKey of this namespace had this key first. This one is refused for good. Create a new ApiKey with another key and delete this one",
		}},
		{"a rival tells more than expiry, which would come to both", anApiKey(minted, expiringAt(nowWhole)), findings{rival: &rival{name: "old"}}, []string{
			"Ready | False | DuplicateHash | Another ApiKey of this namespace had this key first. This one is refused for good. Create a new ApiKey with another key and delete this one",
			"Stalled | True | DuplicateHash | Another ApiKey of this namespace had this key first. This one is refused for good. Create a new ApiKey with another key and delete this one",
		}},
		{"a brought key that has leaked stays, and waits for the replicas", anApiKey(broughtAndServed), findings{leaked: true}, []string{
			"Ready | False | " + leaked, awaited, "Stalled | True | " + leaked,
		}},
		{"and says the same for as long as it stays", anApiKey(broughtAndServed, leakedBefore), findings{leaked: true}, []string{
			"Ready | False | " + leaked, awaited, "Stalled | True | " + leaked,
		}},
		{"all have confirmed it: nobody is waited for again", anApiKey(broughtAndServed, leakedBefore, confirmed), findings{leaked: true}, []string{
			"Ready | False | " + leaked, "Stalled | True | " + leaked,
		}},
		{"a brought key that had leaked before it came was never served: nobody is waited for", anApiKey(byHashOnly), findings{leaked: true}, []string{
			"Ready | False | " + leaked, "Stalled | True | " + leaked,
		}},
		{"a leak tells more than expiry", anApiKey(broughtAndServed, expiringAt(nowWhole)), findings{leaked: true}, []string{
			"Ready | False | " + leaked, awaited, "Stalled | True | " + leaked,
		}},
		{"than a rival", anApiKey(byHashOnly), findings{leaked: true, rival: &rival{name: "old"}}, []string{
			"Ready | False | " + leaked, "Stalled | True | " + leaked,
		}},
		{"and than a Profile that is gone", anApiKey(broughtAndServed, bound), findings{leaked: true}, []string{
			"Ready | False | " + leaked, awaited, "Stalled | True | " + leaked,
		}},
		{"forgiven while replicas are awaited", anApiKey(broughtAndServed, leakedBefore), findings{}, []string{"Ready | True | Active | The key is served"}},
		{"forgiven later", anApiKey(broughtAndServed, leakedBefore, confirmed), findings{}, []string{"Ready | True | Active | The key is served"}},
		{"forgiven before it has its hash", anApiKey(byHashOnly, leakedBefore), findings{assigned: gave}, []string{"Ready | True | Active | The key is served"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			tc.key.Generation = 2
			derive(tc.key, tc.found, now)
			var got []string
			for _, c := range tc.key.Status.Conditions {
				got = append(got, told(c))
				if c.ObservedGeneration != 2 || c.LastTransitionTime.IsZero() && c.Reason != v1alpha1.ReasonPending {
					t.Errorf("%s: observedGeneration %d, lastTransitionTime %v", c.Type, c.ObservedGeneration, c.LastTransitionTime)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if tc.key.Status.ObservedGeneration != 2 {
				t.Errorf("observedGeneration = %d, want 2", tc.key.Status.ObservedGeneration)
			}
			later := tc.key.DeepCopy()
			if derive(later, tc.found, now.Add(time.Minute)); tc.found.assigned == nil {
				if diff := cmp.Diff(tc.key.Status, later.Status); diff != "" {
					t.Errorf("a minute later nothing has changed, and yet status would be written (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestDeriveClearsStalled(t *testing.T) {
	k := anApiKey()
	derive(k, findings{secret: secretConflict}, now)
	derive(k, findings{assigned: &assignment{hash: someHash}, secret: secretAvailable}, now)
	for _, c := range k.Status.Conditions {
		if c.Type == v1alpha1.ConditionStalled {
			t.Errorf("a key that is served is %s: %s", c.Type, c.Message)
		}
	}
}

func TestWriteOnce(t *testing.T) {
	gave := &assignment{hash: someHash, hint: "lmp_live_…wxyz", organizationID: "org-1"}
	fractional := metav1.NewTime(tomorrow.Add(900 * time.Millisecond))
	ceiling := metav1.NewTime(nowWhole.Add(time.Hour))
	base := v1alpha1.ApiKeyStatus{
		Hash: someHash.String(), Hint: "lmp_live_…wxyz", OrganizationID: "org-1", MintedAt: &nowWhole, ObservedGeneration: 1,
		Binding: &v1alpha1.Binding{Name: "website"},
	}
	status := func(mod func(*v1alpha1.ApiKeyStatus)) v1alpha1.ApiKeyStatus {
		s := base.DeepCopy()
		mod(s)
		return *s
	}
	for _, tc := range []struct {
		reason  string
		key     *v1alpha1.ApiKey
		profile *v1alpha1.Profile
		want    v1alpha1.ApiKeyStatus
	}{
		{"a key that asks for nothing", anApiKey(), nil, base},
		{
			"a Secret of another name", anApiKey(func(k *v1alpha1.ApiKey) { k.Spec.SecretName = "other" }), nil,
			status(func(s *v1alpha1.ApiKeyStatus) { s.Binding.Name = "other" }),
		},
		{"brought by hash: no Secret, no binding", anApiKey(byHashOnly), nil, status(func(s *v1alpha1.ApiKeyStatus) { s.Binding = nil })},
		{"an expiry of its own", anApiKey(expiringAt(tomorrow)), nil, status(func(s *v1alpha1.ApiKeyStatus) { s.ExpiresAt = &tomorrow })},
		{
			"status knows no fractions of seconds; an earlier one is the safe one", anApiKey(expiringAt(fractional)), nil,
			status(func(s *v1alpha1.ApiKeyStatus) { s.ExpiresAt = &tomorrow }),
		},
		{"bound to its Profile", anApiKey(pinned), aProfile("1", 0), status(func(s *v1alpha1.ApiKeyStatus) { s.ProfileID = "profile-1" })},
		{
			"capped by its Profile", anApiKey(pinned, expiringAt(tomorrow)), aProfile("1", time.Hour),
			status(func(s *v1alpha1.ApiKeyStatus) { s.ProfileID, s.ExpiresAt = "profile-1", &ceiling }),
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			derive(tc.key, findings{assigned: gave, profile: tc.profile}, now)
			tc.key.Status.Conditions = nil
			if diff := cmp.Diff(tc.want, tc.key.Status); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

// inConflict has the Secret in the way for as long as that.
func inConflict(lasted time.Duration) func(k *v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSecretConflict,
			LastTransitionTime: metav1.NewTime(now.Add(-lasted)),
		}}
	}
}

// TestRetries says that whatever fails, however often, is tried again within half a minute.
func TestRetries(t *testing.T) {
	limiter := retries()
	for range 100 {
		if pause := limiter.When(reconcile.Request{}); pause > 30*time.Second {
			t.Fatalf("after %d failures the next try is in %s", limiter.NumRequeues(reconcile.Request{}), pause)
		}
	}
}

// TestDatedTruly says that no condition keeps the year 1970, which stands for "nobody has written this yet".
func TestDatedTruly(t *testing.T) {
	k := anApiKey()
	derive(k, findings{failure: "the apiserver can't"}, now)
	if at := k.Status.Conditions[0].LastTransitionTime; !at.Time.Equal(now) {
		t.Errorf("Ready has been Unknown since %s, want %s", at, now)
	}
	derive(k, findings{failure: "still can't"}, now.Add(time.Hour))
	if at := k.Status.Conditions[0].LastTransitionTime; !at.Time.Equal(now) {
		t.Errorf("with another message, it is Unknown since %s, want %s", at, now)
	}
}

func TestNextLook(t *testing.T) {
	at := func(d time.Duration) lifecycle.State { return lifecycle.State{ChangesAt: now.Add(d)} }
	served := func(s lifecycle.State) lifecycle.State { s.Reason = v1alpha1.ReasonActive; return s }
	var never lifecycle.State
	for _, tc := range []struct {
		reason   string
		interval time.Duration
		found    findings
		state    lifecycle.State
		min, max time.Duration
	}{
		{"nothing will change by itself", time.Minute, findings{key: anApiKey(pinned)}, never, 0, 0},
		{"the sweep looks for a Secret now and then", time.Minute, findings{key: anApiKey()}, served(never), 0, 0},
		{"there is no Secret to look for", time.Minute, findings{key: anApiKey(byHashOnly)}, served(never), 0, 0},
		{"and for one that may come back", time.Minute, findings{key: anApiKey(), secret: secretDeleted}, served(never), 0, 0},
		{"the garbage collector is quick", time.Minute, findings{key: anApiKey(), secret: secretLeaving}, never, time.Second, time.Second},
		{"a conflict may be mended soon", 10 * time.Minute, findings{key: anApiKey(), secret: secretConflict}, never, 25 * time.Second, 30 * time.Second},
		{"one that has lasted some minutes, less so", 10 * time.Minute, findings{key: anApiKey(inConflict(8 * time.Minute)), secret: secretConflict}, never, 2 * time.Minute, 144 * time.Second},
		{"one of last year keeps nobody busy, and is looked at all the same", 10 * time.Minute, findings{key: anApiKey(inConflict(8760 * time.Hour)), secret: secretConflict}, never, 5 * time.Minute, 6 * time.Minute},
		{"a refusal may be lifted soon", 10 * time.Minute, findings{key: anApiKey(), secret: secretRejected}, never, 25 * time.Second, 30 * time.Second},
		{"but not sooner than asked for", time.Second, findings{key: anApiKey(), secret: secretRejected}, never, time.Second, 1200 * time.Millisecond},
		{"what the key itself asks for can't be mended", time.Minute, findings{key: anApiKey(), secret: secretReserved}, never, 0, 0},
		{"expiry comes first", time.Minute, findings{key: anApiKey(), secret: secretConflict}, served(at(5 * time.Second)), 5 * time.Second, 5 * time.Second},
		{"expiry", time.Minute, findings{key: anApiKey()}, served(at(time.Hour)), time.Hour, time.Hour},
		{"expiry has come since: at once, which 0 would not be", time.Minute, findings{key: anApiKey()}, served(at(-time.Second)), time.Millisecond, time.Millisecond},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			r := &apiKeys{Options: Options{SecretRecheckInterval: tc.interval, Clock: clocktesting.NewFakePassiveClock(now)}}
			if got := r.nextLook(tc.found, tc.state); got < tc.min || got > tc.max {
				t.Errorf("nextLook() = %v, want %v to %v", got, tc.min, tc.max)
			}
		})
	}
}

func TestBounded(t *testing.T) {
	const most = 1024 // bytes of an event's note
	for _, tc := range []struct{ reason, message string }{
		{"short", "short"},
		{"just short enough", strings.Repeat("x", most)},
		{"one too many", strings.Repeat("x", most+1)},
		{"cut in the middle of a character", strings.Repeat("ü", most)},
		{"cut in the middle of another", "x" + strings.Repeat("ü", most)},
	} {
		got := bounded(tc.message)
		if len(got) > most || !utf8.ValidString(got) {
			t.Errorf("%s: %d bytes, valid %v", tc.reason, len(got), utf8.ValidString(got))
		}
		if whole := len(tc.message) <= most; whole != (got == tc.message) || whole == strings.HasSuffix(got, "…") {
			t.Errorf("%s: bounded() = %q", tc.reason, got)
		}
	}
}
