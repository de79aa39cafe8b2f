// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// goFile and room are what the pages name in backticks: a file with its room or without, and a folder of this project.
var (
	goFile = regexp.MustCompile("`([a-z0-9_/]+\\.go)`")
	room   = regexp.MustCompile("`((?:internal|cmd|test|hack|api|charts|docs)/[a-zA-Z0-9_/-]+)`")
)

// TestTheMapIsTrue: the two pages by which a newcomer finds their way name files and folders that are there, and every
// room of internal/ stands on one of them.
func TestTheMapIsTrue(t *testing.T) {
	root := filepath.Join("..", "..")
	pages := ""
	for _, page := range []string{"docs/architecture.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
		if err != nil {
			t.Fatal(err)
		}
		pages += string(text)
		for _, m := range goFile.FindAllStringSubmatch(string(text), -1) {
			if !exists(root, m[1]) {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
		for _, m := range room.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
	}
	ours, _ := list(t)
	for _, p := range ours {
		dir := p.inModule()
		if strings.Count(dir, "/") == 1 && within(dir, "internal") && !strings.Contains(pages, "`"+dir+"`") {
			t.Errorf("%s stands on no page: say in docs/architecture.md what it is for", dir)
		}
	}
}

// exists tells whether a file is there, from the root, below internal/, or, without a folder, in some room.
func exists(root, file string) bool {
	for _, pattern := range []string{file, "internal/" + file, "internal/*/" + file} {
		if found, _ := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern))); len(found) > 0 {
			return true
		}
	}
	return false
}

// TestTheMapLeadsThere: what people ask for is where the pages send them. A value that moves to another file takes its
// row along.
func TestTheMapLeadsThere(t *testing.T) {
	root := filepath.Join("..", "..")
	pages := read(t, root, "docs/architecture.md") + read(t, root, "CONTRIBUTING.md")
	for _, q := range []struct{ wanted, named, file, holds string }{
		{"a scope", "api/v1alpha1/scopes.go", "api/v1alpha1/scopes.go", "\nvar Scopes "},
		{"a reason in a status", "api/v1alpha1/conditions.go", "api/v1alpha1/conditions.go", "\tReasonActive = "},
		{"the number of keys", "lifecycle/quota.go", "internal/lifecycle/quota.go", "\tDefaultKeyQuota = "},
		{"the fence's time", "revocation/fence.go", "internal/revocation/fence.go", "\nconst fenceThirds = "},
		{"a way to sign in", "session/manager.go", "internal/session/manager.go", "func (m *Manager) SignIn("},
		{"how long a session lasts", "session/manager.go", "internal/session/manager.go", "\tabsoluteTimeout = "},
		{"an unused session", "store/retention.go", "internal/store/retention.go", "\tSessionIdle = "},
		{"idempotency records", "store/retention.go", "internal/store/retention.go", "\tIdempotencyRetention = "},
		{"a migration", "store/migrations", "internal/store/migrations/00001_publishing.sql", "-- +goose Up"},
		{"an error code", "problem/problem.go", "internal/problem/problem.go", "\tCodeNotFound "},
		{"a revoked key", "endpoint/problems.go", "internal/endpoint/problems.go", "== admission.Unauthenticated:"},
		{"the access log", "endpoint/accesslog.go", "internal/endpoint/accesslog.go", "func (l *accessLog) write("},
		{"how long a text may be", "endpoint/payload.go", "internal/endpoint/payload.go", "\nconst maxString = "},
		{"memory of requests", "endpoint/memory.go", "internal/endpoint/memory.go", "\nconst DefaultBytesInFlight = "},
		{"how long an attempt may take", "attempt.go", "internal/publish/attempt.go", "\nconst defaultTimeout = "},
		{"when a post is tried again", "publish/again.go", "internal/publish/again.go", "\nvar pauses = "},
		{"the size of a page", "endpoint/list.go", "internal/endpoint/list.go", "\tmaxLimit "},
		{"types of media", "media/media.go", "internal/media/media.go", "\nvar Types = "},
		{"a metric of posts", "publish/metrics.go", "internal/publish/metrics.go", `"lmp_publish_duration_seconds"`},
		{"a metric of the gate", "gate/observe.go", "internal/gate/observe.go", `"lmp_gate_checks_total"`},
		{"a header of the gate", "answer.go", "internal/gate/answer.go", "\nvar identityNames = "},
		{"a column of list", "internal/plugin", "internal/plugin/list.go", ") headings() "},
		{"the size of media", "media/size.go", "internal/media/size.go", "\tDefaultMaxSize = "},
		{"a platform", "platform/catalog", "internal/platform/catalog/catalog.go", "platform.List{"},
		{"how an account stands", "connection/connection.go", "internal/connection/connection.go", "\nfunc StateOf("},
		{"a page of the dashboard", "screens.go", "internal/dashboard/screens.go", ") screens() []screen {"},
		{"a button of the dashboard", "texts.yaml", "internal/dashboard/texts.yaml", "\nrevoke.title: "},
		{"workers of the queue", "publish/queue.go", "internal/publish/queue.go", "\tworkers = "},
		{"how a text's length is checked", "platform/rules.go", "internal/platform/rules.go", "\nfunc tooLong("},
		{"a column of the list of keys", "dashboard/keylist.go", "internal/dashboard/keylist.go", "\nvar columns = "},
		{
			"a policy of the finalizer", "policies-revocation.yaml",
			"charts/letmepost-operator/templates/policies-revocation.yaml", "-revocation-guard\n",
		},
		{"an entry of a Secret", "api/v1alpha1/names.go", "api/v1alpha1/names.go", "\tSecretKeyAPIKey = "},
		{"how a token is sealed", "vault/keyset.go", "internal/vault/keyset.go", "func (k *Keyset) seal("},
		{"a page of posts", "store/posts_read.go", "internal/store/posts_read.go", "\tlistPostsAfter = "},
		{"a leaked key", "leak/leak.go", "internal/leak/leak.go", "func (r *Reporter) end("},
		{"the platforms of a process", "cmd/api/platforms.go", "cmd/api/platforms.go", ") platformList("},
		{"the OpenAPI document", "endpoint/openapi.go", "internal/endpoint/openapi.go", "\nfunc Describe("},
		{
			"pictures of the dashboard", "dashboard/browser_test.go", "internal/dashboard/browser_test.go",
			"\nfunc TestEveryPageInABrowser(",
		},
		{"what CI runs", ".ci/run", ".ci/run", "\npart verify\n"},
		{"a value of the chart", "values.yaml", "charts/letmepost-operator/values.yaml", "\nimage:"},
	} {
		if !strings.Contains(pages, "`"+q.named+"`") {
			t.Errorf("%s: no page names %s", q.wanted, q.named)
		}
		if !strings.Contains(read(t, root, q.file), q.holds) {
			t.Errorf("%s: %s does not have %q: name the file that does in CONTRIBUTING.md", q.wanted, q.file, q.holds)
		}
	}
}

// TestTheGlossaryHasOneRowAWord, in order, so that whoever adds one sees that it is there.
func TestTheGlossaryHasOneRowAWord(t *testing.T) {
	page := read(t, filepath.Join("..", ".."), "docs/architecture.md")
	_, glossary, _ := strings.Cut(page, "\n| word | means |\n| --- | --- |\n")
	before := ""
	for row := range strings.Lines(glossary) {
		word, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		if word = strings.ToLower(word); word <= before {
			t.Errorf("%q stands after %q: rows are in order, and no word has two", word, before)
		}
		before = word
	}
	if before == "" {
		t.Error("there is no glossary in docs/architecture.md")
	}
}

// read returns a file of this project.
func read(t *testing.T, root, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
