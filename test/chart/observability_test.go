// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// promtool runs it, from bin/tools, in a folder of the repository.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), kube.Path("bin/tools/promtool"), args...)
	cmd.Dir = kube.Path(dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v (hack/promtool/build.sh builds it)\n%s", strings.Join(args, " "), err, out)
	}
}

func readRepo(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(kube.Path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// alert is one of the rules.
type alert struct {
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

const rulesFile = "charts/letmepost-operator/rules/letmepost.yaml"

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal([]byte(readRepo(t, rulesFile)), &file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no rules")
	}
	return all
}

func TestRules(t *testing.T) {
	promtool(t, ".", "check", "rules", "--lint=all", "--lint-fatal", rulesFile)
	promtool(t, "test/chart/rules", "test", "rules", "letmepost_test.yaml")
}

// Each alert fires in a test, says what to do, and has a section in the documentation. It uses metrics that exist.
func TestAlertsAreActionable(t *testing.T) {
	tests, doc, known := readRepo(t, "test/chart/rules/letmepost_test.yaml"), readRepo(t, "docs/observability.md"), documented(t)
	for _, a := range alerts(t) {
		if !strings.Contains(tests, `alertname="`+a.Alert+`", alertstate="firing"`) {
			t.Errorf("%s fires in no test", a.Alert)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s has no summary or no description", a.Alert)
		}
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has the severity %q", a.Alert, s)
		}
		_, anchor, _ := strings.Cut(a.Annotations["runbook_url"], "/docs/observability.md#")
		if anchor != strings.ToLower(a.Alert) || !strings.Contains(doc, "\n### "+a.Alert+"\n\n*"+a.Labels["severity"]+".* ") {
			t.Errorf("%s: its runbook is %s, and the documentation has no section of its name that begins with its severity", a.Alert, a.Annotations["runbook_url"])
		}
		for _, name := range metricsIn(a.Expr) {
			if !known[name] {
				t.Errorf("%s uses %s, which is not in docs/observability.md", a.Alert, name)
			}
		}
	}
	for _, title := range regexp.MustCompile(`(?m)^### (Letmepost\w+)$`).FindAllStringSubmatch(doc, -1) {
		if !slices.ContainsFunc(alerts(t), func(a alert) bool { return a.Alert == title[1] }) {
			t.Errorf("there is no alert %s", title[1])
		}
	}
}

// The queries of the dashboard are PromQL, and use metrics that exist.
func TestDashboard(t *testing.T) {
	var d struct {
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readRepo(t, "charts/letmepost-operator/dashboards/letmepost.json")), &d); err != nil {
		t.Fatal(err)
	}
	known, ids := documented(t), map[int]bool{}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
		for _, name := range regexp.MustCompile(`label_values\((\w+),`).FindAllStringSubmatch(v.Definition, -1) {
			if !known[name[1]] {
				t.Errorf("variable %s uses %s, which is not in docs/observability.md", v.Name, name[1])
			}
		}
	}
	if want := []string{"datasource", "namespace", "environment"}; !slices.Equal(variables, want) || d.SchemaVersion < 39 {
		t.Errorf("variables %v, want %v; schemaVersion %d, want one of Grafana 11 or later", variables, want, d.SchemaVersion)
	}
	fill := strings.NewReplacer("$namespace", ".*", "$environment", ".*", "$__rate_interval", "5m")
	var rules []any
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %d, %q: its id is taken, or it has no title or no query", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			expr := fill.Replace(target.Expr)
			rules = append(rules, map[string]any{"record": "panel:query", "expr": expr, "labels": map[string]any{"panel": p.Title, "n": expr}})
			for _, name := range metricsIn(expr) {
				if !known[name] {
					t.Errorf("panel %q uses %s, which is not in docs/observability.md", p.Title, name)
				}
			}
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.json") // JSON is YAML
	content, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err == nil {
		err = os.WriteFile(file, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, ".", "check", "rules", file)
}

// documented are the names of the table in docs/observability.md, with those of a histogram's parts. What processes
// really expose is compared with the table in test/integration.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(readRepo(t, "docs/observability.md"), -1) {
		known[row[1]] = true
		if row[2] == "histogram" {
			known[row[1]+"_bucket"], known[row[1]+"_sum"], known[row[1]+"_count"] = true, true, true
		}
	}
	if len(known) < 20 {
		t.Fatalf("%d metrics in the table", len(known))
	}
	return known
}

var (
	notNames = regexp.MustCompile(`"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b\w+\s+(?:by|without)\s*\([^)]*\)|\b(?:on|ignoring)\s*\([^)]*\)|\b(?:and|or|unless|bool)\b|\w+\s*\(|\b[\d.]+\b`)
	names    = regexp.MustCompile(`[a-zA-Z_:]\w*`)
)

// metricsIn are the metrics that an expression uses: what is left of it without texts, labels, functions and numbers.
func metricsIn(expr string) []string {
	// Strings first, as labels may hold braces.
	expr = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expr, "")
	return names.FindAllString(notNames.ReplaceAllString(expr, " "), -1)
}

func TestMetricsIn(t *testing.T) {
	const expr = `histogram_quantile(0.9, sum by (namespace, le) (rate(a_bucket{x="b{c}"}[15m]))) > 5 and on (instance) d == 1 or vector(0)`
	if got := metricsIn(expr); !slices.Equal(got, []string{"a_bucket", "d"}) {
		t.Errorf("got %v", got)
	}
}
