// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package turns is how anything is shared out of which there may not be enough: organizations take turns. However much
// one of them has there, all that others have waits for is one item of it a turn.
package turns

import (
	"cmp"
	"slices"
)

// Sort sorts items so that organizations take turns: the first item of each of them comes before anybody's second.
// compare says what comes first within one organization, and among those that are in the same turn.
//
// Model: step Room.
func Sort[T any](items []T, organization func(T) string, compare func(a, b T) int) {
	slices.SortFunc(items, compare)
	type place struct {
		turn int
		item T
	}
	next, places := map[string]int{}, make([]place, len(items))
	for i, item := range items {
		o := organization(item)
		places[i] = place{next[o], item}
		next[o]++
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.turn, b.turn) })
	for i := range places {
		items[i] = places[i].item
	}
}

// Queue is what waits. Of one organization's, whoever came first is first. The zero value is ready for use; it is for
// one goroutine at a time, as whoever has a queue has a lock for more than that.
type Queue[T any] struct {
	of    map[string][]T // by organization. One of which nothing waits takes no room: over time there may be any number
	next  []string       // organizations of which something waits, the next one first
	total int
}

// Push has an item wait behind the others of its organization.
func (q *Queue[T]) Push(organization string, item T) {
	if q.of == nil {
		q.of = map[string][]T{}
	}
	if len(q.of[organization]) == 0 {
		q.next = append(q.next, organization)
	}
	q.of[organization] = append(q.of[organization], item)
	q.total++
}

// Pop takes the item whose turn it is; false: nothing waits.
func (q *Queue[T]) Pop() (item T, ok bool) {
	if q.total == 0 {
		return item, false
	}
	organization := q.next[0]
	q.next = append(q.next[1:], organization)
	waiting := q.of[organization]
	var none T
	item, waiting[0] = waiting[0], none // what is gone is not kept in memory by those behind it
	q.keep(organization, waiting[1:])
	return item, true
}

// Remove takes out the first item of an organization of which is says so, and tells whether there was one.
func (q *Queue[T]) Remove(organization string, is func(T) bool) bool {
	waiting := q.of[organization]
	i := slices.IndexFunc(waiting, is)
	if i < 0 {
		return false
	}
	q.keep(organization, slices.Delete(waiting, i, i+1))
	return true
}

// keep notes what of an organization still waits, one item less than before.
func (q *Queue[T]) keep(organization string, waiting []T) {
	q.total--
	if len(waiting) > 0 {
		q.of[organization] = waiting
		return
	}
	delete(q.of, organization)
	q.next = slices.DeleteFunc(q.next, func(o string) bool { return o == organization })
}

// Len is how many items wait.
func (q *Queue[T]) Len() int { return q.total }

// LenOf is how many items of one organization wait.
func (q *Queue[T]) LenOf(organization string) int { return len(q.of[organization]) }
