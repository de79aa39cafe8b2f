// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package scanners_test holds the rules of docs/examples/scanners, by which scanners for secrets find keys.
package scanners_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// places are where keys lie about; % is one.
var places = []string{
	"LMP_API_KEY=%\n", "export KEY='%'\r\n", "key: %\n", `{"apiKey":"%","x":1}`, "Authorization: Bearer %\n",
	"https://example.com/?key=%&x=1\n", "const k = `%`;", "(%)", "<key>%</key>", "# %", "%", "see %, which is old.\n", "é%é",
	"KEY=\"%\" # gone soon\n", "[%]\n", "a/%/b\n",
}

// lookAlikes are no keys, made of one.
func lookAlikes(k string) map[string]string {
	environment := strings.Split(k, "_")[1]
	body := k[strings.LastIndex(k, "_")+1:]
	return map[string]string{
		"one character more":         k + "0",
		"one character less":         k[:len(k)-1],
		"part of a longer word":      "x" + k,
		"part of a name":             "_" + k,
		"goes on":                    k + "_old",
		"another environment":        strings.Replace(k, environment, "prod", 1),
		"in capitals":                strings.ToUpper(k),
		"another word":               "x" + k[1:],
		"a hyphen in it":             k[:20] + "-" + k[21:],
		"a character of no alphabet": k[:20] + "é" + k[21:],
		"a hint":                     k[:len(k)-len(body)] + "…" + body[len(body)-4:],
		"hidden":                     k[:len(k)-len(body)] + strings.Repeat("*", len(body)),
		"a hash":                     key.DigestOf(k).BoundTo(key.OwnerNamespace("acme")).String(),
		"without its prefix":         body,
	}
}

// material is a key for each place, the same ones in every run, and look-alikes of them, by file name.
type material struct {
	keys  []string
	files map[string]string
}

func materialOf(t *testing.T, word string) material {
	t.Helper()
	format, err := key.NewFormat(word)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{1})
	mint := func(environment key.Environment) string {
		k, err := format.Mint(random, environment)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	m := material{files: map[string]string{}}
	for i, place := range places {
		for _, environment := range []key.Environment{key.Live, key.Test} {
			k := mint(environment)
			m.keys = append(m.keys, k)
			m.files[fmt.Sprintf("config/%d-%s.txt", i, environment)] = "something before\n" + strings.Replace(place, "%", k, 1)
		}
	}
	for _, environment := range []key.Environment{key.Live, key.Test} {
		for why, text := range lookAlikes(mint(environment)) {
			m.files["none/"+string(environment)+" "+why] = "key: " + text + "\n"
		}
	}
	slices.Sort(m.keys)
	return m
}

// example reads a file of docs/examples/scanners, for a word of keys.
func example(t *testing.T, name, word string) string {
	t.Helper()
	text, err := os.ReadFile(kube.Path("docs/examples/scanners/" + name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "lmp", word)
}

// words are those that keys begin with: the default, and somebody's own, by the note in each file.
var words = []string{key.DefaultWord, "acme9"}

// TestGitleaks has the real scanner look through a folder, with its own rules beside ours.
func TestGitleaks(t *testing.T) {
	for _, word := range words {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			m := materialOf(t, word)
			tree, report, config := t.TempDir(), filepath.Join(t.TempDir(), "report.json"), filepath.Join(t.TempDir(), "gitleaks.toml")
			write(t, config, example(t, "gitleaks.toml", word))
			for name, text := range m.files {
				write(t, filepath.Join(tree, name), text)
			}
			out, err := exec.CommandContext(t.Context(), kube.Path("bin/tools/gitleaks"), "dir", "--config", config, "--no-banner",
				"--report-format", "json", "--report-path", report, "--exit-code", "0", tree).CombinedOutput()
			if err != nil {
				t.Fatalf("gitleaks: %v (hack/gitleaks/build.sh builds it)\n%s", err, out)
			}
			var findings []struct{ RuleID, Secret, File string }
			text, err := os.ReadFile(report)
			if err == nil {
				err = json.Unmarshal(text, &findings)
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var found []string
			for _, f := range findings {
				if f.RuleID != "letmepost-api-key" {
					continue
				}
				found = append(found, f.Secret)
				if strings.Contains(f.File, "/none/") {
					t.Errorf("it finds %q, which is %s", f.Secret, filepath.Base(f.File))
				}
			}
			slices.Sort(found)
			if !slices.Equal(found, m.keys) {
				t.Errorf("it finds %d:\n%q\nand there are %d:\n%q", len(found), found, len(m.keys), m.keys)
			}
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPatterns holds the rules of scanners that are not built here to what they would find: TruffleHog's expressions
// are Go's, and GitHub's, which are Hyperscan's, have nothing in them that is another thing there.
func TestPatterns(t *testing.T) {
	for _, word := range words {
		m := materialOf(t, word)
		for name, pattern := range map[string]*regexp.Regexp{
			"trufflehog": trufflehog(t, example(t, "trufflehog.yaml", word)), "github": github(t, example(t, "github.txt", word)),
		} {
			var found []string
			for file, text := range m.files {
				for _, match := range pattern.FindAllStringSubmatch(text, -1) {
					found = append(found, match[1])
					if strings.HasPrefix(file, "none/") {
						t.Errorf("%s finds %q, which is %s", name, match[1], file)
					}
				}
			}
			slices.Sort(found)
			if !slices.Equal(found, m.keys) {
				t.Errorf("%s finds %q, and there are %q", name, found, m.keys)
			}
		}
	}
}

// trufflehog is what its detector looks for.
func trufflehog(t *testing.T, text string) *regexp.Regexp {
	t.Helper()
	var config struct {
		Detectors []struct {
			Name     string
			Keywords []string
			Regex    map[string]string
		}
	}
	if err := yaml.UnmarshalStrict([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	d := config.Detectors[0]
	if len(config.Detectors) != 1 || len(d.Regex) != 1 || d.Name == "" {
		t.Fatalf("it is %+v", config)
	}
	for _, keyword := range d.Keywords { // a text without any is not looked at
		if !strings.HasSuffix(keyword, "_live_") && !strings.HasSuffix(keyword, "_test_") {
			t.Errorf("keyword %q", keyword)
		}
	}
	return regexp.MustCompile(d.Regex["key"])
}

// github is its three fields as one.
func github(t *testing.T, text string) *regexp.Regexp {
	t.Helper()
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		fields[name] = value
	}
	secret := strings.ReplaceAll(fields["Secret format"], "(", "(?:")
	if len(fields) != 3 || secret == "" || fields["Before secret"] == "" || fields["After secret"] == "" {
		t.Fatalf("it has %q", fields)
	}
	return regexp.MustCompile("(?:" + fields["Before secret"] + ")(" + secret + ")(?:" + fields["After secret"] + ")")
}

// TestOneExpression: the rules are the expression that package key and the docs have.
func TestOneExpression(t *testing.T) {
	if !strings.Contains(example(t, "gitleaks.toml", key.DefaultWord), "regex = '''"+key.Pattern+"'''\n") {
		t.Errorf("gitleaks.toml does not have %s", key.Pattern)
	}
	for _, page := range []string{"docs/http-api.md", "docs/scanners.md"} {
		text, err := os.ReadFile(kube.Path(page))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\n"+key.Pattern+"\n") {
			t.Errorf("%s does not have %s", page, key.Pattern)
		}
	}
}
