// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	someHash   = "bound:e3b0c44298fc1c149afbf4c8996fb924:27ae41e4649b934ca495991b7852b855"
	someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// live is the spec of a live key with more lines.
func live(lines string) string { return "environment: live\n" + lines }

func labels(kind, key, value string) string {
	return live(fmt.Sprintf("secretTemplate: {%s: {%q: %q}}", kind, key, value))
}

func manyLabels(kind string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "example.com/l%d: x, ", i)
	}
	return live(fmt.Sprintf("secretTemplate: {%s: {%s}}", kind, b.String()))
}

func window(text string) string {
	return live(fmt.Sprintf("rateLimit: {requests: 1, window: %q}", text))
}

func requests(text string) string {
	return live(fmt.Sprintf("rateLimit: {requests: %s, window: 1m}", text))
}

func expires(text string) string { return live(fmt.Sprintf("expiresAt: %q", text)) }

var _ = Describe("The schema of ApiKey", func() {
	DescribeTable("accepts, and what it accepts can be decoded:", func(ctx SpecContext, spec string) {
		namespace := newNamespace(ctx)
		k, err := create(ctx, apiKeys, namespace, spec)
		Expect(err).NotTo(HaveOccurred())
		expectDecodes(ctx, apiKeys, namespace, k.GetName())
	},
		Entry("nothing but an environment", "environment: live"),
		Entry("the other environment", "environment: test"),
		Entry("a Profile", live("profileRef: {name: shop-1.example}")),
		Entry("a Profile with the longest name", live("profileRef: {name: "+strings.Repeat("a", 253)+"}")),
		Entry("one scope", live("scopes: [posts:read]")),
		Entry("every scope", live("scopes: [posts:read, posts:write, media:read, media:write, accounts:read, accounts:write]")),
		goodScopes, mostScopes, goodClaims, mostClaims,
		Entry("a name for its Secret", live("secretName: website.credentials-2")),
		Entry("the longest name for its Secret", live("secretName: "+strings.Repeat("a", 253))),
		Entry("labels for its Secret", labels("labels", "example.com/team", "Growth_1.x")),
		Entry("an empty label", labels("labels", "team", "")),
		Entry("the longest label", labels("labels", strings.Repeat("a", 253-4)+".dev/"+strings.Repeat("b", 63), strings.Repeat("c", 63))),
		Entry("as many labels as there may be", manyLabels("labels", 16)),
		Entry("annotations for its Secret", labels("annotations", "example.com/contact", "any text, also ünïcode")),
		Entry("the longest annotation", labels("annotations", "note", strings.Repeat("ü", 512)+strings.Repeat("u", 512))),
		Entry("as many annotations as there may be", manyLabels("annotations", 16)),
		Entry("a hash", live("secretHash: "+someHash)),
		Entry("the smallest rate limit", live("rateLimit: {requests: 1, window: 1s}")),
		Entry("the largest rate limit", live("rateLimit: {requests: 1000000, window: 24h}")),
		Entry("a window in every unit", window("1h1m1s1ms")),
		Entry("a window in milliseconds", window("1000ms")),
		Entry("a window just below a day", window("23h59m59s999ms")),
		Entry("a number in scientific notation", requests("1e3")),
		Entry("a number with nothing behind the point", requests("5.0")),

		Entry("an expiry", expires("2030-01-31T00:00:00Z")),
		Entry("an expiry in the past: manifests outlive their keys", expires("2020-01-01T00:00:01Z")),
		Entry("an expiry with an offset", expires("2030-01-31T00:00:00+23:59")),
		Entry("an expiry with a negative offset", expires("2030-01-31T00:00:00-12:00")),
		Entry("an expiry with a tenth of a second", expires("2030-01-31T00:00:00.5Z")),
		Entry("an expiry with nanoseconds and an offset", expires("2030-01-31T00:00:00.123456789+02:00")),
		Entry("the last second there is, which some write for never", expires("9999-12-31T23:59:59Z")),
		Entry("the last day of February in a leap year", expires("2028-02-29T23:59:59Z")),
	)

	DescribeTable("refuses, and says why:", func(ctx SpecContext, spec, phrase string) {
		_, err := create(ctx, apiKeys, newNamespace(ctx), spec)
		Expect(err).To(Satisfy(apierrors.IsInvalid))
		Expect(err).To(MatchError(ContainSubstring(phrase)))
	},
		Entry("no environment", "{}", "spec.environment: Required value"),
		Entry("an unknown environment", "environment: prod", `supported values: "live", "test"`),
		Entry("an environment in capitals", "environment: Live", `supported values: "live", "test"`),
		Entry("an empty environment", `environment: ""`, `supported values: "live", "test"`),

		Entry("a Profile without a name", live("profileRef: {}"), "spec.profileRef.name: Required value"),
		Entry("an empty Profile name", live(`profileRef: {name: ""}`), "spec.profileRef.name"),
		Entry("a Profile name in capitals", live("profileRef: {name: Shop}"), "must be the name of a Profile: lower case"),
		Entry("a Profile of another namespace", live("profileRef: {name: globex/shop}"), "must be the name of a Profile"),
		Entry("a Profile name that is too long", live("profileRef: {name: "+strings.Repeat("a", 254)+"}"), "spec.profileRef.name: Too long"),

		Entry("a scope twice", live("scopes: [posts:read, posts:read]"), `spec.scopes[1]: Duplicate value: "posts:read"`),
		Entry("no scope at all", live("scopes: []"), "spec.scopes: Invalid value"),
		Entry("a scope of one's own twice", live("scopes: [a.dev:x, posts:read, a.dev:x]"), `spec.scopes[2]: Duplicate value: "a.dev:x"`),
		Entry("more scopes than a key may have", scopesOf(ownScopes(33)...), "spec.scopes: Too many: 33: must have at most 32 items"),
		badScopes, badClaims,
		Entry("no claims", live("claims: {}"), "spec.claims: Invalid value"),
		Entry("nine claims", claimsOf(someClaims(9)), "spec.claims: Too many: 9: must have at most 8 items"),
		Entry("a claim that is a number", live("claims: {seats: 42}"), "spec.claims.seats"),

		Entry("an empty Secret name", live(`secretName: ""`), "spec.secretName"),
		Entry("a Secret name in capitals", live("secretName: Website"), "must be the name of a Secret: lower case"),
		Entry("a Secret of another namespace", live("secretName: kube-system/token"), "must be the name of a Secret"),
		Entry("a Secret name that climbs", live("secretName: ../token"), "must be the name of a Secret"),
		Entry("a Secret name that is too long", live("secretName: "+strings.Repeat("a", 254)), "spec.secretName: Too long"),

		Entry("an empty template", live("secretTemplate: {}"), "spec.secretTemplate"),
		Entry("empty labels", live("secretTemplate: {labels: {}}"), "spec.secretTemplate.labels"),
		Entry("empty annotations", live("secretTemplate: {annotations: {}}"), "spec.secretTemplate.annotations"),
		Entry("a label key with a space", labels("labels", "a b", "x"), "each key must be a qualified name, as in example.com/team"),
		Entry("an empty label key", labels("labels", "", "x"), "each key must be a qualified name"),
		Entry("a label key without a name", labels("labels", "example.com/", "x"), "each key must be a qualified name"),
		Entry("a label key with two slashes", labels("labels", "a/b/c", "x"), "each key must be a qualified name"),
		Entry("a label key with a long name", labels("labels", strings.Repeat("b", 64), "x"), "each key must be a qualified name"),
		Entry("a label key with a long prefix", labels("labels", strings.Repeat("b", 254)+"/team", "x"), "each key must be a qualified name"),
		Entry("an annotation key with a space", labels("annotations", "a b", "x"), "each key must be a qualified name, as in example.com/team"),
		Entry("an annotation key with a long name", labels("annotations", strings.Repeat("b", 64), "x"), "each key must be a qualified name"),
		Entry("a label with a space", labels("labels", "team", "the team"), "spec.secretTemplate.labels.team"),
		Entry("a label that ends with a dash", labels("labels", "team", "x-"), "spec.secretTemplate.labels.team"),
		Entry("a label that ends with a new line", labels("labels", "team", "x\n"), "spec.secretTemplate.labels.team"),
		Entry("a label that is too long", labels("labels", "team", strings.Repeat("c", 64)), "spec.secretTemplate.labels.team: Too long"),
		Entry("an annotation that is too long", labels("annotations", "note", strings.Repeat("c", 1025)), "spec.secretTemplate.annotations.note: Too long"),
		Entry("too many labels", manyLabels("labels", 17), "spec.secretTemplate.labels: Too many: 17: must have at most 16 items"),
		Entry("too many annotations", manyLabels("annotations", 17), "spec.secretTemplate.annotations: Too many: 17: must have at most 16 items"),

		Entry("a hash in capitals", live("secretHash: "+"bound:"+strings.ToUpper(someHash[6:])), "spec.secretHash"),
		Entry("a hash without its prefix", live("secretHash: "+someHash[6:]), "spec.secretHash"),
		Entry("the hash of versions before 0.2, which others can bring as well", live("secretHash: "+someDigest), "The SHA-256 of the key alone is not taken"),
		Entry("a lookup without a binding", live("secretHash: "+someHash[:38]), "must be bound:<lookup>:<binding>"),
		Entry("a lookup and a binding with nothing between", live("secretHash: "+strings.Replace(someHash, "924:27", "924027", 1)), "must be bound:<lookup>:<binding>"),
		Entry("a hash of another function", live("secretHash: md5:d41d8cd98f00b204e9800998ecf8427e"), "spec.secretHash"),
		Entry("a hash that is too short", live("secretHash: "+someHash[:70]), "spec.secretHash"),
		Entry("a hash that is too long", live("secretHash: "+someHash+"0"), "spec.secretHash"),
		Entry("a hash with a new line", live(fmt.Sprintf("secretHash: %q", someHash[:70]+"\n")), "spec.secretHash"),
		Entry("a key where its hash belongs", live("secretHash: lmp_live_0123456789ABCDEFGHIJKLMNOPQRSTUV4NOtR6"), "spec.secretHash"),
		Entry("an empty hash", live(`secretHash: ""`), "spec.secretHash"),
		Entry("a hash and a Secret name", live("secretHash: "+someHash+"\nsecretName: x"), "secretHash and secretName exclude each other"),
		Entry("a hash and a template", live("secretHash: "+someHash+"\nsecretTemplate: {labels: {a: b}}"), "secretHash and secretTemplate exclude each other"),

		Entry("an empty rate limit", live("rateLimit: {}"), "spec.rateLimit.requests: Required value"),
		Entry("a rate limit without a window", live("rateLimit: {requests: 1}"), "spec.rateLimit.window: Required value"),
		Entry("no requests", requests("0"), "greater than or equal to 1"),
		Entry("fewer than none", requests("-1"), "greater than or equal to 1"),
		Entry("too many requests", requests("1000001"), "less than or equal to 1"),
		Entry("more requests than an int32 holds", requests("4294967297"), "spec.rateLimit.requests"),
		Entry("more requests than an int64 holds", requests("18446744073709551617"), "spec.rateLimit.requests"),
		Entry("half a request", requests("1.5"), "spec.rateLimit.requests"),
		Entry("requests as text", requests(`"5"`), "spec.rateLimit.requests"),
		Entry("a window in days", window("1d"), "spec.rateLimit.window"),
		Entry("no window", window("0s"), "must be between 1s and 24h"),
		Entry("a window below a second", window("999ms"), "must be between 1s and 24h"),
		Entry("a window of more than a day", window("25h"), "must be between 1s and 24h"),
		Entry("a window just above a day", window("24h1ms"), "must be between 1s and 24h"),
		Entry("a window that overflows", window("99999999h99999999h"), "spec.rateLimit.window"),
		Entry("a window that overflows again and again", window("99999999h99999999h99999999h9h"), "spec.rateLimit.window"),
		Entry("a window with a fraction", window("1.5h"), "spec.rateLimit.window"),
		Entry("a negative window", window("-1m"), "spec.rateLimit.window"),
		Entry("a window in nanoseconds", window("2000000000ns"), "spec.rateLimit.window"),
		Entry("a window with a space", window("1h 1m"), "spec.rateLimit.window"),
		Entry("a window without a unit", window("60"), "spec.rateLimit.window"),
		Entry("an empty window", window(""), "spec.rateLimit.window"),
		Entry("a window of five parts", window("1h1h1h1h1h"), "spec.rateLimit.window"),
		Entry("a window that goes on and on", window(strings.Repeat("1h", 17)), "spec.rateLimit.window: Too long"),

		Entry("an expiry before there were keys", expires("2019-12-31T23:59:59Z"), "must be an RFC 3339 time of the years 2020 to 9999 in UTC"),
		Entry("an empty expiry", expires(""), "spec.expiresAt"),
		Entry("a date alone", expires("2030-01-31"), "spec.expiresAt"),
		Entry("seconds since 1970", live("expiresAt: 1900000000"), "spec.expiresAt"),
		// These pass `format: date-time`, or come near it, and cannot be decoded.
		Entry("a leap second", expires("2016-12-31T23:59:60Z"), "spec.expiresAt"),
		Entry("a leap second to come", expires("2030-12-31T23:59:60Z"), "spec.expiresAt"),
		Entry("a small t", expires("2030-01-31t00:00:00Z"), "spec.expiresAt"),
		Entry("a small z", expires("2030-01-31T00:00:00z"), "spec.expiresAt"),
		Entry("a space", expires("2030-01-31 00:00:00Z"), "spec.expiresAt"),
		Entry("an offset of a day", expires("2030-01-31T00:00:00+24:00"), "spec.expiresAt"),
		Entry("an offset of 60 minutes", expires("2030-01-31T00:00:00+01:60"), "spec.expiresAt"),
		Entry("an offset without a colon", expires("2030-01-31T00:00:00+0100"), "spec.expiresAt"),
		Entry("no zone", expires("2030-01-31T00:00:00"), "spec.expiresAt"),
		Entry("the year 0", expires("0000-01-31T00:00:00Z"), "spec.expiresAt"),
		Entry("the year 10000", expires("10000-01-01T00:00:00Z"), "spec.expiresAt"),
		Entry("the year 10000, by its offset: status could not say it", expires("9999-12-31T23:59:59-01:00"), "must be an RFC 3339 time of the years 2020 to 9999 in UTC"),
		Entry("31 February", expires("2030-02-31T00:00:00Z"), "spec.expiresAt"),
		Entry("29 February of a year that is no leap year", expires("2030-02-29T00:00:00Z"), "spec.expiresAt"),
		Entry("the 13th month", expires("2030-13-01T00:00:00Z"), "spec.expiresAt"),
		Entry("the 25th hour", expires("2030-01-31T24:00:00Z"), "spec.expiresAt"),
		Entry("a point and no fraction", expires("2030-01-31T00:00:00.Z"), "spec.expiresAt"),
		Entry("a comma for a point", expires("2030-01-31T00:00:00,5Z"), "spec.expiresAt"),
		Entry("ten digits of a second", expires("2030-01-31T00:00:00.1234567890Z"), "spec.expiresAt"),
		Entry("a long tail", expires("2030-01-31T00:00:00."+strings.Repeat("0", 60)+"Z"), "spec.expiresAt: Too long"),
	)

	It("refuses an ApiKey without a spec", func(ctx SpecContext) {
		_, err := answer(api.Post().Namespace(newNamespace(ctx)).Resource(apiKeys).
			Body([]byte(`{"apiVersion":"letmepost.dev/v1alpha1","kind":"ApiKey","metadata":{"name":"it"}}`)).Do(ctx))
		Expect(err).To(MatchError(ContainSubstring("spec: Required value")))
	})

	It("refuses a misspelled field, as kubectl asks it to", func(ctx SpecContext) {
		_, err := answer(api.Post().Namespace(newNamespace(ctx)).Resource(apiKeys).Param("fieldValidation", "Strict").
			Body([]byte(`{"apiVersion":"letmepost.dev/v1alpha1","kind":"ApiKey","metadata":{"name":"it"},"spec":{"environment":"live","scope":["posts:read"]}}`)).Do(ctx))
		Expect(err).To(MatchError(ContainSubstring(`unknown field "spec.scope"`)))
	})
})
