// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/use"
)

// overviewScreens are about what needs attention.
func (d *Dashboard) overviewScreens() []screen {
	return []screen{{Method: http.MethodGet, Path: "/{$}", Show: d.overview}}
}

const (
	// aheadFor is how long before its end something needs attention: keys as accounts.
	aheadFor = connection.ExpiringWithin
	// lateFor is how late a post may be until somebody is told: what a queue makes up for by itself is nobody's concern.
	lateFor = 2 * time.Minute
	// mostNamed is how many things of one kind the overview names. A list has the rest.
	mostNamed = 5
)

// overviewData is what the overview shows. What the person may not see is not there.
type overviewData struct {
	Replicas *replicasSeen
	Keys     *keysSeen
	Overdue  *store.Count
	Accounts []accountSeen // that need somebody
	// AccountsMore tells that there are more of them; AccountsSeen, that the person may see accounts at all.
	AccountsMore, AccountsSeen bool
}

// Attention tells whether anything needs somebody. What the person may not see is none: see Blind.
func (o overviewData) Attention() bool {
	return o.Replicas != nil && len(o.Replicas.Fenced) > 0 ||
		o.Overdue != nil && o.Overdue.N > 0 || len(o.Accounts) > 0 || o.Keys != nil && o.Keys.attention()
}

// Blind tells that nothing here is the person's to see.
func (o overviewData) Blind() bool { return o.Keys == nil && o.Overdue == nil && !o.AccountsSeen }

// accountSeen is an account that needs somebody.
type accountSeen struct {
	store.Account
	State connection.State
}

// keysSeen is how the keys of this environment stand, and what they were used for.
type keysSeen struct {
	States []stateCount // of all states that there are keys in
	All    int

	Ending    []keySeen // that expire soon, the first of them
	EndingAll int

	// Busy are the keys that most requests came with in the last hour; nil: that is not known now.
	Busy              []keySeen
	Requests, Refused int64
	Counted           bool // what keys are used for is known now; otherwise the numbers say nothing
}

func (k *keysSeen) attention() bool {
	return k.EndingAll > 0 || slices.ContainsFunc(k.States, func(s stateCount) bool { return s.Lost() })
}

// stateCount is how many keys are in a state.
type stateCount struct {
	keyState
	Reason string
	N      int
}

// Lost tells of a state whose keys are refused though nobody has revoked them, and they have not expired. A key that
// is pending may only be new, and is not among them.
func (s stateCount) Lost() bool {
	switch s.Reason {
	case v1alpha1.ReasonProfileNotFound, v1alpha1.ReasonDuplicateHash, v1alpha1.ReasonLeaked:
		return true
	}
	return false
}

// keySeen is one key. Expires is zero for never.
type keySeen struct {
	Name, Ref string
	Expires   time.Time
	use.Count
}

// overview asks for each part whether the person may see it: one question, and another one if there are accounts to be
// named, of which the answers are kept; and meanwhile for the replicas. Where that would be too much at once, because
// the organization had to be asked for, too, it asks for the replicas last, if it still may: the next time, it is less.
func (d *Dashboard) overview(r *request) (view, error) {
	var data overviewData
	// One more than is named: so it is known whether there are more.
	ending, err := r.rows().AccountsEnding(r.Context(), r.now.Add(aheadFor), mostNamed+1)
	if err != nil {
		return view{}, err
	}
	questions := int64(1)
	if len(ending) > 0 {
		questions++
	}
	var asking sync.WaitGroup
	if r.affords(questions) {
		// It writes this one field, and overviewOf all others: so neither waits for a lock, and they can be at it at once.
		asking.Go(func() { data.Replicas = r.replicas() })
		err = d.overviewOf(r, &data, ending)
	} else if err = d.overviewOf(r, &data, ending); r.affords(0) {
		data.Replicas = r.replicas()
	} else {
		data.Replicas = r.replicasLater()
	}
	asking.Wait()
	return view{Page: "overview", Title: "overview.title", Data: data}, err
}

// overviewOf reads what there is of an organization. Keys and posts share a question: what is told of them are states
// and numbers, and which keys are busy or expire.
func (d *Dashboard) overviewOf(r *request, data *overviewData, ending []store.Account) error {
	may, err := r.offers("list", "apikeys")
	if err != nil {
		return err
	}
	if may {
		data.Keys = d.keysSeen(r)
	}
	if data.Overdue, err = r.counted("posts", func(ctx context.Context) (store.Count, error) {
		return r.rows().CountOverdue(ctx, r.now.Add(-lateFor))
	}); err != nil {
		return err
	}
	return r.accountsSeen(data, ending)
}

// accountsSeen asks whether the person may see the accounts that need somebody only if there are any. That there are
// none is a number, and told as that of posts is.
func (r *request) accountsSeen(data *overviewData, ending []store.Account) (err error) {
	may := r.can
	if len(ending) == 0 {
		may = r.offers
	}
	if data.AccountsSeen, err = may("list", "accounts"); !data.AccountsSeen {
		return err
	}
	data.AccountsMore = len(ending) > mostNamed
	for _, a := range ending[:min(len(ending), mostNamed)] {
		state, _ := connection.StateOf(a, r.now)
		data.Accounts = append(data.Accounts, accountSeen{a, state})
	}
	return nil
}

// keysSeen goes through the keys of this environment, in memory. Those of the other one are its dashboard's. What
// they were used for is one question to the database, however many they are.
func (d *Dashboard) keysSeen(r *request) *keysSeen {
	seen, states := &keysSeen{}, map[string]int{}
	var requests map[string]use.Count
	if d.config.Use != nil {
		var err error
		requests, err = d.config.Use.Recent(r.Context(), r.Caller())
		// That it can't be counted now is no reason to show nothing else.
		seen.Counted = err == nil
	}
	var ending []keySeen
	for _, k := range d.config.Directory.Keys(r.Caller()) {
		if k.Environment() != d.config.Environment {
			continue
		}
		seen.All++
		reason := k.State(r.now).Reason
		states[reason]++
		one := seenOf(k, requests)
		if reason == v1alpha1.ReasonActive && !one.Expires.IsZero() && one.Expires.Before(r.now.Add(aheadFor)) {
			ending = append(ending, one)
		}
		if one.Requests > 0 {
			seen.Busy = append(seen.Busy, one)
			seen.Requests += one.Requests
			seen.Refused += one.Refused
		}
	}
	for reason, state := range keyStates {
		if n := states[reason]; n > 0 || reason == v1alpha1.ReasonActive {
			seen.States = append(seen.States, stateCount{state, reason, n})
		}
	}
	slices.SortFunc(seen.States, func(a, b stateCount) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(ending, func(a, b keySeen) int {
		return cmp.Or(a.Expires.Compare(b.Expires), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(seen.Busy, func(a, b keySeen) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Name, b.Name))
	})
	seen.EndingAll, seen.Ending = len(ending), ending[:min(len(ending), mostNamed)]
	seen.Busy = seen.Busy[:min(len(seen.Busy), mostNamed)]
	return seen
}

func seenOf(k *authn.Key, requests map[string]use.Count) keySeen {
	id := string(k.ID())
	return keySeen{Name: k.Name(), Ref: refOf(k.Name(), id), Expires: k.ExpiresAt(), Count: requests[id]}
}
