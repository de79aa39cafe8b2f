// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/net/html"
)

// person is somebody without a browser, who is signed in at one replica.
type person struct {
	at     *server
	cookie string
}

// signedIn signs somebody in by a token, and chooses an organization.
func signedIn(ctx SpecContext, at *server, token, organization string) *person {
	GinkgoHelper()
	p := &person{at: at}
	for _, form := range []struct {
		path   string
		values url.Values
	}{{"/sign-in", url.Values{"token": {token}}}, {"/organizations", url.Values{"name": {organization}}}} {
		status, header, page := p.ask(ctx, http.MethodPost, at.url+"/dashboard"+form.path, form.values)
		Expect(status).To(Equal(http.StatusSeeOther), page)
		if set := header.Get("Set-Cookie"); set != "" {
			p.cookie, _, _ = strings.Cut(set, ";")
		}
	}
	hide(p.cookie[strings.Index(p.cookie, "=")+1:])
	return p
}

func (p *person) ask(ctx SpecContext, method, address string, form url.Values) (int, http.Header, string) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	Expect(err).NotTo(HaveOccurred())
	request.Header.Set("Cookie", p.cookie)
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	return response.StatusCode, response.Header, string(text)
}

// maxCrawled is more pages than the dashboard of a small organization has.
const maxCrawled = 300

// crawl reads every page of the dashboard that links lead to, and returns each as a place to hunt in.
func (p *person) crawl(ctx SpecContext) (pages []place) {
	GinkgoHelper()
	seen, next := map[string]bool{}, []string{"/dashboard/"}
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		Expect(len(seen)).To(BeNumerically("<", maxCrawled), "links lead to ever more pages: %s", path)
		status, header, page := p.ask(ctx, http.MethodGet, p.at.url+path, nil)
		Expect(status).To(BeNumerically("<", http.StatusInternalServerError), path)
		pages = append(pages, place{"page " + path, []byte(page)})
		next = append(next, linksOf(path, header.Get("Location"), page)...)
	}
	return pages
}

// linksOf are the paths of the dashboard that a page leads to: by links, and by forms that only ask.
func linksOf(at, redirect, page string) (paths []string) {
	GinkgoHelper()
	base, err := url.Parse(at)
	Expect(err).NotTo(HaveOccurred())
	add := func(link string) {
		to, err := base.Parse(link)
		if err == nil && to.Host == "" && strings.HasPrefix(to.Path, "/dashboard") {
			to.Fragment = ""
			paths = append(paths, to.String())
		}
	}
	if redirect != "" {
		add(redirect)
	}
	root, err := html.Parse(strings.NewReader(page))
	Expect(err).NotTo(HaveOccurred())
	for n := range root.Descendants() {
		wanted := map[string]string{"a": "href", "link": "href", "script": "src", "form": "action"}[n.Data]
		asks := n.Data != "form" || !slices.ContainsFunc(n.Attr, func(a html.Attribute) bool {
			return a.Key == "method" && strings.EqualFold(a.Val, "post")
		})
		for _, a := range n.Attr {
			if wanted != "" && a.Key == wanted && asks {
				add(a.Val)
			}
		}
	}
	return paths
}
