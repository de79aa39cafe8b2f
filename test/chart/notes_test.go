// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// TestNotes reads what Helm prints at the end of an installation: commands to paste, that fit what was installed.
func TestNotes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason      string
		settings    settings
		environment string
		namespace   string
		says        []string
	}{
		{"a forwarded port where there is no public address", settings{}, "live", "default", []string{
			"deployment/letmepost-controller deployment/letmepost-api-live deployment/letmepost-api-test",
			"kubectl port-forward -n letmepost-system service/letmepost-api-live 8080:80", "http://localhost:8080/v1/whoami", "The database is SQLite",
		}},
		{"HTTPS where there is a certificate", settings{"tls.existingSecret": "cert"}, "live", "default", []string{
			"8080:443", "curl --insecure", "https://localhost:8080/v1/whoami",
		}},
		{"the public address where there is one", with(postgres, public), "live", "default", []string{`curl -H "Authorization: Bearer $KEY" https://api.example.com/v1/whoami`}},
		{"a key of an environment and a namespace that there are", settings{"api.live.enabled": false, "watchNamespaces": []any{"team-a"}}, "test", "team-a", []string{
			"service/letmepost-api-test", "-n team-a",
		}},
		{"what crds.keep=false means", settings{"crds.keep": false}, "live", "default", []string{"deletes every ApiKey of the cluster"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			command := exec.CommandContext(t.Context(), kube.Path("bin/tools/helm"), "install", releaseName, kube.Path(chartPath),
				"--namespace", systemNamespace, "--dry-run=client", "--hide-secret", "--values", "-")
			command.Stdin = bytes.NewReader(tc.settings.file())
			out, err := command.Output()
			if err != nil {
				t.Fatal(err)
			}
			_, notes, _ := strings.Cut(string(out), "\nNOTES:\n")
			for _, want := range append(tc.says, "--cascade=orphan", leftBehind(t)) {
				if !strings.Contains(notes, want) {
					t.Errorf("the notes do not say %q:\n%s", want, notes)
				}
			}
			_, manifest, _ := strings.Cut(notes, "<<EOF\n")
			manifest, _, _ = strings.Cut(manifest, "  EOF\n")
			var key map[string]any
			if err := yaml.Unmarshal([]byte(manifest), &key); err != nil {
				t.Fatalf("%v in\n%s", err, manifest)
			}
			if dig(key, "kind") != "ApiKey" || dig(key, "spec environment") != tc.environment || dig(key, "metadata namespace") != tc.namespace {
				t.Errorf("the key to try is\n%s", manifest)
			}
		})
	}
}

// leftBehind is the command of docs/gitops.md that lists the Secrets which deletions have left behind; there it is run.
func leftBehind(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(kube.Path("docs/gitops.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "## Secrets that were left behind")
	_, block, _ = strings.Cut(block, "```sh\n")
	command, _, found := strings.Cut(block, " > left-behind.txt")
	if !found {
		t.Fatal("docs/gitops.md has no such command")
	}
	return command
}
