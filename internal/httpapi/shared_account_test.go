// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"testing"
)

// TestOneAccountOfMany: the same account of a platform, connected by two profiles, an organization, another one and in
// the other environment, is as many accounts here. None of them is found by another, or goes with it.
func TestOneAccountOfMany(t *testing.T) {
	callers := crowd(t)
	brand, globexs, tests := callers[0].own, callers[2].own, callers[3].own
	other, alone := callers[0].foreign[0], callers[0].foreign[1]
	all := []*estate{brand, other, alone, globexs, tests}
	ids, at := map[*estate]string{}, map[string]*estate{}
	for _, e := range all {
		made := e.api.send(sent{
			method: http.MethodPost, target: "/v1/accounts/connect/bluesky/complete", key: e.key,
			body: `{"identifier":"shared.test","appPassword":"x"}`,
		})
		checkStatus(t, e.name, made, http.StatusCreated)
		id := decode[account](t, made.Body.String()).ID
		if before := at[id]; before != nil {
			t.Errorf("%s has the account of %s", e.name, before.name)
		}
		ids[e], at[id] = id, e
	}
	look := func(gone *estate) {
		t.Helper()
		for _, owner := range all {
			for _, by := range all {
				// A key of the whole organization reaches its profiles, too.
				want := http.StatusNotFound
				if owner != gone && (by == owner || by == alone && (owner == brand || owner == other)) {
					want = http.StatusOK
				}
				checkStatus(t, by.name+" looks at the account of "+owner.name,
					by.api.do(http.MethodGet, "/v1/accounts/"+ids[owner], by.key), want)
			}
		}
	}
	look(nil)
	// Whoever reaches several of them would post the same there several times.
	alone.api.refused(t, "one account for two profiles", publication(alone.key,
		targetOf(ids[brand], "")+","+targetOf(ids[other], ""), `,"text":"x"`), http.StatusBadRequest, "targets.duplicate")
	for _, by := range []*estate{other, globexs, tests} {
		checkStatus(t, by.name+" disconnects another's", by.api.do(http.MethodDelete, "/v1/accounts/"+ids[brand], by.key), http.StatusNotFound)
	}
	checkStatus(t, "its owner disconnects it", brand.api.do(http.MethodDelete, "/v1/accounts/"+ids[brand], brand.key), http.StatusOK)
	look(brand)
}
