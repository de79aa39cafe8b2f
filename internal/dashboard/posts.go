// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// postsScreens are about what is published.
func (d *Dashboard) postsScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/posts", Show: d.posts},
		{Method: http.MethodGet, Path: "/posts/{id}", Show: d.post},
		{Method: http.MethodPost, Path: "/posts/{id}/cancel", Show: d.cancelPost},
		{Method: http.MethodPost, Path: "/posts/{id}/retry", Show: d.retryPost},
	}
}

const (
	postsOnPage = 50
	// maxNamed is how long the id of a profile or an account may be that a filter names.
	maxNamed = 128
)

// postStatuses are what a post can be, in the order in which it becomes so. Nobody can filter by one that is missing
// here.
var postStatuses = []store.Status{
	store.Queued, store.Publishing, store.Published, store.Failed, store.Rejected, store.Canceled,
}

// statusTexts are what people read of them.
var statusTexts = map[store.Status]string{
	store.Queued: "status.queued", store.Publishing: "status.publishing", store.Published: "status.published",
	store.Failed: "status.failed", store.Rejected: "status.rejected", store.Canceled: "status.canceled",
}

// postFilter is what the list is narrowed to, as the form has it: by lists of values, as GET /v1/posts. What is none of
// our words narrows to nothing of it: the form shows what counts.
type postFilter struct {
	Statuses   []store.Status
	Platforms  []string
	Accounts   []string
	ErrorCodes []string // any: a platform's codes are its own
	Profile    string
	Query      string

	From, Until string // days, in UTC; both are part of it
}

// maxValues is how many values of one kind a filter takes.
const maxValues = 10

const day = "2006-01-02"

// postFilterOf reads an address, which anybody may have made: what is no status, platform or day is left out, and
// texts are cut to what the database takes. The profile need not be such a text: to View.Within, what can be no id is
// nobody's, and the database is not asked.
func postFilterOf(q url.Values) postFilter {
	f := postFilter{
		Statuses: chosen(q["status"], postStatuses), Platforms: chosen(q["platform"], catalog.All.Names()),
		Accounts: valuesOf(q["account"]), ErrorCodes: valuesOf(q["errorCode"]),
		Profile: cut(q.Get("profile"), maxNamed), Query: textOf(q.Get("q"), endpoint.MaxText),
		From: q.Get("from"), Until: q.Get("until"),
	}
	for _, d := range []*string{&f.From, &f.Until} {
		if _, err := time.Parse(day, *d); err != nil {
			*d = ""
		}
	}
	return f
}

// chosen are those of some words that an address names, in their own order.
func chosen[T ~string](named []string, of []T) (those []T) {
	for _, word := range of {
		if slices.Contains(named, string(word)) {
			those = append(those, word)
		}
	}
	return those
}

// valuesOf are the values that an address has of one name, and those within each that a person has parted by commas.
func valuesOf(named []string) (those []string) {
	for _, value := range named {
		for one := range strings.SplitSeq(value, ",") {
			one = strings.TrimSpace(textOf(one, maxNamed))
			if one != "" && len(those) < maxValues && !slices.Contains(those, one) {
				those = append(those, one)
			}
		}
	}
	return those
}

// textOf is a text that the database takes, which others have typed: PostgreSQL refuses NUL and what is no UTF-8, and
// the list would fail by what stands in its address.
func textOf(s string, most int) string {
	return strings.ReplaceAll(cut(strings.ToValidUTF8(s, ""), most), "\x00", "")
}

// cut is a text without what is beyond so many characters. Of characters and not of bytes, so that none is cut in
// two.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most])
}

// stored is the filter as the database has it, but for the profile, which narrows the view.
func (f postFilter) stored() store.PostFilter {
	s := store.PostFilter{
		Statuses: texts(f.Statuses), Platforms: f.Platforms, Accounts: f.Accounts, ErrorCodes: f.ErrorCodes, Query: f.Query,
	}
	s.After, _ = time.Parse(day, f.From)
	if until, err := time.Parse(day, f.Until); err == nil {
		s.Before = until.AddDate(0, 0, 1)
	}
	return s
}

func texts(of []store.Status) (all []string) {
	for _, s := range of {
		all = append(all, string(s))
	}
	return all
}

// values are the filter as addresses have it. Links to other pages have them, and so each field that postFilterOf
// reads has to be here.
func (f postFilter) values() url.Values {
	q := url.Values{
		"status": texts(f.Statuses), "platform": f.Platforms, "account": f.Accounts, "errorCode": f.ErrorCodes,
		"profile": {f.Profile}, "q": {f.Query}, "from": {f.From}, "until": {f.Until},
	}
	maps.DeleteFunc(q, func(_ string, of []string) bool { return len(of) == 0 || of[0] == "" })
	return q
}

// Has tells whether a status or a platform is one of those that are chosen. No status is called like a platform.
func (f postFilter) Has(word string) bool {
	return slices.Contains(f.Statuses, store.Status(word)) || slices.Contains(f.Platforms, word)
}

// postsData is what the list shows.
type postsData struct {
	Filter    postFilter
	Filtered  bool
	Statuses  []store.Status
	Platforms []string
	Profiles  []*caller.Profile
	Posts     []postRow
	First     string // query of the first page; "": this is it
	Next      string // of the next one; "": there is none
	// Searching tells that the search has not come to the end of the list, and the page is not full for that. Then the
	// page may be empty, and is not the last one.
	Searching bool
}

// postRow is one line of the list.
type postRow struct {
	store.Post
	Excerpt string
	Profile string
}

// posts lists them, the newest first. A search may end before the page is full, because each page looks at so many
// posts at most: Searching says that it goes on on the next one.
func (d *Dashboard) posts(r *request) (view, error) {
	if err := r.may("list", "posts"); err != nil {
		return view{}, err
	}
	query := r.http.URL.Query()
	f := postFilterOf(query)
	profiles := d.config.Directory.Profiles(r.Caller())
	of := r.rows()
	if f.Profile != "" {
		of = of.Within(f.Profile)
	}
	after := positionOf(query.Get("after"))
	posts, next, err := of.Posts(r.Context(), f.stored(), store.Page{After: after, Limit: postsOnPage})
	if err != nil {
		return view{}, err
	}
	values := f.values()
	data := postsData{
		Filter: f, Filtered: len(values) > 0, Statuses: postStatuses, Platforms: catalog.All.Names(), Profiles: profiles,
		Searching: f.Query != "" && next != (store.Position{}) && len(posts) < postsOnPage,
	}
	for _, p := range posts {
		data.Posts = append(data.Posts, postRow{p, excerptOf(p.Text), profileName(profiles, p.ProfileID)})
	}
	if after != (store.Position{}) {
		data.First = "?" + values.Encode()
	}
	if next != (store.Position{}) {
		values.Set("after", endpoint.CursorOf(next))
		data.Next = "?" + values.Encode()
	}
	return view{Page: "posts", Title: "posts.title", Data: data}, nil
}

// excerptOf is the beginning of a text, in one line.
func excerptOf(text string) string {
	const most = 90
	text = strings.TrimSpace(text)
	begin := cut(text, 4*most) // mostly white space, if that is not enough
	line := strings.Join(strings.Fields(begin), " ")
	if short := cut(line, most); short != line || begin != text {
		return short + "…"
	}
	return line
}

// profileName is what people call a profile; its id, if it is gone.
func profileName(of []*caller.Profile, id string) string {
	i := slices.IndexFunc(of, func(p *caller.Profile) bool { return p.ID == id })
	if i < 0 {
		return id
	}
	return of[i].DisplayName
}
