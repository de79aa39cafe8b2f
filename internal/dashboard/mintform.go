// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// mintForm is what somebody has typed, as it is shown to them again. All of it is bounded.
type mintForm struct {
	ID          string // see newForm
	Name        string
	Environment string
	Profile     string   // "": none
	Scopes      []string // those of the API that are ticked
	Own         string   // further ones of somebody's own, as they are typed
	Claims      string   // as they are typed: a line each
	Expiry      string   // a key of expiries, or one of those below
	Date        string   // YYYY-MM-DD
	Requests    string   // as it is typed: a whole number
	Window      string   // as it is typed, and as Go writes durations, such as 1m30s
	Way         string   // one of those below
	Secret      string   // the name of the minted Secret; "": the key's own
}

// Ways to hand a key over.
const (
	once        = "once"    // it is shown, and stored nowhere
	intoCluster = "cluster" // it is minted into a Secret, and nobody sees it
)

// Expiries that are no number of days.
const (
	onDate = "date"
	never  = "never"
	same   = "same" // as long as that of the key that is rotated
)

// expiries are how long a key may last, as a choice. Values stand in forms. The second one is what a form begins with
// (Dashboard.mintForm).
var expiries = []struct {
	Value, Text string
	Days        int
}{{"30", "mint.expiryMonth", 30}, {"90", "mint.expiryQuarter", 90}, {"365", "mint.expiryYear", 365}}

// Has tells whether the box of a scope is ticked.
func (f *mintForm) Has(scope string) bool { return slices.Contains(f.Scopes, scope) }

// checks are what is wrong with a form. What is said first about a field stays.
type checks struct {
	Wrong map[string]string // by the name of the field, for people
	text  func(key string, values ...any) string
}

func (d *Dashboard) checks() *checks { return &checks{map[string]string{}, d.pages.text} }

// say puts a text beside a field, unless there is one already.
func (c *checks) say(field, key string, values ...any) {
	if c.Wrong[field] == "" {
		c.Wrong[field] = c.text(key, values...)
	}
}

// longest is how many characters (code points) a field may have, as the apiserver has it or more: it is to say what is
// wrong itself, and nothing is sent to it that is only long.
var longest = map[string]int{
	"form": 64, "own": 4 << 10, "claims": 4 << 10,
	"name": 253, "environment": 16, "profile": 253, "expiry": 16, "date": 10, "requests": 16, "window": 32,
	"way": 16, "secret": 253,
}

// How many boxes may be ticked, and how long their names are: more than there are, so that the apiserver says which is
// none.
const (
	// The scopes of somebody's own are not among them: they are typed (mintForm.Own).
	maxScopes = 4 * len(v1alpha1.Scopes)
	maxScope  = 32
)

// readMintForm takes a form as it comes. What is too long is cut where it is shown again.
func (c *checks) readMintForm(sent url.Values) mintForm {
	field := func(name string) string {
		// Forms send each end of a line as two characters, of which people see one.
		text := strings.ReplaceAll(strings.TrimSpace(sent.Get(name)), "\r\n", "\n")
		most := longest[name]
		if utf8.RuneCountInString(text) > most {
			c.say(name, "mint.tooLong", most)
		}
		return cut(text, most)
	}
	f := mintForm{
		ID: field("form"), Name: field("name"), Environment: field("environment"), Profile: field("profile"),
		Own: field("own"), Claims: field("claims"),
		Expiry: field("expiry"), Date: field("date"), Requests: field("requests"), Window: field("window"),
		Way: field("way"), Secret: field("secret"),
	}
	scopes := sent["scope"]
	if len(scopes) > maxScopes {
		c.say("scope", "mint.scopesWrong")
		scopes = nil
	}
	for _, s := range scopes {
		switch {
		case len(s) > maxScope:
			c.say("scope", "mint.scopesWrong")
		case !slices.Contains(f.Scopes, s): // to the apiserver, they are a set
			f.Scopes = append(f.Scopes, s)
		}
	}
	return f
}

// spec makes of a form what is asked of the apiserver. What can't even be asked is said here; the apiserver knows the
// rest better, and says it in its own words. profiles are nil if the person may not see which there are. It goes on
// after something wrong: whoever mends a form is told all of it at once.
func (c *checks) spec(f *mintForm, profiles []*caller.Profile, now time.Time) v1alpha1.ApiKeySpec {
	spec := v1alpha1.ApiKeySpec{Environment: v1alpha1.Environment(f.Environment)}
	if f.Name == "" {
		c.say("name", "mint.nameWrong")
	}
	if f.Environment == "" {
		c.say("environment", "mint.environmentWrong")
	}
	if f.Profile != "" {
		spec.ProfileRef = &v1alpha1.ProfileReference{Name: f.Profile}
		named := func(p *caller.Profile) bool { return p.Name == f.Profile }
		if profiles != nil && !slices.ContainsFunc(profiles, named) {
			c.say("profile", "mint.profileWrong")
		}
	}
	spec.Scopes = c.scopes(f)
	spec.Claims = c.claims(f)
	spec.ExpiresAt = c.expiresAt(f, now)
	spec.RateLimit = c.rateLimit(f)
	spec.SecretName = c.secretName(f)
	return spec
}

// scopes are those that are ticked, and those that are typed. Which are none, the apiserver says.
func (c *checks) scopes(f *mintForm) (scopes []v1alpha1.Scope) {
	own := strings.FieldsFunc(f.Own, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	for _, s := range slices.Concat(f.Scopes, own) {
		if !slices.Contains(scopes, v1alpha1.Scope(s)) { // to the apiserver, they are a set
			scopes = append(scopes, v1alpha1.Scope(s))
		}
	}
	if len(scopes) == 0 { // which the apiserver takes for all of them
		c.say("scope", "mint.scopesNone")
	}
	return scopes
}

// claims are lines such as plan=gold. What is before the first equals sign is the name. The text may have more of
// them.
func (c *checks) claims(f *mintForm) (claims map[string]v1alpha1.ClaimValue) {
	for line := range strings.Lines(f.Claims) {
		name, text, is := strings.Cut(line, "=")
		name, text = strings.TrimSpace(name), strings.TrimSpace(text)
		// A map would keep one of the two texts, and say nothing of the other.
		_, twice := claims[name]
		switch {
		case strings.TrimSpace(line) == "":
		case !is || twice:
			c.say("claims", "mint.claimsWrong")
		case claims == nil:
			claims = map[string]v1alpha1.ClaimValue{name: v1alpha1.ClaimValue(text)}
		default:
			claims[name] = v1alpha1.ClaimValue(text)
		}
	}
	return claims
}

// secretName is the Secret to mint into; "": the key's own name, or none.
func (c *checks) secretName(f *mintForm) string {
	switch f.Way {
	// No Secret is minted for such a key, and the schema refuses the name of one, be it left over from the other choice.
	case once:
	case intoCluster:
		return f.Secret
	default:
		c.say("way", "mint.wayWrong")
	}
	return ""
}

// expiresAt is when the key is to end; nil: never. Days are those of UTC, as the form says. What is returned does not
// count if anything is said to be wrong: make creates nothing then.
func (c *checks) expiresAt(f *mintForm, now time.Time) *metav1.Time {
	for _, e := range expiries {
		if f.Expiry == e.Value {
			return &metav1.Time{Time: now.UTC().Truncate(time.Second).AddDate(0, 0, e.Days)}
		}
	}
	switch f.Expiry {
	case never:
		return nil
	case onDate:
	default:
		c.say("expiry", "mint.expiryWrong")
		return nil
	}
	day, err := time.Parse(time.DateOnly, f.Date)
	end := day.AddDate(0, 0, 1) // the whole day is still the key's
	switch {
	case err != nil:
		c.say("date", "mint.dateWrong", now.UTC().AddDate(0, 0, 30).Format(time.DateOnly))
		return nil
	case !end.After(now):
		c.say("date", "mint.dateOver")
	}
	return &metav1.Time{Time: end}
}

// rateLimit is the key's own; nil: that of its Profile, or the server's. A number that can't be read is 0 in it, and
// said to be wrong.
func (c *checks) rateLimit(f *mintForm) *v1alpha1.RateLimit {
	// The window alone is none: the form comes with one filled in.
	if f.Requests == "" {
		return nil
	}
	requests, err := strconv.ParseInt(f.Requests, 10, 32)
	if err != nil {
		c.say("requests", "mint.requestsWrong")
	}
	window, err := time.ParseDuration(f.Window)
	if err != nil {
		c.say("window", "mint.windowWrong")
	}
	return &v1alpha1.RateLimit{Requests: int32(requests), Window: metav1.Duration{Duration: window}}
}
