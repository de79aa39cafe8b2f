package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/kube"
)

func TestClaimRefusesASecondRun(t *testing.T) {
	dir := t.TempDir()
	first, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = claim(dir)
	wantWords(t, err, "another `make up`", "pid "+strconv.Itoa(os.Getpid()), dir, "make down")
	if err := first.lock.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := claim(dir)
	if err != nil {
		t.Fatalf("once the first has ended: %v", err)
	}
	second.lock.Close()
}

func TestClaimSeesProcessesOfACrashedRun(t *testing.T) {
	dir := t.TempDir()
	process := leftover(t, dir, dir)
	_, err := claim(dir)
	wantWords(t, err, "demo (pid "+strconv.Itoa(process.PID())+")", "make down")
}

// A pid that has come to belong to somebody else's program is no reason to refuse, much less to kill it.
func TestClaimIgnoresReusedPIDs(t *testing.T) {
	dir := t.TempDir()
	process := leftover(t, dir, t.TempDir())
	state, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	state.lock.Close()
	if err := down(t.Context(), dir, t.Output()); err != nil {
		t.Fatal(err)
	}
	if alreadyDone(process) {
		t.Error("down killed a process that is not ours")
	}
}

func TestDown(t *testing.T) {
	t.Run("leaves a directory alone that is not a state directory", func(t *testing.T) {
		dir := t.TempDir()
		precious := filepath.Join(dir, "precious")
		if err := os.WriteFile(precious, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := down(t.Context(), dir, &out); err != nil || !strings.Contains(out.String(), "nothing to do") {
			t.Errorf("%v: %s", err, &out)
		}
		if _, err := os.Stat(precious); err != nil {
			t.Error(err)
		}
	})
	t.Run("kills what a crashed run left", func(t *testing.T) {
		dir := t.TempDir()
		process := leftover(t, dir, dir)
		if err := os.WriteFile(filepath.Join(dir, "lock"), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := down(t.Context(), dir, t.Output()); err != nil {
			t.Fatal(err)
		}
		<-process.Done()
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("the state directory must be gone: %v", err)
		}
	})
}

func TestReadSettings(t *testing.T) {
	tests := map[string]struct {
		env map[string]string
		err string
	}{
		"defaults":            {env: nil},
		"three replicas":      {env: map[string]string{"LIVE_REPLICAS": "3"}},
		"flags":               {env: map[string]string{"LIVE_FLAGS": " --outbound-allow  127.0.0.1:2583 "}},
		"no replicas":         {env: map[string]string{"LIVE_REPLICAS": "0"}, err: `LIVE_REPLICAS must be a number from 1 to 9, not "0"`},
		"base is no number":   {env: map[string]string{"LMP_PORT_BASE": "x"}, err: "LMP_PORT_BASE must be a number"},
		"base past the range": {env: map[string]string{"LMP_PORT_BASE": "65530"}, err: "LMP_PORT_BASE must be a number"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			settings, err := readSettings(func(name string) string { return test.env[name] })
			if test.err != "" {
				wantWords(t, err, test.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Fields(test.env["LIVE_FLAGS"]); !slices.Equal(settings.liveFlags, want) {
				t.Errorf("flags of the live API: %q, want %q", settings.liveFlags, want)
			}
			if !filepath.IsAbs(settings.dir) || filepath.Base(settings.dir) != ".dev" || settings.portBase != 17600 {
				t.Errorf("%+v", settings)
			}
			settings.liveReplicas = maxLiveReplicas
			checkDistinct(t, settings)
		})
	}
}

// checkDistinct proves that no two components want the same port, and that all are within the span that is told.
func checkDistinct(t *testing.T, settings settings) {
	t.Helper()
	seen := map[int]string{}
	for _, use := range settings.portUses() {
		if other, taken := seen[use.port]; taken {
			t.Errorf("port %d is wanted by %s and by %s", use.port, use.component, other)
		}
		seen[use.port] = use.component
		if use.port < settings.portBase || use.port >= settings.portBase+portSpan {
			t.Errorf("port %d of %s is out of the range", use.port, use.component)
		}
	}
}

// leftover starts a process whose pid file is in dir and whose command line names used.
func leftover(t *testing.T, dir, used string) *kube.Process {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "pids"), 0o700); err != nil {
		t.Fatal(err)
	}
	process, err := kube.Run(kube.Command{
		Name: "demo", Path: "/bin/sh", Args: []string{"-c", "sleep 60; :", "--kubeconfig=" + used + "/kubeconfig/x"},
		Env: kube.MinimalEnv(), Log: filepath.Join(t.TempDir(), "log"), PID: filepath.Join(dir, "pids", "demo.pid"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Kill()
		<-process.Done()
	})
	// The kernel lets go of the parent a moment before the new command line can be read.
	for cmdline := []byte(nil); len(cmdline) == 0; {
		if cmdline, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", process.PID())); err != nil {
			t.Fatal(err)
		}
	}
	return process
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("want an error, got none")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not say %q:\n%v", word, err)
		}
	}
}

// TestKeysetIsMadeOnce: the accounts of an earlier run open with the keyset of an earlier run alone.
func TestKeysetIsMadeOnce(t *testing.T) {
	s := &session{state: &state{dir: t.TempDir()}}
	var made []byte
	for range 2 {
		if err := s.makeKeyset(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(s.keysetPath())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := vault.ParseKeyset(text, nil); err != nil || made != nil && !bytes.Equal(made, text) {
			t.Errorf("%v; it must be a keyset, and the same each time", err)
		}
		made = text
	}
}
