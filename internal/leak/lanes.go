// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"cmp"
	"maps"
	"slices"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// Reports wait in lanes, one of each organization, for a place on the Lease. What stands there stays until it is
// settled, whatever comes after it: its caller has been told that this process may die. So that there is room for
// others whatever some have reported, half of the places are for organizations that have none; of the other half one is
// given a place only while it has fewer than are free. Alone it gets a quarter of the Lease, which is settled and given
// anew several times a second.
//
// A lane needs no bound of its own: its reports are of keys that the index holds, and of one organization that is no
// more than its quota.

// report is a key that exists here and that somebody has reported. If several organizations have it, each has an
// entry of it in its lane.
type report struct {
	digest key.Digest
	lanes  []string // of which namespaces; it has one entry in each
	untold int      // of its entries have not stood on the Lease
}

// entry is a report as one namespace's that has the key. stood says that it has been on the Lease, which was written:
// the controller can have read it.
type entry struct {
	*report
	stood bool
}

// lane are the reports of one organization.
type lane struct {
	namespace string
	waiting   []*entry // the oldest first
	standing  []*entry // on the Lease
	gone      []*entry // of keys that are not here at the moment: a namespace may be closed to this process for a while
	served    uint64   // when it was given a place last, in places of all
	pruneAt   int      // how many are waiting when it is looked whether their keys are still there
}

const (
	// mostGone bounds what is remembered of keys that have gone before the controller was told of them.
	mostGone = 1_000
	// fewWaiting is how many may wait before anybody looks whether their keys are still there.
	fewWaiting = 1_000
)

// lanes are those of all organizations. Reporter.mu guards them.
type lanes struct {
	// whose tells whether a report is still to be settled, and which namespaces have the key.
	whose   func(key.Digest) (unsettled bool, namespaces []string)
	forget  func(key.Digest) bool // takes a report back of which nobody else has heard, if its key is not here
	reports map[key.Digest]*report
	of      map[string]*lane // by namespace
	places  uint64           // that have been given
}

// add takes a report in, or finds the one that there is. It is nil if it is settled already, or the key has just gone.
func (ls *lanes) add(d key.Digest) *report {
	if r := ls.reports[d]; r != nil {
		return r
	}
	unsettled, namespaces := ls.whose(d)
	if unsettled && len(namespaces) == 0 {
		ls.forget(d)
	}
	if !unsettled || len(namespaces) == 0 {
		return nil
	}
	r := &report{digest: d, untold: len(namespaces)}
	ls.reports[d] = r
	for _, namespace := range namespaces {
		ls.enter(namespace, &entry{report: r})
	}
	return r
}

// enter has an entry wait in its namespace's lane, behind those that do. A lane that is new counts as one that has
// just been given a place, so that it comes behind those which have waited longer.
func (ls *lanes) enter(namespace string, e *entry) {
	l := ls.of[namespace]
	if l == nil {
		l = &lane{namespace: namespace, served: ls.places, pruneAt: fewWaiting}
		ls.of[namespace] = l
	}
	l.waiting = append(l.waiting, e)
	e.lanes = append(e.lanes, namespace)
}

// keep tells whether an entry of l is still to stand on the Lease. If its key is not here at the moment, the lane
// remembers it. If other namespaces have it by now, the lane of one of them does, unless each has an entry of its own:
// a second one would take a place that is somebody else's.
func (ls *lanes) keep(l *lane, e *entry) bool {
	switch unsettled, namespaces := ls.whose(e.digest); {
	case !unsettled:
		ls.drop(l, e)
		return false
	case slices.Contains(namespaces, l.namespace):
		return true
	case len(namespaces) > 0:
		other := slices.IndexFunc(namespaces, func(n string) bool { return !slices.Contains(e.lanes, n) })
		if other < 0 {
			ls.drop(l, e)
			return false
		}
		e.leave(l)
		ls.enter(namespaces[other], e)
		return false
	}
	if l.gone = append(l.gone, e); len(l.gone) > mostGone {
		first := l.gone[0]
		l.gone = l.gone[1:]
		if ls.forget(first.digest) {
			ls.drop(l, first)
		} else {
			l.waiting = append(l.waiting, first) // it is here again, or is settled
		}
	}
	return false
}

// drop ends an entry of l of which there is nothing to tell any more.
func (ls *lanes) drop(l *lane, e *entry) {
	e.tell()
	if e.leave(l); len(e.lanes) == 0 {
		delete(ls.reports, e.digest)
	}
}

// leave notes that an entry is in a lane no more.
func (e *entry) leave(l *lane) {
	e.lanes = slices.DeleteFunc(e.lanes, func(namespace string) bool { return namespace == l.namespace })
}

// tell notes that the controller can know of an entry.
func (e *entry) tell() {
	if !e.stood {
		e.stood = true
		e.untold--
	}
}

// take returns what is to stand on a Lease that has room for so many, and notes it. taken are the entries of all, in
// the same order: they are told when the Lease has been written.
func (ls *lanes) take(limit int) (all []revocation.Report, taken []*entry) {
	ls.review(limit)
	free := limit
	for _, l := range ls.of {
		free -= len(l.standing)
	}
	for free > 0 && ls.seat(free, limit/2) {
		free--
	}
	for _, namespace := range slices.Sorted(maps.Keys(ls.of)) { // so that a renewal with the same reports is the same
		for _, e := range ls.of[namespace].standing {
			all = append(all, revocation.Report{Namespace: namespace, Digest: e.digest})
			taken = append(taken, e)
		}
	}
	most := min(limit, len(all))
	return all[:most], taken[:most]
}

// review takes off what is settled or has gone, and gives the turn back to keys that are here again: to so many of a
// lane, and the others next time. Meanwhile keep may put an entry into another lane, even a new one, which may be
// looked at in this turn or in the next.
func (ls *lanes) review(most int) {
	for namespace, l := range ls.of {
		l.standing = slices.DeleteFunc(l.standing, func(e *entry) bool { return !ls.keep(l, e) })
		if len(l.waiting) >= l.pruneAt {
			all := l.waiting
			l.waiting = nil
			ls.recheck(l, all)
			l.pruneAt = max(fewWaiting, 2*len(l.waiting))
		}
		again := l.gone[:min(most, len(l.gone))]
		l.gone = slices.Clone(l.gone[len(again):])
		ls.recheck(l, again)
		if len(l.waiting)+len(l.standing)+len(l.gone) == 0 {
			delete(ls.of, namespace)
		}
	}
}

// recheck has those wait that are still to stand on the Lease.
func (ls *lanes) recheck(l *lane, entries []*entry) {
	for _, e := range entries {
		if ls.keep(l, e) {
			l.waiting = append(l.waiting, e)
		}
	}
}

// seat gives one place to the lane whose turn it is. It tells whether it did: none may have anything for it, or each as
// many as are left to it, beside those that are for lanes which have none. It goes on until one of them takes the
// place, as what waits may have been settled since.
func (ls *lanes) seat(free, reserved int) bool {
	for l := ls.next(); l != nil && (len(l.standing) == 0 || len(l.standing) < free-reserved); l = ls.next() {
		e := l.waiting[0]
		l.waiting = l.waiting[1:]
		if ls.keep(l, e) {
			ls.places++
			l.served, l.standing = ls.places, append(l.standing, e)
			return true
		}
	}
	return false
}

// next is the lane that has the fewest places, of those that wait for one; of several, the one that was given its last
// the longest ago. nil: none waits.
func (ls *lanes) next() (first *lane) {
	for _, l := range ls.of {
		if len(l.waiting) > 0 && (first == nil || cmp.Or(cmp.Compare(len(l.standing), len(first.standing)),
			cmp.Compare(l.served, first.served), cmp.Compare(l.namespace, first.namespace)) < 0) {
			first = l
		}
	}
	return first
}

// counts are how many entries have no place, and how many have one; without those of keys that have gone.
func (ls *lanes) counts() (waiting, standing int) {
	for _, l := range ls.of {
		waiting, standing = waiting+len(l.waiting), standing+len(l.standing)
	}
	return waiting, standing
}
