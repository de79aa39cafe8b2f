// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var number = regexp.MustCompile(`^[1-9][0-9]*$`)

// atLeast is what before is not, told another way: both are numbers, and a is not the smaller.
func atLeast(a, b string) bool {
	if !number.MatchString(a) || !number.MatchString(b) {
		return false
	}
	x, _ := new(big.Int).SetString(a, 10)
	y, _ := new(big.Int).SetString(b, 10)
	return x.Cmp(y) >= 0
}

// FuzzAnnouncement lets anything stand on a Lease. Whoever may write Leases may write that; it must hold no more up,
// and confirm no more, than what it says.
func FuzzAnnouncement(f *testing.F) {
	for _, applied := range []string{"", "0", "50", "050", "51", "100", "9", "+51", " 51", "51\n", "5e1", "٥٥", strings.Repeat("9", 100)} {
		for _, revoked := range []string{"", ",", "a", "a,b", "b,a", ",a,", " a", "a ", "A", "ab", "a,a"} {
			f.Add(applied, revoked, "", "a", "50")
		}
	}
	f.Add("50", "", "50", "", "50")
	f.Add("50", ",", "x", "", "50")
	f.Add("50", "a,b", "0", "a,b", "50")
	f.Fuzz(func(t *testing.T, applied, revoked, awaited, id, resourceVersion string) {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			v1alpha1.AnnotationApplied: applied, v1alpha1.AnnotationRevoked: revoked, v1alpha1.AnnotationCanceled: revoked, v1alpha1.AnnotationAwaited: awaited,
		}}}
		a := announcementOn(l)
		want := revoked != "" && slices.Contains(strings.Split(revoked, ","), id) && atLeast(applied, resourceVersion)
		if got := a.confirms(types.UID(id), resourceVersion); got != want {
			t.Errorf("%q at %q, asked of %q at %q: confirms %t, want %t", revoked, applied, id, resourceVersion, got, want)
		}
		if got := slices.Contains(a.canceled, types.UID(id)); got != (revoked != "" && slices.Contains(strings.Split(revoked, ","), id)) {
			t.Errorf("%q: %q is canceled: %t", revoked, id, got)
		}
		if a.awaited != awaited {
			t.Errorf("awaited is %q, want %q", a.awaited, awaited)
		}
		if bare := announcementOn(new(coordinationv1.Lease)); bare.confirms(types.UID(id), resourceVersion) {
			t.Errorf("a Lease that says nothing confirms %q at %q", id, resourceVersion)
		}
		// What a replica writes is read as it was meant.
		if id != "" && !strings.Contains(id, ",") {
			l.Annotations[v1alpha1.AnnotationRevoked] = encodeIDs([]types.UID{"z", types.UID(id), "0"})
			if announcementOn(l).confirms(types.UID(id), resourceVersion) != atLeast(applied, resourceVersion) {
				t.Errorf("%q was named", id)
			}
		}
	})
}
