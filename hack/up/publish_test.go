package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/test/pds"
)

// startPDS starts a real server of the AT Protocol on this machine, and returns the flags of docs/accounts.md that let
// the live API speak to it.
func startPDS(t *testing.T) (*pds.Server, []string) {
	t.Helper()
	server, err := pds.Start(t.Context(), pds.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	flags := []string{"--bluesky-plc-url", server.PLCURL}
	for _, text := range []string{server.URL, server.PLCURL} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		flags = append(flags, "--outbound-allow", u.Host)
	}
	return server, flags
}

// publishTo connects an account by its app password, with a key of the samples, and publishes: nothing else has been
// configured than what startPDS returns.
func publishTo(t *testing.T, server *pds.Server, env map[string]string) {
	t.Helper()
	owner, err := server.NewAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := client(t, env["KUBECONFIG"]).CoreV1().Secrets("acme").Get(t.Context(), "backend", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	post := func(path string, status int, body any) []byte {
		t.Helper()
		payload, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, env["LMP_LIVE_URL"]+path, bytes.NewReader(payload))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+string(secret.Data["LMP_API_KEY"]))
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status {
			t.Fatalf("POST %s: %s %s %v, want %d", path, resp.Status, answer, err, status)
		}
		return answer
	}
	var account struct{ ID string }
	if err := json.Unmarshal(post("/v1/accounts/connect/bluesky/complete", http.StatusCreated, map[string]string{
		"identifier": owner.Handle, "appPassword": owner.AppPassword, "pdsUrl": server.URL,
	}), &account); err != nil {
		t.Fatal(err)
	}
	post("/v1/posts", http.StatusOK, map[string]any{
		"text": "Hello from make up", "targets": []map[string]string{{"accountId": account.ID}},
	})
	posts, err := owner.Posts(t.Context())
	if err != nil || len(posts) != 1 || !bytes.Contains(posts[0].Value, []byte("Hello from make up")) {
		t.Errorf("the account's posts: %v, %v", posts, err)
	}
}
