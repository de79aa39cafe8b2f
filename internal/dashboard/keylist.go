// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// listed is a key as it is searched, filtered and sorted. Each key of the organization becomes one for each list that
// is shown. What a line needs beyond that is made for the keyRows of one page.
type listed struct {
	name, id, last4    string
	environment        key.Environment
	profileID, profile string // profile is its name; "": it is gone, or there is none
	scopes             caller.Scopes
	created            time.Time
	expires, used      time.Time // zero: never
	reason             string    // of lifecycle.State
	// Of a key that is not minted: what the controller says, and that nothing gets better by itself.
	said    string
	stalled bool
}

// keyRow is a key as a line shows it.
type keyRow struct {
	Name, ID, Ref, Environment, Hint string
	Profile                          string
	ProfileGone                      bool // it is pinned to one that this replica does not know
	Scopes                           []string
	AllScopes                        bool
	// Expires and Used are zero for never; Used also where it is not known.
	Created, Expires, Used time.Time
	Elsewhere              bool // its use is counted by the other environment
	State                  keyState
}

// withoutProfile stands for keys that are pinned to no Profile: no Profile can be called so.
const withoutProfile = "-"

// soon is what a key expires within that "expires soon" finds.
const soon = 30 * 24 * time.Hour

// maxSearch bounds a text that is searched for: no name is longer. In bytes.
const maxSearch = 253

// keysQuery is what the list is asked for. It stands in the URL, so that a list can be sent to somebody.
type keysQuery struct {
	Search, State, Environment, Profile string
	Unused, Endless, Ending             bool
	Sort                                string // a column, with "-" for the other way round
	Page                                int    // the first is 1
}

// columns that the list is sorted by. Names stand in addresses, and so keep their meaning; by a column without one,
// nothing is sorted.
var columns = []struct {
	name, text string
	compare    func(a, b *listed) int
}{
	{"name", "keys.name", func(a, b *listed) int { return cmp.Compare(a.name, b.name) }},
	{"environment", "keys.environment", func(a, b *listed) int { return cmp.Compare(a.environment, b.environment) }},
	{"profile", "keys.profile", func(a, b *listed) int { return cmp.Compare(a.profile, b.profile) }},
	{"", "keys.hint", nil},
	{"", "keys.scopes", nil},
	{"created", "keys.created", func(a, b *listed) int { return a.created.Compare(b.created) }},
	{"expires", "keys.expires", func(a, b *listed) int { return neverLast(a.expires, b.expires) }},
	{"used", "keys.used", func(a, b *listed) int { return a.used.Compare(b.used) }},
	{"state", "keys.state", func(a, b *listed) int { return cmp.Compare(a.reason, b.reason) }},
}

// neverLast compares times, of which the zero one is never. As it stands it would come before all others, and a key
// that lasts for ever would be listed as the next one to expire.
func neverLast(a, b time.Time) int {
	if a.IsZero() != b.IsZero() {
		if a.IsZero() {
			return 1
		}
		return -1
	}
	return a.Compare(b)
}

// newestFirst is the order of the directory, and so of a list that nobody has sorted. A list in this order is not
// sorted at all (of).
const newestFirst = "-created"

// parseKeysQuery reads a URL's query. What it does not know, it leaves out: a link may be older than this program.
func parseKeysQuery(v url.Values) keysQuery {
	q := keysQuery{
		Search: strings.TrimSpace(v.Get("q")), State: v.Get("state"), Environment: v.Get("environment"),
		Profile: v.Get("profile"), Sort: newestFirst,
		Unused: v.Has("unused"), Endless: v.Has("endless"), Ending: v.Has("ending"),
	}
	q.Search = strings.ToValidUTF8(q.Search[:min(len(q.Search), maxSearch)], "")
	if !slices.ContainsFunc(stateOptions, func(o stateOption) bool { return o.Name == q.State }) {
		q.State = ""
	}
	if q.Environment != string(key.Live) && q.Environment != string(key.Test) {
		q.Environment = ""
	}
	if len(q.Profile) > maxSearch {
		q.Profile = ""
	}
	for _, c := range columns {
		if c.name != "" && strings.TrimPrefix(v.Get("sort"), "-") == c.name {
			q.Sort = v.Get("sort")
		}
	}
	q.Page, _ = strconv.Atoi(v.Get("page"))
	q.Page = max(q.Page, 1)
	return q
}

// link is the list that is asked for by q. What is as it would be anyway is left out. parseKeysQuery reads it: a
// field stands in both, or a link loses it.
func (q keysQuery) link() string {
	v := url.Values{}
	// A map will do: Encode puts them in order, so that a list has one address.
	for name, value := range map[string]string{
		"q": q.Search, "state": q.State, "environment": q.Environment, "profile": q.Profile,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, set := range map[string]bool{"unused": q.Unused, "endless": q.Endless, "ending": q.Ending} {
		if set {
			v.Set(name, "1")
		}
	}
	if q.Sort != newestFirst {
		v.Set("sort", q.Sort)
	}
	if q.Page > 1 {
		v.Set("page", strconv.Itoa(q.Page))
	}
	if len(v) == 0 {
		return Base + "/keys"
	}
	return Base + "/keys?" + v.Encode()
}

func (q keysQuery) page(n int) string {
	q.Page = n
	return q.link()
}

// Filtered tells whether keys may be left out. Neither the order nor the page leaves out any. Every other field
// counts as a filter: one that is added and is none has to be set to nothing here as well.
func (q keysQuery) Filtered() bool {
	q.Sort, q.Page = "", 0
	return q != keysQuery{}
}

// sortable is the head of a column: what the list is sorted by when somebody follows Link ("": it is not), and how it
// is sorted now, as aria-sort has it.
type sortable struct{ Text, Link, Sorted string }

// head are the heads of all columns. Who follows the one that the list is sorted by turns it round.
func (q keysQuery) head() (all []sortable) {
	for _, c := range columns {
		h := sortable{Text: c.text}
		if c.name != "" {
			to := q
			to.Sort, to.Page = c.name, 1
			switch q.Sort {
			case c.name:
				h.Sorted, to.Sort = "ascending", "-"+c.name
			case "-" + c.name:
				h.Sorted = "descending"
			}
			h.Link = to.link()
		}
		all = append(all, h)
	}
	return all
}

// needsUse tells whether the list can't be made before it is known when each key was used.
func (q keysQuery) needsUse() bool { return q.Unused || strings.TrimPrefix(q.Sort, "-") == "used" }

// of returns those of all that are asked for, in that order. all is newest first. all stays as it is: its order is
// the directory's.
func (q keysQuery) of(all []*listed, now time.Time) []*listed {
	found := make([]*listed, 0, len(all))
	search := strings.ToLower(q.Search)
	for _, k := range all {
		if q.matches(k, search, now) {
			found = append(found, k)
		}
	}
	if q.Sort == newestFirst {
		return found
	}
	for _, c := range columns {
		switch q.Sort {
		case c.name: // stable: what is alike stays newest first
			slices.SortStableFunc(found, c.compare)
		case "-" + c.name:
			slices.SortStableFunc(found, func(a, b *listed) int { return c.compare(b, a) })
		}
	}
	return found
}

// matches tells whether a key is asked for. search is in lower case, as names are.
func (q keysQuery) matches(k *listed, search string, now time.Time) bool {
	return (search == "" || q.finds(k, search)) &&
		(q.State == "" || stateOf(k.reason).Name == q.State) &&
		(q.Environment == "" || string(k.environment) == q.Environment) &&
		(!q.Unused || k.used.IsZero()) &&
		q.inProfile(k) && q.inTime(k, now)
}

// finds tells whether a text finds a key. Who pastes a hint finds the key by its end; that is compared as it was typed,
// since keys have both capital and small letters.
func (q keysQuery) finds(k *listed, search string) bool {
	return strings.Contains(k.name, search) || strings.Contains(k.profile, search) ||
		k.last4 != "" && strings.HasSuffix(q.Search, k.last4)
}

// inProfile goes by names, as addresses do. Keys whose Profile is gone have none, and are found by no choice of one.
func (q keysQuery) inProfile(k *listed) bool {
	switch q.Profile {
	case "":
		return true
	case withoutProfile:
		return k.profileID == ""
	default:
		return k.profile == q.Profile
	}
}

// inTime tells whether a key ends as it is asked for. One that has expired is no key that expires soon.
func (q keysQuery) inTime(k *listed, now time.Time) bool {
	ending := k.expires.After(now) && !k.expires.After(now.Add(soon))
	return (!q.Endless || k.expires.IsZero()) && (!q.Ending || ending)
}
