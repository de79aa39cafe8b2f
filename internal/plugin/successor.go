// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// successorOf is the key that is to take the place of old: it may do the same, for as long again.
//
// It is pure. A new ApiKey is made and the old one is not changed, because the schema makes a spec immutable. Of the
// metadata, people's labels go along; annotations stay behind, as they tell of the old ApiKey: the form that it was
// made by, or that its deletion cancels what is queued. The lifetime is counted from the old one's creation, so that a
// key of thirty days has a successor of thirty days, however late it is rotated.
func successorOf(old *v1alpha1.ApiKey, o *rotateOptions, now time.Time) *v1alpha1.ApiKey {
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{
			Name: cmp.Or(o.to, nextName(old.Name)), Namespace: old.Namespace, Labels: ownLabels(old.Labels),
		},
		Spec: *old.Spec.DeepCopy(),
	}
	k.Labels[v1alpha1.LabelRotates] = string(old.UID)
	// A key that was brought is not brought again: make sets the hash of another one, if it is made here.
	k.Spec.SecretHash = ""
	k.Spec.SecretName = o.secret
	if o.secret == "" && old.Spec.SecretName != "" { // chosen for a reason, such as its beginning
		k.Spec.SecretName = nextName(old.Spec.SecretName)
	}
	switch {
	case o.expiresIn > 0:
		k.Spec.ExpiresAt = &metav1.Time{Time: now.Add(o.expiresIn).UTC().Truncate(time.Second)}
	case old.Spec.ExpiresAt != nil:
		lifetime := old.Spec.ExpiresAt.Sub(old.CreationTimestamp.Time)
		k.Spec.ExpiresAt = &metav1.Time{Time: now.Add(lifetime).UTC().Truncate(time.Second)}
	}
	return k
}

// ownLabels are the labels that are people's own: without a prefix. Those with one belong to tools. Argo CD, for one,
// deletes what has its label and is not in Git.
func ownLabels(labels map[string]string) map[string]string {
	own := map[string]string{}
	for name, value := range labels {
		if !strings.Contains(name, "/") {
			own[name] = value
		}
	}
	return own
}

// numbered matches a name that ends in a number of one to four digits, without a zero before them. What is longer is a
// date or an id, and has a number put behind it.
var numbered = regexp.MustCompile(`^(.+)-([1-9][0-9]{0,3})$`)

// nextName is the name with the next number: backend, backend-2, backend-3. A name of 253 characters, which is as long
// as Kubernetes lets one be, loses the end of its stem. The stem is trimmed, because no label of a name may begin with
// the dash that comes next.
func nextName(name string) string {
	const longest = 253
	stem, number := name, 1
	if m := numbered.FindStringSubmatch(name); m != nil {
		stem = m[1]
		number, _ = strconv.Atoi(m[2]) // four digits
	}
	end := "-" + strconv.Itoa(number+1)
	return strings.TrimRight(stem[:min(len(stem), longest-len(end))], "-.") + end
}

// follows tells whether a name may be that of a successor: the stem of both is the same, and its number is higher. It
// is higher by 20 at most, as makeSuccessor tries no more names. The name alone is a weak sign, and used where there is
// nothing better: LabelRotates has the UID of the old key, which nobody knows any more when that is gone.
func follows(name, old string) bool {
	for candidate, tries := nextName(old), 0; tries < 20; candidate, tries = nextName(candidate), tries+1 {
		if candidate == name {
			return true
		}
	}
	return false
}
