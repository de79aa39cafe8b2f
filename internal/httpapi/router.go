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
	exact     map[string]*resource    // by path
	withParam map[[2]string]*resource // by what stands before the parameter and after it, with their slashes
	metrics   *metrics
}

// resource is a path with its methods.
type resource struct {
	pattern  string // as in the route table: it is also the value of the metrics' label
	methods  map[string]*route
	allow    string // the Allow header
	duration prometheus.Observer
}

func newRouter(table []route, m *metrics) router {
	rt := router{exact: map[string]*resource{}, withParam: map[[2]string]*resource{}, metrics: m}
	for i := range table {
		rt.add(table[i])
	}
	return rt
}

func (rt *router) add(t route) {
	if t.succeeds() {
		t.served = rt.metrics.requests.WithLabelValues(t.path, t.method, "200")
	}
	res := rt.resource(t.path)
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

// resource returns that of a pattern, made if it is new.
func (rt *router) resource(pattern string) *resource {
	before, name, after := cutParam(pattern)
	res := rt.exact[pattern]
	if name != "" {
		res = rt.withParam[[2]string{before, after}]
	}
	if res != nil {
		return res
	}
	res = &resource{
		pattern:  pattern,
		methods:  map[string]*route{},
		duration: rt.metrics.duration.WithLabelValues(pattern),
	}
	if name == "" {
		rt.exact[pattern] = res
	} else {
		rt.withParam[[2]string{before, after}] = res
	}
	return res
}

// cutParam takes a pattern apart at its parameter; name is "" if there is none.
func cutParam(pattern string) (before, name, after string) {
	before, rest, ok := strings.Cut(pattern, "{")
	if !ok {
		return pattern, "", ""
	}
	name, after, _ = strings.Cut(rest, "}")
	return before, name, after
}

// find sets r's resource, route and param. The error is a problem: there is no such path, or no such method of it.
//
// It looks at the path as it was sent: an encoded slash belongs to its segment, and a path has one spelling.
func (rt *router) find(r *request) error {
	path := r.http.URL.EscapedPath()
	if r.resource = rt.exact[path]; r.resource == nil {
		r.resource, r.param = rt.findWithParam(path)
	}
	if r.resource == nil {
		return errNoRoute
	}
	if r.route = r.resource.methods[r.http.Method]; r.route == nil {
		return errMethod(r.resource.allow)
	}
	return nil
}

// findWithParam takes the last segment of path for a parameter, or the one before it.
func (rt *router) findWithParam(path string) (*resource, string) {
	last := strings.LastIndexByte(path, '/')
	if last < 0 {
		return nil, ""
	}
	if res := rt.withParam[[2]string{path[:last+1], ""}]; res != nil {
		return found(res, path[last+1:])
	}
	slash := strings.LastIndexByte(path[:last], '/')
	if slash < 0 {
		return nil, ""
	}
	return found(rt.withParam[[2]string{path[:slash+1], path[last:]}], path[slash+1:last])
}

// found decodes the parameter of a resource that may be nil. An empty one is none.
func found(res *resource, segment string) (*resource, string) {
	param, err := url.PathUnescape(segment)
	if res == nil || param == "" || err != nil {
		return nil, ""
	}
	return res, param
}
