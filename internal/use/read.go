// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Count is how many requests came with a key and were recognised by it.
type Count struct {
	Requests int64
	// Refused is those of them that were not let in: the key lacked the scope, or its rate was used up.
	Refused int64
}

func (c Count) plus(requests, refused int64) Count {
	return Count{c.Requests + requests, c.Refused + refused}
}

// Period is what a key was used for in an hour or a day, in UTC.
type Period struct {
	Begins time.Time
	Count
}

// Replica is when one replica last saw a key.
type Replica struct {
	Name       string // as people are told of it: its Lease, and the Pod or host in parentheses
	LastUsedAt time.Time
}

// Series is what one key was used for, for a chart. All of it is there, also where nothing came. The zero counts in
// between are for whoever draws it, who need not know where a period begins.
type Series struct {
	LastUsedAt time.Time // to the minute; zero: never
	LastHour   Count     // of the last 60 minutes, of which up to 10 may be missing
	Hours      []Period  // the last 24, the oldest first; the last one is not over
	Days       []Period  // the last 30, alike
	// Replicas that saw the key within the last hour or somewhat more, who saw it last first. One that is not among them
	// has not seen it in that time.
	Replicas []Replica
}

// How long a chart is.
const (
	hours = 24
	days  = 30
)

// LastUsed returns when keys were used last, to the minute, by the UIDs of their ApiKeys: of those given, or of all
// that the caller sees. A key that is not in it was never used, or is none that the caller sees.
//
// What other replicas have seen is there after some seconds, if the key was not used in the minute before, and else
// after a minute. With an error, which is one of package store, it is what this replica has seen since it started.
func (k *Keeper) LastUsed(ctx context.Context, c *caller.Caller, ids ...string) (map[string]time.Time, error) {
	keys := k.o.Index.Keys(c)
	if len(ids) > 0 {
		keys = slices.DeleteFunc(slices.Clone(keys), notAmong(ids))
	}
	// The other environment's keys are in the index, and nothing is known of their use: to ask for them finds nothing.
	stored, err := k.o.Store.View(c).LastUses(ctx, ids...)
	last := make(map[string]time.Time, len(stored))
	for _, key := range keys {
		at := key.LastUsedAt()
		if s := stored[string(key.ID())]; s.After(at) {
			at = s
		}
		if !at.IsZero() {
			last[string(key.ID())] = at
		}
	}
	return last, err
}

// notAmong tells whether a key is none of those with these ids.
func notAmong(ids []string) func(*authn.Key) bool {
	if len(ids) == 1 {
		return func(key *authn.Key) bool { return string(key.ID()) != ids[0] }
	}
	set := make(map[types.UID]struct{}, len(ids))
	for _, id := range ids {
		set[types.UID(id)] = struct{}{}
	}
	return func(key *authn.Key) bool { _, ok := set[key.ID()]; return !ok }
}

// Recent returns what the keys that the caller sees were used for in the last 60 minutes, of which up to 10 may be
// missing, by the UIDs of their ApiKeys. Keys that were not used are not in it. What this replica has counted and not
// written yet is added, that of others is not known before they write it. With an error nothing is returned: a part
// would pass for all.
func (k *Keeper) Recent(ctx context.Context, c *caller.Caller) (map[string]Count, error) {
	then := lastHour(k.o.Clock.Now())
	stored, err := k.o.Store.View(c).RecentUse(ctx, then)
	if err != nil {
		return nil, err
	}
	written := make(map[string]Count, len(stored))
	for _, u := range stored {
		written[u.Key] = Count{u.Requests, u.Refused}
	}
	recent := make(map[string]Count, len(stored))
	for _, key := range k.o.Index.Keys(c) {
		count := written[string(key.ID())]
		if own := key.Use(); !own.LastUsedAt.Before(then) {
			count = count.plus(int64(own.Requests), int64(own.Refused))
		}
		if count != (Count{}) {
			recent[string(key.ID())] = count
		}
	}
	return recent, nil
}

// Of returns what one key was used for, by the UID of its ApiKey. Of a key that the caller does not see, that is
// nothing. The caller's view is asked first: the rows of an organization are not kept by Profile, so that the database
// could not tell what a caller who is confined to one may see. What is not written yet stands in the period of its last
// use.
func (k *Keeper) Of(ctx context.Context, c *caller.Caller, id string) (Series, error) {
	now := k.o.Clock.Now()
	keys := k.o.Index.Keys(c)
	i := slices.IndexFunc(keys, func(key *authn.Key) bool { return string(key.ID()) == id })
	if i < 0 {
		return seriesOf(nil, time.Time{}, now), nil
	}
	view := k.o.Store.View(c)
	last, err := view.LastUses(ctx, id)
	if err != nil {
		return Series{}, err
	}
	periods, err := view.PeriodsOfUse(ctx, id)
	if err != nil {
		return Series{}, err
	}
	if own := keys[i].Use(); own.Requests > 0 && !own.LastUsedAt.IsZero() {
		periods = append(periods, store.PeriodOfUse{
			Period: store.TenMinutes, Begins: store.TenMinutes.Begin(own.LastUsedAt), Replica: k.o.Replica,
			UsedAt: own.LastUsedAt, Requests: int64(own.Requests), Refused: int64(own.Refused),
		})
	}
	at := keys[i].LastUsedAt()
	if last[id].After(at) {
		at = last[id]
	}
	return seriesOf(periods, at, now), nil
}

// lastHour is when the last 60 minutes begin, for what is counted in tens of them. It is the beginning of the period
// that was 50 minutes ago: of the six that there are then, the last is not over.
func lastHour(now time.Time) time.Time { return store.TenMinutes.Begin(now.Add(-50 * time.Minute)) }

// seriesOf makes a Series of what is stored, for a key that was used at last or later. It is pure. Of any time there
// are rows of one length alone, so adding them counts nothing twice: tens of minutes and hours add to the hours, and
// all of them to the days. Only tens of minutes have a replica.
func seriesOf(periods []store.PeriodOfUse, last, now time.Time) Series {
	s := Series{LastUsedAt: last, Hours: empty(store.Hour, hours, now), Days: empty(store.Day, days, now)}
	replicas := map[string]time.Time{}
	for _, p := range periods {
		if p.UsedAt.After(s.LastUsedAt) {
			s.LastUsedAt = p.UsedAt
		}
		if p.Period == store.TenMinutes {
			if !p.Begins.Before(lastHour(now)) {
				s.LastHour = s.LastHour.plus(p.Requests, p.Refused)
			}
			if p.UsedAt.After(replicas[p.Replica]) {
				replicas[p.Replica] = p.UsedAt
			}
		}
		if p.Period != store.Day {
			add(s.Hours, store.Hour, p)
		}
		add(s.Days, store.Day, p)
	}
	for name, at := range replicas {
		s.Replicas = append(s.Replicas, Replica{name, at})
	}
	slices.SortFunc(s.Replicas, func(a, b Replica) int {
		if c := b.LastUsedAt.Compare(a.LastUsedAt); c != 0 {
			return c
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return s
}

// empty returns n periods up to the one that now is in.
func empty(p store.Period, n int, now time.Time) []Period {
	list := make([]Period, n)
	for i := range list {
		list[i].Begins = p.Begin(now).Add(time.Duration(p) * time.Duration(i-n+1))
	}
	return list
}

// add adds a stored period to the one that it is part of, if that is in the list. A stored period is never longer than
// those of the list, and lies within one of them.
func add(list []Period, p store.Period, stored store.PeriodOfUse) {
	i := int(p.Begin(stored.Begins).Sub(list[0].Begins) / time.Duration(p))
	if !stored.Begins.Before(list[0].Begins) && i < len(list) {
		list[i].Count = list[i].plus(stored.Requests, stored.Refused)
	}
}
