// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

const patience = time.Minute

func TestWrongCalls(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // in the one line on stderr
		code int
	}{
		{"", "--environment is required", 2},
		{"--environment staging", `not "staging"`, 2},
		{"--environment live extra", `unexpected argument "extra"`, 2},
		{"--environment live --nonsense", "unknown flag: --nonsense", 2},
		{"--environment live --key-prefix a_b", "--key-prefix", 2},
		{"--environment live --docs-base-url docs.example.com", "--docs-base-url", 2},
		{"--environment live --access-log some", "--access-log", 2},
		{"--environment live --log-level loud", "--log-level", 2},
		{"--environment live --drain-delay 5", "--drain-delay", 2},
		{"--environment live --drain-delay -1s", "--drain-delay", 2},
		{"--environment live --drain-timeout 0s", "--drain-timeout", 2},
		{"--environment live --lease-duration 2s", "--lease-duration", 2},
		{"--environment live --lease-duration 61s", "--lease-duration", 2},
		{"--environment live --lease-duration 3500ms", "--lease-duration", 2},
		{"--environment live --default-rate-limit 5", "--default-rate-limit", 2},
		{"--environment live --default-rate-limit 1000001/1m", "--default-rate-limit", 2},
		{"--environment live --failed-auth-limit 1/1ms", "--failed-auth-limit", 2},
		{"--environment live --trusted-proxies 10.0.0.1", "--trusted-proxies", 2},
		{"--environment live --max-connections 9", "--max-connections", 2},
		{"--environment live --max-media-size 0", "--max-media-size", 2},
		{"--environment live --max-bytes-in-flight 1Mi", "--max-bytes-in-flight", 2},
		{"--environment live --max-media-size big", "--max-media-size", 2},
		{"--environment live --max-organization-posts 0", "--max-organization-posts", 2},
		{"--environment live --max-organization-queued-posts=", "--max-organization-queued-posts", 2},
		{"--environment live --max-organization-media-files 1e3", "--max-organization-media-files", 2},
		{"--environment live --max-organization-bytes unlimited", "--max-organization-bytes", 2},
		{"--environment live --max-organization-accounts -1", "--max-organization-accounts", 2},
		{"--environment live --max-organization-keys 0", "--max-organization-keys", 2},
		{"--environment live --public-url api.example.com", "--public-url", 2},
		{"--environment live --data-dir=", "--data-dir", 2},
		{"--environment live --vault-kms-key aws-kms://arn:aws:kms:k", "built without a KMS", 2},
		{"--environment live --return-to app.example.com", "--return-to", 2},
		{"--environment live --return-to https://app.example.com/done", "--return-to", 2},
		{"--environment live --outbound-allow pds.internal", "--outbound-allow", 2},
		{"--environment live --outbound-allow 10.0.0.0/33", "--outbound-allow", 2},
		{"--environment live --bluesky-plc-url plc.directory", "--bluesky-plc-url", 2},
		{"--environment live --bluesky-plc-url https://plc.directory/x", "--bluesky-plc-url", 2},
		{"--environment live --linkedin-version 2026-07", "--linkedin-version", 2},
		{"--environment live --linkedin-version 202613", "--linkedin-version", 2},
		{"--environment live --linkedin-version=", "--linkedin-version", 2},
		{"--environment live --kubeconfig testdata/none", "testdata/none", 1},
		{"--environment live", "neither --kubeconfig nor $KUBECONFIG", 1},
	} {
		var stdout, stderr bytes.Buffer
		code := exitCode(run(context.Background(), strings.Fields(c.args), noEnv, &stdout, &stderr), &stderr)
		line := stderr.String()
		if code != c.code || !strings.Contains(line, c.want) || strings.Count(line, "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("api %s: exit code %d, stderr %q, stdout %q; want code %d and one line with %q", c.args, code, line, &stdout, c.code, c.want)
		}
	}
}

func noEnv(string) string { return "" }

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := exitCode(run(context.Background(), []string{"--help"}, noEnv, &stdout, &stderr), &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, stderr %q", code, &stderr)
	}
	for _, flag := range []string{
		"environment", "kubeconfig", "listen-address", "metrics-bind-address", "key-prefix", "docs", "docs-base-url", "access-log",
		"log-level", "namespace", "lease-duration", "drain-delay", "drain-timeout", "data-dir", "database-url", "media-url",
		"max-media-size", "redis-url", "default-rate-limit", "failed-auth-limit", "trusted-proxies", "public-url",
		"vault-keyset", "vault-kms-key",
		"max-organization-posts", "max-organization-queued-posts", "max-organization-media-files", "max-organization-bytes",
		"max-organization-accounts", "max-organization-keys", "outbound-allow", "bluesky-plc-url", "return-to",
		"linkedin-client-id", "linkedin-version",
	} {
		if !strings.Contains(stdout.String(), "--"+flag+" ") {
			t.Errorf("no --%s in:\n%s", flag, &stdout)
		}
	}
}

// Each quota has a default, and whoever wants none says so.
func TestQuotaFlags(t *testing.T) {
	parsed := func(args ...string) store.Amounts {
		t.Helper()
		o, err := parse(append([]string{"--environment", "live"}, args...), noEnv, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		return o.quotas.stored
	}
	if diff := cmp.Diff(store.DefaultQuotas, parsed()); diff != "" {
		t.Errorf("without flags (-want +got):\n%s", diff)
	}
	var none, one []string
	want := store.Amounts{}
	for _, r := range store.Resources {
		none, one = append(none, "--"+quotaFlag(r)+"=none"), append(one, "--"+quotaFlag(r)+"=1")
		want[r] = 1
	}
	if got := parsed(none...); len(got) != 0 {
		t.Errorf("none is %v", got)
	}
	if diff := cmp.Diff(want, parsed(one...)); diff != "" {
		t.Errorf("one of each (-want +got):\n%s", diff)
	}
}

// What is wrong with a URL is found out before anything is connected to, and its password is not repeated.
func TestWrongURLs(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}], users: [{name: u, user: {}}]}`
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ flag, want string }{
		{"--database-url=mysql://u:hunter2@h/d", "database"},
		{"--database-url=postgres://u:hunter2@h:port/d", "database"},
		{"--media-url=ftp://u:hunter2@h", "media"},
		{"--redis-url=http://u:hunter2@h", "Redis"},
	} {
		var stderr bytes.Buffer
		args := []string{"--environment=live", "--kubeconfig=" + kubeconfig, "--data-dir=" + t.TempDir(), c.flag}
		code := exitCode(run(t.Context(), args, noEnv, &stderr, &stderr), &stderr)
		if line := stderr.String(); code != 1 || !strings.Contains(line, c.want) || strings.Contains(line, "hunter2") {
			t.Errorf("%s: exit code %d, %q; want code 1, with %q and without the password", c.flag, code, line, c.want)
		}
	}
}

// logBuffer is a log of records.
type logBuffer struct{ testlog.Buffer }

// record returns the first record with this message.
func (b *logBuffer) record(t *testing.T, message string) map[string]any {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		record := map[string]any{}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("a line that is no record: %q", line)
		}
		if text, _ := record["msg"].(string); strings.Contains(text, message) {
			return record
		}
	}
	return nil
}

// An apiserver that is away is waited for: alive, not ready, and saying so; and SIGTERM ends it all the same.
func TestApiserverAway(t *testing.T) {
	t.Parallel()
	const nobody = "127.0.0.1:1" // no port that was free a moment ago: somebody else may have been given that
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c,
contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "http://%s"}}],
users: [{name: u, user: {}}]}`, nobody)
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string { return map[string]string{"KUBECONFIG": kubeconfig}[name] }
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var log logBuffer
	ended := make(chan error, 1)
	args := []string{
		"--environment=live", "--listen-address=127.0.0.1:0", "--metrics-bind-address=127.0.0.1:0", "--data-dir=" + t.TempDir(),
	}
	go func() { ended <- run(ctx, args, getenv, &log, &log) }()

	listening := await(t, &log, "listening")
	api, admin := fmt.Sprint("http://", listening["api"]), fmt.Sprint("http://", listening["metrics"])
	for url, want := range map[string]int{
		api + "/healthz": 200, api + "/readyz": 503, api + "/v1/whoami": 503, api + "/metrics": 404,
		admin + "/healthz": 200, admin + "/readyz": 503, admin + "/metrics": 200, admin + "/v1/whoami": 404,
	} {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", url, response.StatusCode, want)
		}
	}
	why := fmt.Sprint(await(t, &log, "not serving, trying on")["msg"])
	for _, part := range []string{"get the Lease", "connection refused", nobody} {
		if !strings.Contains(why, part) {
			t.Errorf("it says %q, without %q", why, part)
		}
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("got %v", err)
		}
	case <-time.After(patience):
		t.Error("run does not return")
	}
}

func await(t *testing.T, log *logBuffer, message string) map[string]any {
	t.Helper()
	for deadline := time.After(patience); ; {
		if record := log.record(t, message); record != nil {
			return record
		}
		select {
		case <-deadline:
			t.Fatalf("never logged: %q in\n%s", message, log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
