// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// scopeCase is a text, and what the schema says to it as a scope; "": it is one.
type scopeCase struct{ reason, text, phrase string }

const (
	noScope    = "must be one of posts:read, posts:write, media:read, media:write, accounts:read and accounts:write"
	reserved   = "scopes of letmepost.dev are reserved"
	tooLong    = "Too long: may not be more than"
	noClaim    = "must be of letters, digits, and the characters"
	noName     = "each name must be of lower case letters"
	emptyClaim = "should be at least 1 chars long"
)

var scopeCases = []scopeCase{
	{"one of somebody's own", "billing.example.com:read", ""},
	{"the shortest", "a.b:c", ""},
	{"the longest", strings.Repeat("a", 56) + ".dev:r" + "w", ""},
	{"a number in it", "api2.4example.com:v1.read-only_2", ""},
	{"one within another", "billing.example.com:invoices:read", ""},
	{"of a domain that ends like ours", "notletmepost.dev:read", ""},
	{"of a domain that begins like ours", "letmepost.dev.example.com:read", ""},

	{"an unknown one", "posts:delete", noScope},
	{"a star", "*", noScope},
	{"a star for a word", "example.com:*", noScope},
	{"a star for a name", "*.example.com:read", noScope},
	{"nothing", "", "should be at least 1 chars long"},
	{"no domain", ":read", noScope},
	{"no dot", "billing:read", noScope},
	{"no word", "billing.example.com", noScope},
	{"an empty word", "billing.example.com:", noScope},
	{"an empty word within", "billing.example.com::read", noScope},
	{"an empty name", "billing..com:read", noScope},
	{"a dot first", ".example.com:read", noScope},
	{"a dot last", "example.com.:read", noScope},
	{"a dash first", "-billing.example.com:read", noScope},
	{"a dash last", "billing-.example.com:read", noScope},
	{"capitals in the domain", "Billing.example.com:read", noScope},
	{"capitals in the word", "billing.example.com:Read", noScope},
	{"a port", "billing.example.com:8080", noScope},
	{"an address", "10.0.0.1:read", noScope},
	{"another alphabet", "bücher.example.com:read", noScope},
	{"another alphabet in the word", "billing.example.com:lesen…", noScope},
	{"a letter that looks like another", "billing.еxample.com:read", noScope},
	{"a space", "billing.example.com:read posts", noScope},
	{"a comma", "billing.example.com:read,posts:read", noScope},
	{"a new line", "billing.example.com:read\n", noScope},
	{"a quotation mark", `billing.example.com:"read"`, noScope},
	{"a slash", "example.com/billing:read", noScope},
	{"a URL", "https://example.com:read", noScope},
	{"64 characters", strings.Repeat("a", 57) + ".dev:rw", tooLong},
	{"of our domain", "letmepost.dev:read", reserved},
	{"of a part of our domain", "api.letmepost.dev:posts:read", reserved},
}

// claimCase is one claim, and what the schema says to it; "": it is one.
type claimCase struct{ reason, name, value, phrase string }

var claimCases = []claimCase{
	{"a word", "plan", "gold", ""},
	{"the shortest", "p", "1", ""},
	{"the longest", strings.Repeat("n", 63), strings.Repeat("v", 128), ""},
	{"every character of a name", "a.b_c-9", "x", ""},
	{"every character of a value", "all", "-A z0._~:/@+", ""},
	{"an address", "owner", "ops+billing@example.com", ""},
	{"a URL", "home", "https://example.com/~acme", ""},

	{"a name in capitals", "Plan", "gold", noName},
	{"an empty name", "", "gold", noName},
	{"a name that begins with a digit", "2plan", "gold", noName},
	{"a name that ends with a dot", "plan.", "gold", noName},
	{"a name with a slash", "example.com/plan", "gold", noName},
	{"a name with a space", "the plan", "gold", noName},
	{"a name with an equals sign", "a=b", "gold", noName},
	{"a name that is too long", strings.Repeat("n", 64), "gold", noName},
	{"a name of another alphabet", "plän", "gold", noName},
	{"an empty value", "plan", "", emptyClaim},
	{"a value that is too long", "plan", strings.Repeat("v", 129), tooLong},
	{"a quotation mark", "plan", `gold", admin="yes`, noClaim},
	{"a backslash", "plan", `gold\`, noClaim},
	{"a comma", "plan", "gold, silver", noClaim},
	{"a semicolon", "plan", "gold;admin", noClaim},
	{"a new line", "plan", "gold\r\nX-Admin: yes", noClaim},
	{"a new line at its end", "plan", "gold\n", noClaim},
	{"a NUL", "plan", "gold\x00", noClaim},
	{"a tab", "plan", "go\tld", noClaim},
	{"another alphabet", "plan", "götterspeise", noClaim},
	{"a variable of nginx", "plan", "$http_cookie", noClaim},
	{"a placeholder of Caddy", "plan", "{env.SECRET}", noClaim},
	{"a format of Envoy or HAProxy", "plan", "%[src]", noClaim},
	{"a space first", "plan", " gold", noClaim},
	{"a space last", "plan", "gold ", noClaim},
	{"a space alone", "plan", " ", noClaim},
}

func scopesOf(scopes ...string) string { return live("scopes: " + asJSON(scopes)) }

func claimsOf(claims map[string]string) string { return live("claims: " + asJSON(claims)) }

// asJSON is YAML, too.
func asJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// ownScopes are n of the longest scopes that there may be.
func ownScopes(n int) (scopes []string) {
	for i := range n {
		scopes = append(scopes, fmt.Sprintf("%s.dev:s%02d", strings.Repeat("a", 55), i))
	}
	return scopes
}

// someClaims are n of the longest claims that there may be.
func someClaims(n int) map[string]string {
	claims := map[string]string{}
	for i := range n {
		claims[fmt.Sprintf("%s%d", strings.Repeat("n", 62), i)] = strings.Repeat("v", 128)
	}
	return claims
}

// The entries of the specs that ask an apiserver.
var (
	goodScopes, badScopes = func() (good, bad []TableEntry) {
		for _, c := range scopeCases {
			if c.phrase == "" {
				good = append(good, Entry("a scope: "+c.reason, scopesOf("posts:read", c.text)))
			} else {
				bad = append(bad, Entry("a scope: "+c.reason, scopesOf("posts:read", c.text), c.phrase))
			}
		}
		return good, bad
	}()
	mostScopes            = Entry("as many scopes as there may be, and as long", scopesOf(ownScopes(32)...))
	goodClaims, badClaims = func() (good, bad []TableEntry) {
		for _, c := range claimCases {
			spec := claimsOf(map[string]string{c.name: c.value})
			if c.phrase == "" {
				good = append(good, Entry("a claim: "+c.reason, spec))
			} else {
				bad = append(bad, Entry("a claim: "+c.reason, spec, c.phrase))
			}
		}
		return good, bad
	}()
	mostClaims = Entry("as many claims as there may be, and as long", claimsOf(someClaims(8)))
)

// TestScopesAndClaims: what Go takes for a scope or a claim is what the schema lets in, case by case.
func TestScopesAndClaims(t *testing.T) {
	for _, c := range scopeCases {
		if got := v1alpha1.Scope(c.text).Own(); got != (c.phrase == "") || v1alpha1.Scope(c.text).BuiltIn() {
			t.Errorf("%s: %q is a scope of somebody's own: %t", c.reason, c.text, got)
		}
	}
	for _, scope := range v1alpha1.Scopes {
		if scope.Own() || !scope.BuiltIn() {
			t.Errorf("%s is somebody's own: %t", scope, scope.Own())
		}
	}
	for _, c := range claimCases {
		if got := v1alpha1.IsClaim(c.name, v1alpha1.ClaimValue(c.value)); got != (c.phrase == "") {
			t.Errorf("%s: %s=%q is a claim: %t", c.reason, c.name, c.value, got)
		}
	}
}

// TestTheSchemaHasTheScopes: markers can't be derived from the list in Go, so the schema that is made of them is held
// to it. A scope that the schema lacks can't be given to a key; one that only the schema has would grant nothing. None
// but these is there by default: what a key's owner has not asked for, services of others are not told.
func TestTheSchemaHasTheScopes(t *testing.T) {
	crd := definitions(t)["apikeys"]
	scopes := schemaOf(crd).Properties["spec"].Properties["scopes"]
	if scopes.Items == nil || scopes.Items.Schema == nil || len(scopes.Items.Schema.XValidations) == 0 ||
		scopes.Default == nil || scopes.MaxItems == nil {
		t.Fatalf("spec.scopes has no items, no rule, no default or no upper bound: %+v", scopes)
	}
	rule := scopes.Items.Schema.XValidations[0]
	list := regexp.MustCompile(`^self in (\[[^]]*\])`).FindStringSubmatch(rule.Rule)
	if list == nil {
		t.Fatalf("the rule of a scope does not begin with a list: %s", rule.Rule)
	}
	var allowed, byDefault []v1alpha1.Scope
	if err := json.Unmarshal([]byte(strings.ReplaceAll(list[1], "'", `"`)), &allowed); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(scopes.Default.Raw, &byDefault); err != nil {
		t.Fatal(err)
	}
	want := v1alpha1.Scopes[:]
	if diff := cmp.Diff(want, allowed); diff != "" {
		t.Errorf("the rule (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, byDefault); diff != "" {
		t.Errorf("the default (-want +got):\n%s", diff)
	}
	for _, scope := range want {
		if !strings.Contains(rule.Message, string(scope)) || !strings.Contains(scopes.Description, string(scope)) {
			t.Errorf("who is refused, or asks kubectl explain, is not told of %s", scope)
		}
	}
	if got := *scopes.MaxItems; got != v1alpha1.MaxScopes {
		t.Errorf("a key may have %d scopes, and %d in Go", got, v1alpha1.MaxScopes)
	}
}
