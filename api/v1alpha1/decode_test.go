// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Whatever the apiserver accepts, Go must be able to read: one object that it cannot stops the watches of the
// controller and of the API, and that is every tenant's outage.
var _ = Describe("Whatever is accepted", func() {
	const tries = 400

	DescribeTable("can be decoded, however strange:", func(ctx SpecContext, resource, template string, strange func(*rand.Rand) string) {
		namespace, r := newNamespace(ctx), random()
		accepted := 0
		for range tries {
			text := strange(r)
			object, err := post(ctx, resource, namespace, fmt.Sprintf(template, text))
			if err != nil {
				Expect(err).To(Satisfy(refused), text)
				continue
			}
			accepted++
			expectDecodable(ctx, resource, object, text)
		}
		AddReportEntry("accepted", fmt.Sprintf("%d of %d", accepted, tries))
		Expect(accepted).To(And(BeNumerically(">", tries/20), BeNumerically("<", tries*19/20)), "the generator is too wild, or too tame, to find anything")
	},
		Entry("expiresAt", apiKeys, `{"environment":"live","expiresAt":%s}`, quoted(strangeTime)),
		Entry("rateLimit.window", apiKeys, `{"environment":"live","rateLimit":{"requests":1,"window":%s}}`, quoted(strangeDuration)),
		Entry("rateLimit.requests", apiKeys, `{"environment":"live","rateLimit":{"requests":%s,"window":"1m"}}`, strangeNumber),
		Entry("maxKeyLifetime", profiles, `{"maxKeyLifetime":%s}`, quoted(strangeDuration)),
		Entry("defaultRateLimit.requests", profiles, `{"defaultRateLimit":{"requests":%s,"window":"1m"}}`, strangeNumber),
	)
})

// refused is how the apiserver answers a manifest that it does not want: by its schema, or because it is no manifest.
func refused(err error) bool { return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) }

// expectDecodable reads one object into its Go type. What it says of time must also fit into status, where the
// controller copies it to.
func expectDecodable(ctx SpecContext, resource string, object *unstructured.Unstructured, text string) {
	GinkgoHelper()
	get := api.Get().Namespace(object.GetNamespace()).Resource(resource).Name(object.GetName()).Do(ctx)
	if resource == profiles {
		Expect(get.Into(&v1alpha1.Profile{})).To(Succeed(), text)
		return
	}
	k := &v1alpha1.ApiKey{}
	Expect(get.Into(k)).To(Succeed(), text)
	if k.Spec.ExpiresAt == nil {
		return
	}
	k.Status.ExpiresAt = k.Spec.ExpiresAt
	Expect(api.Put().Namespace(k.Namespace).Resource(resource).Name(k.Name).SubResource("status").Body(k).Do(ctx).Error()).To(Succeed(), text)
}

// mixed takes one of each list, mostly the first: a text that is almost right.
func mixed(r *rand.Rand, parts [][]string) string {
	var b strings.Builder
	for _, choices := range parts {
		choice := choices[0]
		if r.IntN(4) == 0 {
			choice = choices[r.IntN(len(choices))]
		}
		b.WriteString(choice)
	}
	return noisy(r, b.String())
}

// noisy changes, now and then, one character of text.
func noisy(r *rand.Rand, text string) string {
	const noise = "0123456789TtZz+-:. ,hmsµ\n\t_eE"
	if text == "" || r.IntN(8) > 0 {
		return text
	}
	at, with := r.IntN(len(text)), []rune(noise)
	return text[:at] + string(with[r.IntN(len(with))]) + text[at+r.IntN(2):]
}

// quoted makes JSON of a generator's texts.
func quoted(strange func(*rand.Rand) string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		text, err := json.Marshal(strange(r))
		Expect(err).NotTo(HaveOccurred())
		return string(text)
	}
}

func strangeTime(r *rand.Rand) string {
	return mixed(r, [][]string{
		{"2030", "0000", "0001", "1969", "2016", "2020", "2028", "2262", "9998", "9999", "10000", "-2030", "+2030", "30"},
		{"-", "", "/"},
		{"12", "00", "01", "02", "06", "11", "13", "1"},
		{"-", "", "/"},
		{"31", "00", "01", "28", "29", "30", "32", "3"},
		{"T", "t", " ", "", "_", "TT"},
		{"23", "00", "12", "24", "25", "2"},
		{":", "", "."},
		{"59", "00", "60", "61", "5"},
		{":", "", "."},
		{"59", "00", "60", "61", "5"},
		{"", ".0", ".5", ".999999999", ".9999999999", ".", ",5", ".5.5", ".-5"},
		{"Z", "z", "+00:00", "-00:00", "+23:59", "-23:59", "+24:00", "-24:00", "+99:99", "-12:60", "+0100", "+01", "", "ZZ", "+-1:00", "UTC"},
	})
}

func strangeDuration(r *rand.Rand) string {
	numbers := []string{"1", "0", "00", "01", "24", "59", "60", "999", "8760", "87600", "99999999", "00000001", "2562048", "9223372037", "1.5", ".5", "1_0", "+1", "-1", "", "1e1", "٣"}
	units := []string{"h", "m", "s", "ms", "us", "µs", "ns", "d", "w", "H", "", " ", "mm"}
	var b strings.Builder
	for range 1 + r.IntN(3)*r.IntN(3) {
		b.WriteString(numbers[r.IntN(1+r.IntN(len(numbers)))])
		b.WriteString(units[r.IntN(1+r.IntN(len(units)))])
	}
	return noisy(r, b.String())
}

func strangeNumber(r *rand.Rand) string {
	return mixed(r, [][]string{
		{"5", "0", "1", "12", "1000000", "1000001", "2147483648", "9223372036854775808", "-1", "-0", "+7", "07", "0x7", "null", "true", `"5"`, "[]", "{}"},
		{"", ".0", ".5", ".00", "."},
		{"", "e0", "e3", "E5", "e-1", "e300", "e-300", "e400"},
	})
}
