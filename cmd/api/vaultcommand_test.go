// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/testing/fakekms"

	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// called is what came of a call of `api vault`.
type called struct {
	code           int
	stdout, stderr string
}

func callVault(t *testing.T, stdin []byte, args ...string) called {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := runVault(context.Background(), args, noEnv, bytes.NewReader(stdin), &stdout, &stderr)
	return called{exitCode(err, &stderr), stdout.String(), stderr.String()}
}

// mustVault is callVault of what must succeed.
func mustVault(t *testing.T, stdin []byte, args ...string) called {
	t.Helper()
	c := callVault(t, stdin, args...)
	if c.code != 0 {
		t.Fatalf("api vault %s: code %d, %s", strings.Join(args, " "), c.code, c.stderr)
	}
	return c
}

func keysOf(t *testing.T, path string) *vault.Keyset {
	t.Helper()
	k, err := vault.ReadFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestWrongVaultCalls(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "want a command"},
		{"rotate f", `no command "rotate"`},
		{"init", "want one FILE"},
		{"init f g", "want one FILE"},
		{"init f --secret s", "want one FILE"},
		{"add --secret s", "of init alone"},
		{"add f --timeout 0s", "--timeout"},
		{"add f --nonsense", "unknown flag"},
		{"add f --key x", "--key"},
		{"add f --vault-kms-key gcp-kms://k", "built without a KMS"},
		{"status f --data-dir=", "--data-dir"},
	} {
		got := callVault(t, nil, strings.Fields(c.args)...)
		if got.code != 2 || !strings.Contains(got.stderr, c.want) || strings.Count(got.stderr, "\n") != 1 || got.stdout != "" {
			t.Errorf("api vault %s: %+v, want code 2 and one line with %q", c.args, got, c.want)
		}
	}
	var stdout, stderr bytes.Buffer
	code := exitCode(run(context.Background(), []string{"vault", "--help"}, noEnv, &stdout, &stderr), &stderr)
	for name := range vaultCommands {
		if code != 0 || !strings.Contains(stdout.String(), "\n  "+name+" ") {
			t.Errorf("help: code %d, without %s:\n%s", code, name, &stdout)
		}
	}
}

// TestRotationStepByStep has two processes, and what is refused at which step.
func TestRotationStepByStep(t *testing.T) {
	dir := t.TempDir()
	path, url := filepath.Join(dir, "keyset.json"), "--database-url=sqlite:"+filepath.Join(dir, "live.db")
	refused := func(want string, args ...string) {
		t.Helper()
		before, _ := os.ReadFile(path)
		got := callVault(t, nil, args...)
		after, _ := os.ReadFile(path)
		if got.code != 1 || !strings.Contains(got.stderr, want) || !bytes.Equal(before, after) {
			t.Errorf("api vault %s: %+v, want code 1, %q, and the file as it was", strings.Join(args, " "), got, want)
		}
	}
	mustVault(t, nil, "init", path)
	first := keysOf(t, path)
	refused("is there already", "init", path)
	refused("seals already", "promote", path, url)
	refused("nothing to retire", "retire", path, url)
	refused("it has no key", "promote", path, url, fmt.Sprint("--key=", first.Primary()+1))
	unlock, err := vault.LockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, changes := range []string{"add", "promote", "retire"} {
		refused("somebody else is changing it", changes, path, url)
	}
	unlock()
	mustVault(t, nil, "add", path)
	refused("must be those of the API", "promote", path, url)
	refused("promote it, or retire it", "add", path)
	added := keysOf(t, path)
	id := added.Keys()[1]

	old, now := newTeller(first), newTeller(added)
	db, _ := openStore(t, "sqlite:"+filepath.Join(dir, "live.db"), now.tell)
	openStore(t, "sqlite:"+filepath.Join(dir, "live.db"), old.tell)
	refused(fmt.Sprintf("1 of 2 processes of the API do not know key %d yet", id), "promote", path, url)
	old.learn(t, added)
	addSecret(t, db, first, newID(), "hunter2")
	mustVault(t, nil, "promote", path, url)
	promoted := keysOf(t, path)
	if promoted.Primary() != id {
		t.Errorf("%v, want %d primary", promoted, id)
	}
	refused(fmt.Sprintf("1 secrets are sealed under key %d", first.Primary()), "retire", path, url)
	now.learn(t, promoted)
	table := mustVault(t, nil, "status", path, url).stdout
	for _, want := range []string{
		fmt.Sprintf("%d older 1 2 of 2 processes", first.Primary()), fmt.Sprintf("%d primary 0 2 of 2 processes", id),
	} {
		if !strings.Contains(strings.Join(strings.Fields(table), " "), want) {
			t.Errorf("status without %q:\n%s", want, table)
		}
	}
	if said := mustVault(t, nil, "reseal", path, url).stdout; !strings.Contains(said, "done: 1 secrets") {
		t.Errorf("reseal says %q", said)
	}
	refused(fmt.Sprintf("1 processes still seal with key %d", first.Primary()), "retire", path, url)
	old.learn(t, promoted)
	mustVault(t, nil, "retire", path, url)
	if left := keysOf(t, path); !slices.Equal(left.Keys(), []uint32{id}) {
		t.Errorf("%v, want %d alone", left, id)
	}
}

// teller is what a process tells of the keys that it knows, as a test says.
type teller struct {
	keys  atomic.Pointer[[]uint32]
	asked atomic.Int64 // each heartbeat asks
}

func newTeller(k *vault.Keyset) *teller {
	t := new(teller)
	t.keys.Store(told(k))
	return t
}

func told(k *vault.Keyset) *[]uint32 {
	keys := append([]uint32{k.Primary()}, slices.DeleteFunc(k.Keys(), func(id uint32) bool { return id == k.Primary() })...)
	return &keys
}

func (t *teller) tell(o *store.Options) {
	o.VaultKeys = func() []uint32 { t.asked.Add(1); return *t.keys.Load() }
}

// learn lets the process tell of other keys, and waits until the database knows: the heartbeat after the next has the
// next one behind it.
func (t *teller) learn(test *testing.T, k *vault.Keyset) {
	test.Helper()
	t.keys.Store(told(k))
	for deadline, asked := time.Now().Add(patience), t.asked.Load(); t.asked.Load() < asked+2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			test.Fatal("no heartbeat")
		}
	}
}

// TestVaultThroughAPipe: the keyset goes to standard output and nothing else does, so that it can be piped to kubectl.
func TestVaultThroughAPipe(t *testing.T) {
	made := mustVault(t, nil, "init", "-")
	added := mustVault(t, []byte(made.stdout), "add", "-")
	k, err := vault.ParseKeyset([]byte(added.stdout), nil)
	if err != nil || len(k.Keys()) != 2 || !strings.Contains(added.stderr, "added key") {
		t.Errorf("%v, %v, %q", k, err, added.stderr)
	}
	for _, broken := range []string{"", "{}", made.stdout[:40]} {
		for _, command := range []string{"status", "add", "promote", "reseal", "retire"} {
			if got := callVault(t, []byte(broken), command, "-"); got.code != 1 || got.stdout != "" || got.stderr == "" {
				t.Errorf("%s of %q: %+v, want an error and no keyset", command, broken, got)
			}
		}
	}
	// Whoever reads no further gets no half of a keyset unnoticed.
	for _, c := range []*vaultCommand{{name: "init", file: "-"}, {name: "add", file: "-"}} {
		c.stdin, c.stdout, c.say = strings.NewReader(made.stdout), full{}, new(bytes.Buffer)
		if err := vaultCommands[c.name](c, t.Context()); !errors.Is(err, errFull) {
			t.Errorf("%s: %v, want that nothing could be written", c.name, err)
		}
	}
}

var errFull = errors.New("no space left on device")

// full is an output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestKMS: a build that links a KMS finds it by its key's URI, and the file alone opens nothing.
func TestKMS(t *testing.T) {
	uri, err := fakekms.NewKeyURI()
	if err != nil {
		t.Fatal(err)
	}
	client, err := fakekms.NewClient(uri)
	if err != nil {
		t.Fatal(err)
	}
	registry.RegisterKMSClient(client)
	path, kms := filepath.Join(t.TempDir(), "keyset.json"), "--vault-kms-key="+uri
	mustVault(t, nil, "init", path, kms)
	mustVault(t, nil, "add", path, kms)
	if table := mustVault(t, nil, "status", path, kms).stdout; !strings.Contains(table, "added") {
		t.Errorf("status says\n%s", table)
	}
	if got := callVault(t, nil, "status", path); got.code != 1 || !strings.Contains(got.stderr, "a KMS has encrypted it") {
		t.Errorf("without the KMS: %+v", got)
	}
}

// TestSecretIsMadeOnce: by a POST and nothing else; one that is there is left alone, and whoever may not is told.
func TestSecretIsMadeOnce(t *testing.T) {
	var asked []string
	var made map[string]any
	status := http.StatusCreated
	apiserver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		_ = json.NewDecoder(r.Body).Decode(&made)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		reasons := map[int]string{409: "AlreadyExists", 403: "Forbidden"}
		fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "code": %d, "reason": %q, "message": "so it is"}`, status, reasons[status])
	}))
	defer apiserver.Close()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q}}], users: [{name: u, user: {}}]}`, apiserver.URL)
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		status, code int
		said         string
	}{{201, 0, "made the Secret lmp/vault"}, {409, 0, "left alone"}, {403, 1, "make the Secret lmp/vault"}} {
		status, asked, made = tc.status, nil, nil
		got := callVault(t, nil, "init", "--secret=vault", "--namespace=lmp", "--kubeconfig="+kubeconfig)
		if got.code != tc.code || !strings.Contains(got.stdout+got.stderr, tc.said) {
			t.Errorf("%d: %+v, want code %d and %q", tc.status, got, tc.code, tc.said)
		}
		if want := []string{"POST /api/v1/namespaces/lmp/secrets"}; !slices.Equal(asked, want) {
			t.Errorf("%d: asked %q, want %q", tc.status, asked, want)
		}
		data, _ := json.Marshal(made["data"])
		var entries map[string][]byte
		if err := json.Unmarshal(data, &entries); err != nil {
			t.Fatal(err)
		}
		if _, err := vault.ParseKeyset(entries[keysetEntry], nil); err != nil || len(entries) != 1 {
			t.Errorf("%d: the Secret holds %d entries, %v", tc.status, len(entries), err)
		}
	}
}

// TestRotationKilledAtEachStep: the machine stops before a step is written, or when it is written and no process has
// read it, or some have. Every secret opens then at every process, and whoever calls the step again gets to the end.
func TestRotationKilledAtEachStep(t *testing.T) {
	dir := t.TempDir()
	path, url := filepath.Join(dir, "keyset.json"), "--database-url=sqlite:"+filepath.Join(dir, "live.db")
	mustVault(t, nil, "init", path)
	slow, fast := newTeller(keysOf(t, path)), newTeller(keysOf(t, path))
	db, _ := openStore(t, "sqlite:"+filepath.Join(dir, "live.db"), slow.tell)
	openStore(t, "sqlite:"+filepath.Join(dir, "live.db"), fast.tell)
	knows := map[*teller]*vault.Keyset{slow: keysOf(t, path), fast: keysOf(t, path)}
	accounts := []string{}
	// A process seals under the key that it takes for the primary one, and all of them open everything, one that starts
	// now included.
	allOpen := func(when string) {
		t.Helper()
		for _, k := range knows {
			accounts = append(accounts, newID())
			addSecret(t, db, k, accounts[len(accounts)-1], "hunter2")
		}
		for _, k := range []*vault.Keyset{knows[slow], knows[fast], keysOf(t, path)} {
			for _, account := range accounts {
				if text, err := open(t.Context(), db, vault.Fixed(k), account); err != nil || text != "hunter2" {
					t.Errorf("%s: %q, %v, with %v", when, text, err, k)
				}
			}
		}
	}
	learn := func(who *teller) {
		t.Helper()
		knows[who] = keysOf(t, path)
		who.learn(t, knows[who])
	}
	for range 2 { // a second rotation begins where the first one ended
		for _, step := range []string{"add", "promote", "reseal", "retire"} {
			// Killed before anything is written: whatever was read is as it was.
			text, _ := os.ReadFile(path)
			c := &vaultCommand{
				name: step, file: "-", stdin: bytes.NewReader(text), stdout: full{}, say: new(bytes.Buffer), getenv: noEnv,
			}
			c.storage.databaseURL = strings.TrimPrefix(url, "--database-url=")
			if err := vaultCommands[step](c, t.Context()); step != "reseal" && !errors.Is(err, errFull) {
				t.Errorf("%s: %v, want that nothing could be written", step, err)
			}
			allOpen(step + ", killed before it was written")
			if step == "retire" { // what was sealed since has to be sealed again
				mustVault(t, nil, "reseal", path, url)
			}
			mustVault(t, nil, step, path, url)
			allOpen(step + ", written and not read")
			learn(fast)
			allOpen(step + ", read by one process")
			learn(slow)
			allOpen(step + ", read by both")
		}
	}
	if left := keysOf(t, path).Keys(); len(left) != 1 {
		t.Errorf("%d keys are left", len(left))
	}
}
