// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// benchDashboard measures what somebody waits for at the dashboard: the list of many keys, and a key that is minted,
// beside the bare request to the apiserver that mints one.
func benchDashboard(ctx context.Context, r *report, b *bed) (err error) {
	const keys, pages, mints = 10_000, 200, 60
	namespace, err := b.namespace(ctx)
	if err != nil {
		return err
	}
	if _, err := b.load(ctx, namespace, keys); err != nil {
		return err
	}
	ports, err := kube.FreePorts(2)
	if err != nil {
		return err
	}
	base := "http://" + kube.Address(ports[0])
	api, err := b.run(ctx, "api", "letmepost-api-live", base+"/readyz", "--environment", "live",
		"--listen-address", kube.Address(ports[0]), "--metrics-bind-address", kube.Address(ports[1]),
		"--data-dir", filepath.Join(b.dir, "dashboard"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, api.Stop(context.WithoutCancel(ctx))) }()
	token, err := b.minter(ctx, namespace)
	if err != nil {
		return err
	}
	p := &person{base: base + "/dashboard"}
	if err := p.signIn(ctx, token, namespace); err != nil {
		return err
	}
	var lists []time.Duration
	queries := []string{"", "?sort=name", "?q=loaded-99", "?page=200", "?state=Active&unused=1", "?sort=-expires"}
	for i := range pages {
		began := time.Now()
		page, err := p.ask(ctx, http.MethodGet, "/keys"+queries[i%len(queries)], nil)
		if err != nil {
			return err
		}
		lists = append(lists, time.Since(began))
		if !strings.Contains(page, "loaded-") {
			return errors.New("no key was listed")
		}
	}
	r.atMost("dashboard, list of 10,000 keys, p95", milliseconds(percentile(lists, 95)), 50, "ms",
		fmt.Sprintf("p50 %.1f ms, with the way there over loopback", milliseconds(percentile(lists, 50))))
	return b.mints(ctx, r, p, token, namespace, mints)
}

// mints mints keys by turns at the dashboard and by a bare request. The forms are fetched before: people take a while
// to fill one in, and what the apiserver has to do for showing it, and to clean up after, is over by then.
func (b *bed) mints(ctx context.Context, r *report, p *person, token, namespace string, n int) error {
	config := rest.AnonymousClientConfig(b.AdminConfig())
	config.BearerToken = token
	bare, err := client.New(config, client.Options{Scheme: b.client.Scheme()})
	if err != nil {
		return err
	}
	var ids []string
	var organization string
	for range n {
		form, err := p.ask(ctx, http.MethodGet, "/keys/-/new", nil)
		if err != nil {
			return err
		}
		id, of := formID.FindStringSubmatch(form), formOrganization.FindStringSubmatch(form)
		if id == nil || of == nil {
			return errors.New("the form has no id, or no organization")
		}
		ids, organization = append(ids, id[1]), of[1]
	}
	var pages, creates []time.Duration
	for i, id := range ids {
		began := time.Now()
		shown, err := p.ask(ctx, http.MethodPost, "/keys/-/new", url.Values{
			"form": {id}, "name": {fmt.Sprintf("page-%d", i)}, "environment": {"live"}, "expiry": {"never"}, "window": {"1m"},
			"scope": {"posts:read"}, "way": {"once"}, "do": {"mint"}, "organization": {organization},
		})
		if err != nil {
			return err
		}
		pages = append(pages, time.Since(began))
		if !strings.Contains(shown, b.format.Prefix(key.Live)) {
			return errors.New("no key was shown")
		}
		plaintext, err := b.format.Mint(b.random, key.Live)
		if err != nil {
			return err
		}
		k := &v1alpha1.ApiKey{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("bare-%d", i)},
			Spec: v1alpha1.ApiKeySpec{
				Environment: v1alpha1.EnvironmentLive, Scopes: []v1alpha1.Scope{v1alpha1.ScopePostsRead},
				SecretHash: key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(namespace)).String(),
			},
		}
		began = time.Now()
		if err := bare.Create(ctx, k); err != nil {
			return err
		}
		creates = append(creates, time.Since(began))
	}
	page, create := percentile(pages, 50), percentile(creates, 50)
	r.atMost("dashboard, a key is minted / a bare create, p50", float64(page)/float64(create), 1.5, "x",
		fmt.Sprintf("%.2f and %.2f ms", milliseconds(page), milliseconds(create)))
	return nil
}

var (
	formID           = regexp.MustCompile(`name="form" value="([^"]+)"`)
	formOrganization = regexp.MustCompile(`name="organization" value="([^"]+)"`)
)

// minter makes a ServiceAccount that may see and mint keys in a namespace, and returns a token of it.
func (b *bed) minter(ctx context.Context, namespace string) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "minter"}}
	if err := b.client.Create(ctx, account); err != nil {
		return "", err
	}
	for _, role := range []string{"letmepost-apikey-viewer", "letmepost-apikey-minter"} {
		if err := b.client.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "minter"}},
		}); err != nil {
			return "", err
		}
	}
	request := &authenticationv1.TokenRequest{}
	err := b.client.SubResource("token").Create(ctx, account, request)
	return request.Status.Token, err
}

// person is somebody at the dashboard, who keeps the cookie by hand: Go's jar keeps none of a server without TLS.
type person struct{ base, cookie string }

func (p *person) signIn(ctx context.Context, token, organization string) error {
	if _, err := p.ask(ctx, http.MethodPost, "/sign-in", url.Values{"token": {token}}); err != nil {
		return err
	}
	_, err := p.ask(ctx, http.MethodPost, "/organizations", url.Values{"name": {organization}})
	return err
}

// ask sends a request, and returns the page. A redirect is a page without a body.
func (p *person) ask(ctx context.Context, method, path string, form url.Values) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if p.cookie != "" {
		r.Header.Set("Cookie", p.cookie)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %s", method, path, answer.Status)
	}
	for _, c := range answer.Cookies() {
		if c.Name == dashboard.CookieName(key.Live) {
			p.cookie = c.Name + "=" + c.Value
		}
	}
	return string(page), err
}
