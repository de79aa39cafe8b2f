// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"cmp"
	"slices"
)

// InTurns sorts items so that organizations take turns: the first item of each of them comes before anybody's second.
// compare says what comes first within one organization, and among those that are in the same turn.
//
// It is how anything is shared out of which there may not be enough: however much one organization has there, all that
// others have waits for is one item of it a turn.
//
// Model: step Room.
func InTurns[T any](items []T, organization func(T) string, compare func(a, b T) int) {
	slices.SortFunc(items, compare)
	type place struct {
		turn int
		item T
	}
	turns, places := map[string]int{}, make([]place, len(items))
	for i, item := range items {
		o := organization(item)
		places[i] = place{turns[o], item}
		turns[o]++
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.turn, b.turn) })
	for i := range places {
		items[i] = places[i].item
	}
}
