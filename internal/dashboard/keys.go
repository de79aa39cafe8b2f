// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// keysPage is how many keys a page lists, and so how many are revoked at once. The names of so many fit in a URL,
// whatever they are called: each takes 295 bytes at most (a name of 253, a UID of 36, and what parts them), and common
// proxies take 8 KB.
const keysPage = 25

// keysScreens are about API keys.
func (d *Dashboard) keysScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/keys", Show: d.keys},
		{Method: http.MethodGet, Path: "/keys/{name}", Show: d.key},
	}
}

// keysData is the list.
type keysData struct {
	Query keysQuery
	Rows  []keyRow
	Head  []sortable
	// From and To are the numbers of the first and the last row among Found; All is how many keys there are.
	From, To, Found, All int
	Previous, Next       string   // pages; "": there is none
	Profiles             []string // to choose from
	States               []stateOption
	// For what is offered alone.
	MayRevoke, MayMint bool
	UsePartly          bool // last used is what this replica alone has seen
	Unminted           int  // keys that are not in the list, because they are not minted
	Pending            pendingKeys
}

// Back is where the template of pending keys leads back to.
func (keysData) Back() string { return "/keys" }

// maxProfileChoices is how many Profiles a list to choose from has. A link may name any.
const maxProfileChoices = 200

// keys lists them from memory, so that it costs the same however many there are.
func (d *Dashboard) keys(r *request) (view, error) {
	q := parseKeysQuery(r.http.URL.Query())
	if _, err := d.config.KeyFormat.Parse(q.Search); err == nil {
		// Somebody has pasted a whole key, which is not to stay in the browser's address and history: its end finds it.
		q.Search = d.config.KeyFormat.Hint(q.Search)
		return goTo(strings.TrimPrefix(q.link(), Base))
	}
	data := keysData{Query: q, Head: q.head(), States: stateOptions}
	// What may be done is only shown: the apiserver decides when it is done. An answer that fails shows nothing.
	data.MayRevoke, _ = r.offers("delete", "apikeys")
	data.MayMint, _ = r.offers("create", "apikeys")

	profiles := d.config.Directory.Profiles(r.Caller())
	all := d.list(r, profiles)
	beside, err := d.beside(r, len(all))
	if err != nil {
		return view{}, err
	}
	// Those that are not minted come first, whatever their age: a list that nobody has sorted is not sorted again below.
	all, data.Unminted, data.Pending = append(beside.unminted, all...), beside.more, beside.pending
	data.All = len(all)
	if q.needsUse() {
		data.UsePartly = d.addUse(r, all)
	}
	found := q.of(all, r.now)
	data.Found = len(found)
	pages := max(1, (len(found)+keysPage-1)/keysPage)
	// A page that there is not is the last one: keys may have gone since somebody was shown the link.
	q.Page = min(q.Page, pages)
	data.Query.Page = q.Page
	shown := found[(q.Page-1)*keysPage : min(q.Page*keysPage, len(found))]
	// Now, and of the rows that are shown: unless the list is sorted by it, nobody waits for the use of ten thousand keys.
	if !q.needsUse() {
		data.UsePartly = d.addUse(r, shown)
	}
	for _, k := range shown {
		data.Rows = append(data.Rows, d.rowOf(k))
	}
	data.From, data.To = min((q.Page-1)*keysPage+1, len(found)), (q.Page-1)*keysPage+len(shown)
	if q.Page > 1 {
		data.Previous = q.page(q.Page - 1)
	}
	if q.Page < pages {
		data.Next = q.page(q.Page + 1)
	}
	data.Profiles = profileChoices(profiles, q.Profile)
	return view{Page: "keys", Title: "keys.title", Data: data}, nil
}

// list returns all keys of the organization, newest first. They are made anew for each list: addUse writes into them.
func (d *Dashboard) list(r *request, profiles []*caller.Profile) []*listed {
	names := make(map[string]string, len(profiles))
	for _, p := range profiles {
		names[p.ID] = p.Name
	}
	keys := d.config.Directory.Keys(r.Caller())
	block := make([]listed, len(keys)) // one piece of memory for ten thousand of them
	all := make([]*listed, len(keys))
	for i, k := range keys {
		block[i] = listed{
			name: k.Name(), id: string(k.ID()), environment: k.Environment(), last4: k.Last4(), scopes: k.Scopes,
			profileID: string(k.ProfileID()), created: k.CreatedAt(), expires: k.ExpiresAt(),
			reason: k.State(r.now).Reason, used: k.LastUsedAt(),
		}
		block[i].profile = names[block[i].profileID]
		all[i] = &block[i]
	}
	return all
}

// smallOrganization is how many keys an organization has at most of which the apiserver is asked for all: they hold
// those that are not minted, which the directory does not know. They are few, and the ones that somebody looks for.
const smallOrganization = 200

// beside is what the apiserver alone knows of the keys of an organization.
type beside struct {
	unminted []*listed // the newest first
	more     int       // that are not minted either, and have their own pages alone
	pending  pendingKeys
}

// beside asks the apiserver for what the directory does not know. The error of somebody who may not list keys is
// Forbidden: that is asked here, in one way or the other. minted is how many keys the directory knows.
func (d *Dashboard) beside(r *request, minted int) (b beside, err error) {
	in := r.Organization().Name
	if minted > smallOrganization {
		all, err := r.person.Cluster.CountKeys(r.Context(), in)
		if err != nil {
			return b, err
		}
		b.more = max(0, all-minted) // this replica may be behind, or ahead, by some that have just come or gone
		b.pending, err = r.pendingKeys()
		return b, err
	}
	objects, others, err := r.person.Cluster.Keys(r.Context(), in, smallOrganization)
	if err != nil {
		return b, err
	}
	known := map[types.UID]bool{}
	for _, k := range d.config.Directory.Keys(r.Caller()) {
		known[k.ID()] = true
	}
	for i := range objects {
		// Both are asked: a key that is minted meanwhile may be in the directory already, while its object has come without a
		// hash, and would be listed twice.
		if k := &objects[i]; k.Status.Hash == "" && !known[k.UID] {
			b.unminted = append(b.unminted, d.unmintedOf(r, k))
		}
	}
	slices.SortStableFunc(b.unminted, func(a, b *listed) int { return b.created.Compare(a.created) })
	if others > 0 { // few are minted, and many are not: not all have come, and those of the person may not have
		b.more = max(0, len(objects)+others-minted-len(b.unminted))
		b.pending, err = r.pendingKeys()
		return b, err
	}
	b.pending = r.pendingAmong(objects)
	return b, nil
}

// unmintedOf is a key that has no hash, as the list has it. lifecycle is asked without a Profile, and so only two of
// its answers count: that the key is being deleted, and that it has expired.
func (d *Dashboard) unmintedOf(r *request, k *v1alpha1.ApiKey) *listed {
	state := lifecycle.Of(lifecycle.KeyOf(k), nil, r.now)
	l := &listed{
		name: k.Name, id: string(k.UID), environment: key.Environment(k.Spec.Environment),
		scopes: caller.ScopesOf(k.Spec.Scopes), created: k.CreationTimestamp.Time, expires: timeOf(k.Spec.ExpiresAt),
		reason: v1alpha1.ReasonPending,
	}
	if k.Spec.ProfileRef != nil {
		// It is bound to no Profile yet, whose UID would stand here. The name will do: the list only asks whether there is
		// one.
		l.profile, l.profileID = k.Spec.ProfileRef.Name, k.Spec.ProfileRef.Name
	}
	if state.Reason == "" || state.Reason == v1alpha1.ReasonExpired { // what else keeps it, the controller says
		l.reason = state.Reason
		return l
	}
	if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		l.said, l.stalled = c.Message, c.Status == metav1.ConditionFalse
	}
	return l
}

// addUse tells of keys when they were used last. partly: it is what this replica alone has seen.
func (d *Dashboard) addUse(r *request, keys []*listed) (partly bool) {
	if d.config.Use == nil {
		return true
	}
	var ids []string
	if len(keys) <= keysPage { // of more, all of the organization's are asked for, which is one question as well
		for _, k := range keys {
			ids = append(ids, k.id)
		}
	}
	// Not to be left to LastUsed: without ids, it returns all of the organization's.
	if len(keys) == 0 {
		return false
	}
	used, err := d.config.Use.LastUsed(r.Context(), r.Caller(), ids...)
	for _, k := range keys {
		k.used = used[k.id]
	}
	return err != nil
}

// rowOf shows a key.
func (d *Dashboard) rowOf(k *listed) keyRow {
	row := keyRow{
		Name: k.name, ID: k.id, Ref: refOf(k.name, k.id), Environment: string(k.environment),
		Hint: d.config.KeyFormat.HintOf(k.environment, k.last4), Scopes: k.scopes.Names(),
		AllScopes: k.scopes == caller.AllScopes, Profile: k.profile, ProfileGone: k.profileID != "" && k.profile == "",
		Created: k.created, Expires: k.expires, Used: k.used, Elsewhere: k.environment != d.config.Environment,
		State: stateOf(k.reason),
	}
	if row.State.Said = k.said; k.stalled {
		row.State.Class = "bad"
	}
	return row
}

// profileChoices are the Profiles to choose from, by name, and the one that is chosen. It may be gone, or beyond the
// bound: the form has to say what the list is narrowed to.
func profileChoices(profiles []*caller.Profile, chosen string) []string {
	var names []string
	for _, p := range profiles {
		names = append(names, p.Name)
	}
	slices.SortFunc(names, strings.Compare)
	names = names[:min(len(names), maxProfileChoices)]
	if chosen != "" && chosen != withoutProfile && !slices.Contains(names, chosen) {
		names = append(names, chosen)
	}
	return names
}
