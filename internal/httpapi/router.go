// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// router finds the route of a request. It is not an http.ServeMux because that one answers for itself, in plain text or
// with a redirect, where this API owes an envelope.
type router struct {
	exact   map[string]*resource // by path
	withID  map[string]*resource // by what stands before the parameter, with its slash
	metrics *metrics
}

// resource is a path with its methods.
type resource struct {
	pattern  string // as in the route table: it is also the value of the metrics' label
	methods  map[string]*route
	allow    string // the Allow header
	duration prometheus.Observer
}

const idParam = "{id}"

func newRouter(table []route, m *metrics) router {
	rt := router{exact: map[string]*resource{}, withID: map[string]*resource{}, metrics: m}
	for i := range table {
		rt.add(table[i])
	}
	return rt
}

func (rt *router) add(t route) {
	if t.succeeds() {
		t.served = rt.metrics.requests.WithLabelValues(t.path, t.method, "200")
	}
	paths, path := rt.exact, t.path
	if before, ok := strings.CutSuffix(path, idParam); ok {
		paths, path = rt.withID, before
	}
	res := paths[path]
	if res == nil {
		res = &resource{
			pattern:  t.path,
			methods:  map[string]*route{},
			duration: rt.metrics.duration.WithLabelValues(t.path),
		}
		paths[path] = res
	}
	res.methods[t.method] = &t
	if t.method == http.MethodGet && t.stream == nil {
		res.methods[http.MethodHead] = &t
	}
	var allowed []string
	for method := range res.methods {
		allowed = append(allowed, method)
	}
	slices.Sort(allowed)
	res.allow = strings.Join(allowed, ", ")
}

// find sets r's resource, route and param. The error is a problem: there is no such path, or no such method of it.
//
// It looks at the path as it was sent: an encoded slash belongs to its segment, and a path has one spelling.
func (rt *router) find(r *request) error {
	path := r.http.URL.EscapedPath()
	if r.resource = rt.exact[path]; r.resource == nil {
		r.resource, r.param = rt.findWithID(path)
	}
	if r.resource == nil {
		return errNoRoute
	}
	if r.route = r.resource.methods[r.http.Method]; r.route == nil {
		return errMethod(r.resource.allow)
	}
	return nil
}

// findWithID takes the last segment of path for a parameter.
func (rt *router) findWithID(path string) (*resource, string) {
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || slash == len(path)-1 {
		return nil, ""
	}
	res := rt.withID[path[:slash+1]]
	if res == nil {
		return nil, ""
	}
	id, err := url.PathUnescape(path[slash+1:])
	if err != nil {
		return nil, ""
	}
	return res, id
}
