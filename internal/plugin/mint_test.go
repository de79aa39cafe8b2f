// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestMint mints in all ways, with a real controller and a real API, and hunts for the plaintext afterwards.
func TestMint(t *testing.T) {
	w := newWorld(t)
	w.installOther("from-flags") // has our names, and is in nobody's way
	w.startController()
	_, url := w.startAPI()

	t.Run("into a Secret", func(t *testing.T) {
		w := w.of(t)
		r := w.run("minter", "mint", "from-flags", "-e", "test", "--scopes", "posts:read,billing.example.com:read",
			"--claims", "plan=gold,customer=acme 42", "--expires-in", "48h",
			"--rate-limit", "100/1m", "--secret", "lmp-elsewhere", "--labels", "team=web")
		r.expect(t, 0, "apikeys.letmepost.dev/from-flags minted", "secretRef: {name: lmp-elsewhere}")
		k := w.get("from-flags")
		if !slices.Equal(k.Spec.Scopes, []v1alpha1.Scope{"posts:read", "billing.example.com:read"}) ||
			!maps.Equal(k.Spec.Claims, map[string]v1alpha1.ClaimValue{"plan": "gold", "customer": "acme 42"}) ||
			k.Spec.RateLimit.Requests != 100 || k.Labels["team"] != "web" ||
			time.Until(k.Spec.ExpiresAt.Time).Round(time.Hour) != 48*time.Hour {
			t.Errorf("the spec is %+v", k.Spec)
		}
		secret, err := w.core.CoreV1().Secrets(w.namespace).Get(t.Context(), "lmp-elsewhere", metav1.GetOptions{})
		w.must(nil, err)
		plaintext := string(secret.Data[v1alpha1.SecretKeyAPIKey])
		if strings.Contains(r.out+r.err, plaintext) || statusOf(t, url, plaintext) != 200 {
			t.Error("the minted key is shown, or is not served")
		}
	})
	t.Run("to a terminal", func(t *testing.T) {
		w := w.of(t)
		screen, theirs := terminal(t)
		p := w.launch("minter", nil, theirs, "mint", "shown", "-e", "test", "--show-once")
		p.end().expect(t, 0, "It is shown once")
		plaintext, rest, _ := strings.Cut(seen(t, screen, theirs), "\n")
		if _, err := mustFormat(t).Parse(plaintext); err != nil || rest != "apikeys.letmepost.dev/shown minted\n" {
			t.Fatalf("it printed %q, and %q after it", plaintext, rest)
		}
		w.isServed(url, plaintext)
		if strings.Contains(p.said.String(), plaintext) {
			t.Error("the key is on standard error as well")
		}
		w.hunt(plaintext)
	})
	t.Run("to a file", func(t *testing.T) {
		w := w.of(t)
		path := filepath.Join(t.TempDir(), "my-key")
		r := w.run("minter", "mint", "filed", "-e", "test", "--to-file", path)
		r.expect(t, 0, "is in "+path)
		content, err := os.ReadFile(path)
		w.must(nil, err)
		plaintext := strings.TrimSpace(string(content))
		w.isServed(url, plaintext)
		if info, _ := os.Stat(path); info.Mode() != 0o600 {
			t.Errorf("its mode is %v", info.Mode())
		}
		if strings.Contains(r.out+r.err, plaintext) {
			t.Error("the key is printed as well")
		}
		w.hunt(plaintext)

		w.run("minter", "mint", "filed-again", "-e", "test", "--to-file", path).expect(t, 1, "file exists")
		if now, _ := os.ReadFile(path); !bytes.Equal(now, content) || w.get("filed-again") != nil {
			t.Error("a file that was there is another one, or a key was minted that is in none")
		}
		// What is refused leaves no file: it would hold a key that is none.
		path += "-refused"
		w.run("minter", "mint", "filed", "-e", "test", "--to-file", path).expect(t, 1, "already exists")
		w.run("viewer", "mint", "other", "-e", "test", "--to-file", path).expect(t, 3, "forbidden")
		w.run("minter", "mint", "other", "-e", "prod", "--to-file", path).expect(t, 3, "spec.environment")
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("there is a file of a key that was refused: %v", err)
		}
	})
	t.Run("never to a pipe, unless that is asked for", func(t *testing.T) {
		w := w.of(t)
		w.run("minter", "mint", "piped", "-e", "test", "--show-once").expect(t, 2, "standard output is no terminal", "--to-file")
		if w.get("piped") != nil {
			t.Fatal("there is a key that nobody has")
		}
		r := w.run("minter", "mint", "piped", "-e", "test", "--show-once", "--stdout")
		r.expect(t, 0)
		w.isServed(url, strings.Split(r.out, "\n")[0])
	})
	t.Run("what can't be is told before anything is done", func(t *testing.T) {
		w := w.of(t)
		for want, args := range map[string][]string{
			"--environment":                  {},
			"accepts 1 arg(s), received 2":   {"another", "-e", "test"},
			"--secret is for":                {"-e", "test", "--show-once", "--secret", "x"},
			"two ways":                       {"-e", "test", "--show-once", "--to-file", "x"},
			"--stdout goes with --show-once": {"-e", "test", "--stdout"},
			"say the same":                   {"-e", "test", "--expires-in", "1h", "--expires-at", "2030-01-01T00:00:00Z"},
			"--expires-at":                   {"-e", "test", "--expires-at", "tomorrow"},
			"in the past":                    {"-e", "test", "--expires-in", "-1h"},
			"--rate-limit":                   {"-e", "test", "--rate-limit", "100"},
			"key prefix":                     {"-e", "test", "--show-once", "--stdout", "--key-prefix", "a_b"},
			"unknown flag":                   {"-e", "test", "--key", "lmp_test_x"},
		} {
			w.run("minter", append([]string{"mint", "nothing"}, args...)...).expect(t, 2, want)
		}
		if w.get("nothing") != nil {
			t.Error("there is a key")
		}
	})
	t.Run("what waits for a person is told", func(t *testing.T) {
		w := w.of(t)
		w.run("editor", "mint", "elsewhere-too", "-e", "test", "--secret", "lmp-elsewhere").expect(t, 4, "SecretConflict")
		w.run("editor", "mint", "pinned", "-e", "test", "--profile", "rockets", "--timeout", "1s").expect(t, 4, "not served yet")
	})
	t.Run("who may not is told so", func(t *testing.T) {
		w := w.of(t)
		for _, role := range []string{"viewer", "revoker", "nobody"} {
			w.run(role, "mint", "nothing", "-e", "live").expect(t, 3, "forbidden")
		}
	})
}

// isServed fails the test unless the API accepts the key, which it hears of a moment after the controller has said so.
func (w *world) isServed(url, key string) {
	w.t.Helper()
	w.eventually("the key is served", func() bool { return statusOf(w.t, url, key) == 200 })
}

func mustFormat(t *testing.T) key.Format {
	t.Helper()
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		t.Fatal(err)
	}
	return format
}

// hunt looks for a key in all that the control plane has stored and logged, and in what the processes and people of
// this world have written.
func (w *world) hunt(plaintext string) {
	w.t.Helper()
	looked := 0
	for _, root := range []string{filepath.Dir(filepath.Dir(w.cluster.KubeconfigPath())), w.dir} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return nil //nolint:nilerr // files come and go meanwhile
			}
			looked++
			if content, _ := os.ReadFile(path); bytes.Contains(content, []byte(plaintext[9:])) {
				w.t.Errorf("the key stands in %s", path)
			}
			return nil
		})
		w.must(nil, err)
	}
	if looked < 10 {
		w.t.Errorf("only %d files were looked at", looked)
	}
}
