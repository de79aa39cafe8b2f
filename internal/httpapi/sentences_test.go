// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// sentences are what the reference's page on authentication promises of headers, scoping, reads and writes, and errors,
// each with the tests that show it.
var sentences = []struct {
	sentence string
	tests    []string
}{
	{"Every request to the API requires a Bearer token in the Authorization header.", []string{"TestOneRefusalForAll", "TestOpenRoutesAreThese"}},
	{
		"Keys are prefixed by environment so a lmp_test_… key cannot accidentally write to production data.",
		[]string{"TestEnvironmentsAreApart", "TestOneRefusalForAll"},
	},
	{"Authorization: Bearer lmp_live_…", []string{"TestGoodKeyIsAccepted", "TestRefusalsOverASocket"}},
	{
		"Idempotency-Key: 01HY6X4AWBJM2K9F2PTQMRD9JQ (optional, recommended on writes)",
		[]string{"TestEveryWriteIsReplayed", "TestIdempotencyKeysScope", "TestIdempotencyKeyForms", "TestConcurrentIdenticalWritesRunOnce"},
	},
	{"lmp_test_… sandbox; hits sandbox accounts; rejects live writes", []string{"TestEnvironmentsAreApart", "TestPlatformNotEnabled"}},
	{
		"Organization: every key is bound to a single organization. There is no cross-org key.",
		[]string{"TestScopingTable", "TestForeignThingsStayAsTheyAre", "TestCursorsOfOthers", "TestListingsEndAtTheScope"},
	},
	{
		"Profile (optional): a key may be pinned to a single profile within the org.",
		[]string{"TestWhoseNewThingsAre", "TestListingsEndAtTheScope", "TestPlatformAloneIsAnAccount"},
	},
	{
		"Cross-profile access by a profile-scoped key returns 404 not_found, never 403, so the key cannot probe for the existence of other profiles.",
		[]string{"TestScopingTable", "TestNotFoundTellsNothing", "TestIDsOfTheWrongForm", "TestNamings"},
	},
	{"To widen scope, mint a new key — keys are immutable.", []string{"TestKeysCannotManageKeys"}},
	{
		"Read endpoints accept either a Bearer key or a dashboard session cookie. Writes accept Bearer keys only.",
		[]string{"TestReadsAndWrites", "TestAHeaderDecides"},
	},
	{
		"Revocation is immediate; in-flight requests on the old key fail with unauthenticated.",
		[]string{"TestACutWriteLeavesNothing", "TestARevokedCallerWhoDoesNotSend", "TestCutBeforeTheAnswer", "TestStreamReset"},
	},
	{"The OAuth tokens … You never see them.", []string{"TestConnectTwice"}},
	{
		"unauthenticated: Header missing, malformed, key revoked, or key prefix doesn't match the environment.",
		[]string{"TestOneRefusalForAll", "TestEnvironmentsAreApart"},
	},
	{
		"unauthorized: Authenticated, but the key isn't allowed to perform this action.",
		[]string{"TestOrderOnEveryRoute", "TestEveryRouteHasItsScope", "TestKeysCannotManageKeys"},
	},
	{"not_found: Often a profile-scope mismatch.", []string{"TestScopingTable"}},
	{"rate_limited: Per-key rate limit exhausted.", []string{"TestRateLimit", "TestWhoseRateCounts", "TestOrderOnEveryRoute"}},
}

// The tests that the table names are there.
func TestSentencesHaveTheirTests(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	check(t, err)
	engine, err := filepath.Glob("../endpoint/*_test.go")
	check(t, err)
	there := map[string]bool{}
	for _, file := range slices.Concat(files, engine) {
		text, err := os.ReadFile(file)
		check(t, err)
		for _, found := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\) \{`).FindAllStringSubmatch(string(text), -1) {
			there[found[1]] = true
		}
	}
	for _, s := range sentences {
		for _, name := range s.tests {
			if !there[name] {
				t.Errorf("%q: there is no test %s", s.sentence, name)
			}
		}
	}
}
