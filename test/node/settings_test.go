// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

func TestParse(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("api.tar", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := parse([]string{"-bin", "k8s", "-tools", "t", "-logs", "l", "-image", "api.tar", "-image", "a/b:1=api.tar", "--", "go", "-v"})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{s.Bin, s.Tools, s.Logs, s.Images, s.Command}
	want := []any{
		filepath.Join(dir, "k8s"), filepath.Join(dir, "t"), filepath.Join(dir, "l"),
		[]string{filepath.Join(dir, "api.tar"), "a/b:1=" + filepath.Join(dir, "api.tar")},
		[]string{"go", "-v"}, // not a flag of ours
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for reason, args := range map[string][]string{
		"there is nothing to run beside the node": {"-logs", "l"},
		"an image that is not there":              {"-image", "nope.tar", "--", "true"},
		"a program that is not there":             {"-image", "a/b:1=nope", "--", "true"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%s: no error", reason)
		}
	}
}

// Every configuration file is complete, and in the format that its name says.
func TestFiles(t *testing.T) {
	s := settings{State: t.TempDir(), Logs: "/logs"}
	if err := s.writeFiles(); err != nil {
		t.Fatal(err)
	}
	if err := s.makePKI(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(s.config("*"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d configuration files, %v", len(files), err)
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "<no value>") {
			t.Errorf("%s has holes:\n%s", path, content)
		}
		var anything any
		if filepath.Ext(path) == ".yaml" {
			for document := range strings.SplitSeq(string(content), "\n---\n") {
				if err := yaml.UnmarshalStrict([]byte(document), &anything); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	}
	for user := range users {
		if _, err := clientcmd.BuildConfigFromFlags("", s.config(user+".kubeconfig")); err != nil {
			t.Errorf("kubeconfig of %s: %v", user, err)
		}
	}
}

// Each process has arguments, and those that name a file of the state directory name one that is there.
func TestArguments(t *testing.T) {
	s := settings{State: t.TempDir(), Logs: t.TempDir()}
	if err := s.writeFiles(); err != nil {
		t.Fatal(err)
	}
	if err := s.makePKI(); err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		arguments := s.arguments(program)
		if notStarted := program == "pause" || program == "ctr" || program == "containerd-shim-runc-v2"; (len(arguments) == 0) != notStarted {
			t.Errorf("%s has arguments %v", program, arguments)
		}
		for _, argument := range arguments {
			flag, path, _ := strings.Cut(argument, "=")
			isFile := strings.HasPrefix(path, s.pki("")) || strings.HasPrefix(path, s.config(""))
			if isFile && !exists(path) {
				t.Errorf("%s %s: there is no %s", program, flag, path)
			}
		}
	}
}

func TestLogsOfAnEarlierRun(t *testing.T) {
	s := settings{Logs: t.TempDir()}
	old := filepath.Join(s.Logs, "kubelet.log")
	other := filepath.Join(s.Logs, "notes.txt")
	oldPod := filepath.Join(s.podLogs(), "ns_pod_uid", "app", "0.log")
	if err := os.MkdirAll(filepath.Dir(oldPod), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{old, other, oldPod} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.prepareLogs(); err != nil {
		t.Fatal(err)
	}
	if exists(old) || exists(oldPod) || !exists(other) || !exists(s.podLogs()) {
		t.Errorf("left: old log %v, old pod's log %v; another file is there %v, the folder for pods %v",
			exists(old), exists(oldPod), exists(other), exists(s.podLogs()))
	}
}

func TestStateOfKilledLaunchers(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	start := func() (string, func() error) {
		var s settings
		unlock, err := s.makeState()
		if err != nil {
			t.Fatal(err)
		}
		return s.State, unlock
	}
	alive, unlock := start()
	defer func() { _ = unlock() }()
	killed, end := start()
	if err := end(); err != nil { // as the kernel does when it ends a process
		t.Fatal(err)
	}
	young := filepath.Join(os.TempDir(), "letmepost-node-young")
	if err := os.Mkdir(young, 0o700); err != nil {
		t.Fatal(err)
	}
	own, unlock := start()
	defer func() { _ = unlock() }()
	for path, want := range map[string]bool{alive: true, killed: false, young: true, own: true} {
		if exists(path) != want {
			t.Errorf("%s is there: %v, want %v", path, !want, want)
		}
	}
}
