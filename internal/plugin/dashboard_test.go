// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// otherwise is the kubeconfig of somebody with a role whose token comes about in another way.
func (w *world) otherwise(role, name string, change func(*clientcmdapi.AuthInfo)) string {
	w.t.Helper()
	config, err := clientcmd.LoadFromFile(w.as(role))
	w.must(nil, err)
	for _, user := range config.AuthInfos {
		change(user)
	}
	path := filepath.Join(w.dir, name)
	w.must(nil, clientcmd.WriteToFile(*config, path))
	return path
}

// opened is a browser that keeps where it was led to.
type opened struct{ links []string }

func (o *opened) open(_ context.Context, link string) error {
	o.links = append(o.links, link)
	return nil
}

// fetched is what a browser is answered.
func fetched(t *testing.T, r *http.Request) (status int, header http.Header, page string) {
	t.Helper()
	client := http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// TestDashboard: a browser that follows the link is asked whether to be signed in as who one is to the cluster, however
// the kubeconfig comes by its token; by the button, it is.
func TestDashboard(t *testing.T) {
	w := newWorld(t)
	_, api := w.startAPI()
	withFile := w.otherwise("editor", "with-file", func(user *clientcmdapi.AuthInfo) {
		user.TokenFile = filepath.Join(w.dir, "token")
		w.must(nil, os.WriteFile(user.TokenFile, []byte(user.Token), 0o600))
		user.Token = ""
	})
	withProgram := w.otherwise("editor", "with-program", func(user *clientcmdapi.AuthInfo) {
		user.Exec = &clientcmdapi.ExecConfig{
			APIVersion: "client.authentication.k8s.io/v1", Command: "echo", InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
			Args: []string{fmt.Sprintf(
				`{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":%q}}`, user.Token)},
		}
		user.Token = ""
	})
	for reason, args := range map[string][]string{
		"a token":             {"--kubeconfig", w.as("editor")},
		"a file with a token": {"--kubeconfig", withFile},
		"a program":           {"--kubeconfig", withProgram},
		"a certificate, and a token made with it": {"--kubeconfig", w.cluster.KubeconfigPath(), "--service-account", "editor"},
	} {
		t.Run(reason, func(t *testing.T) {
			browser := &opened{}
			r := runAt(t.Context(), nil, browser.open, append(args, "-n", w.namespace, "dashboard", "--api-url", api+"/dashboard/")...)
			r.expect(t, 0, "Your browser asks")
			if len(browser.links) != 1 || strings.Contains(r.out+r.err, "code=") {
				t.Fatalf("opened %d; it says %q, %q", len(browser.links), r.out, r.err)
			}
			link, err := url.Parse(browser.links[0])
			w.must(nil, err)
			look, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link.String(), http.NoBody)
			w.must(nil, err)
			who := "system:serviceaccount:" + w.namespace + ":editor"
			if status, _, page := fetched(t, look); status != http.StatusOK || !strings.Contains(page, "Sign in as "+who) {
				t.Errorf("%d\n%s", status, page)
			}
			press, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api+"/dashboard/handover/sign-in",
				strings.NewReader(link.RawQuery))
			w.must(nil, err)
			press.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			status, header, page := fetched(t, press)
			if status != http.StatusSeeOther || !strings.Contains(header.Get("Set-Cookie"), "__Host-letmepost-test=") {
				t.Errorf("%d, %v\n%s", status, header, page)
			}
		})
	}

	w.run("editor", "dashboard", "--api-url", api).expect(t, 0, "No browser could be opened", api+"/dashboard/handover?code=")
	browser := &opened{}
	r := runAt(t.Context(), nil, browser.open, "--kubeconfig", w.as("editor"), "dashboard", "--api-url", api, "--no-browser")
	r.expect(t, 0, "Open this within a minute")
	if !strings.HasPrefix(r.out, api+"/dashboard/handover?code=") || strings.Count(r.out, "\n") != 1 || len(browser.links) != 0 {
		t.Errorf("it prints %q, and opens %d", r.out, len(browser.links))
	}
	w.run("viewer", "dashboard", "--api-url", api, "--service-account", "editor").expect(t, 3, "make a token for ServiceAccount")
	broken := w.otherwise("editor", "broken", func(user *clientcmdapi.AuthInfo) { user.Token = "nobodys" })
	runWith(t.Context(), nil, "--kubeconfig", broken, "dashboard", "--api-url", api).
		expect(t, 1, "does not take your token (401)", "does not know this token")
}

// TestDashboardSendsNoTokenElsewhere: not in clear text, not after a redirect, and not for a link that leads elsewhere.
func TestDashboardSendsNoTokenElsewhere(t *testing.T) {
	w := newWorld(t)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s went where it should not", r.Method, r.URL)
	}))
	t.Cleanup(thief.Close)
	answers := func(status int, location, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(a http.ResponseWriter, _ *http.Request) {
			a.Header().Set("Location", location)
			a.WriteHeader(status)
			_, _ = io.WriteString(a, body)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	elsewhere := strings.TrimPrefix(thief.URL, "http:")
	for _, c := range []struct {
		reason, address string
		status          int
		said            string
		more            []string
	}{
		{"plain HTTP", "http://api.example.com", 2, "readable on its way to api.example.com", nil},
		{"a name like loopback's", "http://localhost.example.com", 2, "readable on its way", nil},
		{"no address", "api.example.com", 2, "want where the API is", nil},
		{"a file", "file:///etc/passwd", 2, "want where the API is", nil},
		{"a password in it", "https://me:secret@api.example.com", 2, "want where the API is", nil},
		{"a redirect", answers(http.StatusTemporaryRedirect, thief.URL, ""), 1, "answers 307", nil},
		{"a link to elsewhere", answers(http.StatusCreated, "", `{"path":"`+elsewhere+`/dashboard/handover"}`), 1, "is no API", nil},
		{"a link to a file", answers(http.StatusCreated, "", `{"path":"file:///dashboard/x"}`), 1, "is no API", nil},
		{"a page of something else", answers(http.StatusOK, "", "<html>"), 1, "answers 200", nil},
		{"nobody", "http://" + kube.Address(1), 1, "hand your token to the API", nil},
		{"somebody else", thief.URL, 2, "--as can't be handed over", []string{"--as", "somebody"}},
	} {
		browser := &opened{}
		r := runAt(t.Context(), nil, browser.open,
			append([]string{"--kubeconfig", w.as("editor"), "dashboard", "--api-url", c.address}, c.more...)...)
		if r.status != c.status || !strings.Contains(r.err, c.said) || len(browser.links) != 0 {
			t.Errorf("%s: %d, %q; opened %q", c.reason, r.status, r.err, browser.links)
		}
	}
	// Who has a certificate has nothing to send.
	runWith(t.Context(), nil, "--kubeconfig", w.cluster.KubeconfigPath(), "dashboard", "--api-url", thief.URL).
		expect(t, 1, "has no bearer token", "--service-account NAME")
	w.run("editor", "dashboard", "--no-browser").expect(t, 2, "go with --api-url")
}
