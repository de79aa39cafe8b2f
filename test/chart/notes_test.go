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
			notes := notesOf(t, tc.settings)
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

// notesOf is what Helm prints at the end of an installation.
func notesOf(t *testing.T, s settings) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), kube.Path("bin/tools/helm"), "install", releaseName, kube.Path(chartPath),
		"--namespace", systemNamespace, "--dry-run=client", "--hide-secret", "--values", "-")
	command.Stdin = bytes.NewReader(s.file())
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	_, notes, _ := strings.Cut(string(out), "\nNOTES:\n")
	return notes
}

// TestUninstallingWhatNeverCameUp: wherever people read of an uninstall, they find how to uninstall a release that
// can't run its Job, and what stays of it then: Helm waits for minutes, and says nothing.
func TestUninstallingWhatNeverCameUp(t *testing.T) {
	t.Parallel()
	if helm(t, settings{})["Job/letmepost-release"] == nil {
		t.Fatal("no Job runs at an uninstall: then nobody has to be told how to do without")
	}
	const command = "helm uninstall letmepost-operator -n letmepost-system --no-hooks"
	page := func(path string) string {
		text, err := os.ReadFile(kube.Path(path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for place, told := range map[string]struct {
		text string
		says []string
	}{
		"the notes": {notesOf(t, settings{}), []string{"never comes up", command, "the same stays"}},
		"the notes of an install without an API": {
			notesOf(t, settings{"api.live.enabled": false, "api.test.enabled": false}), []string{"never comes up", command},
		},
		"the chart's README": {page(chartPath + "/README.md"), []string{"never came up", "helm uninstall --no-hooks", "stay all the same"}},
		"docs/operations.md": {page("docs/operations.md"), []string{"never came up", command, "What stays is what the table says"}},
	} {
		plain := strings.Join(strings.Fields(told.text), " ")
		for _, want := range told.says {
			if !strings.Contains(plain, want) {
				t.Errorf("%s: %q is not said", place, want)
			}
		}
	}
	if notes := notesOf(t, settings{"uninstall.releaseKeys": false}); strings.Contains(notes, "--no-hooks") {
		t.Errorf("there is no Job to do without:\n%s", notes)
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
