// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import "net/http"

// overviewScreens are about what needs attention.
func (d *Dashboard) overviewScreens() []screen {
	return []screen{{Method: http.MethodGet, Path: "/{$}", Show: d.overview}}
}

func (d *Dashboard) overview(*request) (view, error) {
	return view{Page: "overview", Title: "overview.title"}, nil
}
