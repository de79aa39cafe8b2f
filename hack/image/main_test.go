// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asProgram makes the test binary this program, so that a test can give it a umask and an environment.
const asProgram = "LMP_TEST_AS_IMAGE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if err := run(context.Background(), os.Args[1:], os.Getenv, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "image:", err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	os.RemoveAll(shared)
	os.Exit(code)
}

// program runs this program with a umask and more environment.
func program(umask string, env []string, args ...string) (string, error) {
	c := exec.Command("sh", append([]string{"-c", `umask "$0"; exec "$@"`, umask, os.Args[0]}, args...)...)
	c.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// checkout writes a small project into dir that has what the program needs of the real one: three processes, one of
// them with a dependency, and licences. The processes print their version.
func checkout(dir string) error {
	const module = "github.com/letmepost/letmepost-operator"
	process := func(more, what string) string {
		return "package main\n\nimport (\n" + more + "\t\"" + module + "/internal/process\"\n)\n\nfunc main() { println(process.Version()" + what + ") }\n"
	}
	for name, text := range map[string]string{
		"go.mod":              "module " + module + "\n\ngo 1.26.0\n\nrequire example.com/dependency v1.2.3\n\nreplace example.com/dependency v1.2.3 => ./dependency\n",
		"LICENSE":             "Apache License\nVersion 2.0, January 2004\n",
		"cmd/api/main.go":     process("\t\"example.com/dependency\"\n", ", dependency.Name"),
		"dependency/go.mod":   "module example.com/dependency\n",
		"dependency/name.go":  "package dependency\n\nconst Name = \"dependency\"\n",
		"dependency/COPYING":  "Permission is hereby granted, free of charge, to any person obtaining a copy of this\nsoftware and associated documentation files\n",
		"dependency/NOTICE":   "A notice to pass on.\n",
		"cmd/controller/a.go": process("", ""),
		"cmd/gate/main.go":    process("", ""),
		// The variable is where the real one is: see TestVersionIsSet.
		"internal/process/version.go": "package process\n\nvar version = \"devel\"\n\nfunc Version() string { return version }\n",
		chartFile:                     "apiVersion: v2\nversion: 9.9.9\nappVersion: 1.2.3\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// shared is a folder with a checkout in src and its images in out.
var shared string

var buildShared = sync.OnceValue(func() (err error) {
	if shared, err = os.MkdirTemp("", "image-test-"); err != nil {
		return err
	}
	if err := checkout(filepath.Join(shared, "src")); err != nil {
		return err
	}
	out, err := program("022", nil, "-dir", filepath.Join(shared, "src"), "-out", filepath.Join(shared, "out"))
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
})

func sharedDir(t *testing.T, name string) string {
	t.Helper()
	if err := buildShared(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(shared, name)
}

// The same input gives the same bytes, whatever else is different: the folder, the environment, the caches. Another
// version gives others, so that the comparison says something.
func TestSameInputSameBytes(t *testing.T) {
	first := sharedDir(t, "out")
	dir := filepath.Join(t.TempDir(), "another", "folder")
	if err := checkout(dir); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	env := []string{
		"TZ=Asia/Kathmandu", "LANG=de_DE.UTF-8", "HOME=" + t.TempDir(), "GOCACHE=" + cache, "TMPDIR=" + t.TempDir(),
		"GOFLAGS=-tags=other -ldflags=-X=main.version=other", "GOAMD64=v3", "GOARM64=v9.0", "GOARCH=386", "CGO_ENABLED=1", "GOWORK=/nowhere",
	}
	second := t.TempDir()
	if out, err := program("077", env, "-dir", dir, "-out", second); err != nil {
		t.Fatal(err, out)
	}
	third := t.TempDir()
	if out, err := program("022", nil, "-dir", dir, "-out", third, "-version", "1.2.4"); err != nil {
		t.Fatal(err, out)
	}
	for _, name := range []string{"api.tar", "api.cdx.json", "controller.tar", "controller.cdx.json", "gate.tar", "gate.cdx.json"} {
		one, another, changed := read(t, first, name), read(t, second, name), read(t, third, name)
		if !bytes.Equal(one, another) {
			t.Errorf("%s: other bytes the second time", name)
		}
		if bytes.Equal(one, changed) {
			t.Errorf("%s: the same bytes for another version", name)
		}
	}
}

func TestSourceDateEpoch(t *testing.T) {
	for _, tc := range []struct {
		reason, epoch, want string
	}{
		{"no time given", "", "1970-01-01T00:00:00Z"},
		{"that of a release", "1767225600", "2026-01-01T00:00:00Z"},
		{"not seconds", "yesterday", ""},
		{"before tar's time", "-1", ""},
	} {
		src, err := newSource(t.TempDir(), "1.0.0", tc.epoch)
		if (err != nil) != (tc.want == "") {
			t.Errorf("%s: got error %v", tc.reason, err)
		}
		if err == nil && src.created.Format("2006-01-02T15:04:05Z07:00") != tc.want {
			t.Errorf("%s: got %s, want %s", tc.reason, src.created, tc.want)
		}
	}
}

func TestVersion(t *testing.T) {
	chart := t.TempDir()
	if err := checkout(chart); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		reason, dir, version, want string
	}{
		{"the chart's", chart, "", "1.2.3"},
		{"the one that was asked for", chart, "1.3.0-rc.1", "1.3.0-rc.1"},
		{"no chart and none asked for", t.TempDir(), "", ""},
		{"no tag, as + can't be in one", chart, "1.2.3+build", ""},
		{"another flag for the linker", chart, "1 -X main.other=1", ""},
	} {
		src, err := newSource(tc.dir, tc.version, "")
		if (err != nil) != (tc.want == "") || src.version != tc.want {
			t.Errorf("%s: got %q, %v; want %q", tc.reason, src.version, err, tc.want)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, tc := range []struct {
		reason, says string
		args         []string
	}{
		{"an argument that is no flag", "unexpected argument", []string{"api"}},
		{"a platform that is none", "-platform", []string{"-rootfs", "x", "-image", "api", "-platform", "linux"}},
		{"another system", "-platform", []string{"-rootfs", "x", "-image", "api", "-platform", "windows/amd64"}},
		{"an image that is none", "-image", []string{"-rootfs", "x", "-image", "apis", "-platform", "linux/amd64"}},
	} {
		err := run(t.Context(), append([]string{"-version", "1.0.0"}, tc.args...), func(string) string { return "" }, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got error %v, want one that says %s", tc.reason, err, tc.says)
		}
	}
}

// The Dockerfile copies what -rootfs writes: the same files with the same modes as in the layer, whatever the umask.
func TestRootfs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rootfs")
	args := []string{"-dir", sharedDir(t, "src"), "-rootfs", dir, "-image", "api", "-platform", "linux/arm64"}
	if out, err := program("077", nil, args...); err != nil {
		t.Fatal(err, out)
	}
	got := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, content := strings.TrimPrefix(path, dir+"/"), []byte(nil)
		if info.IsDir() {
			name += "/"
		} else if content, err = os.ReadFile(path); err != nil {
			return err
		}
		got[name] = describe(info.Mode()&(os.ModePerm|os.ModeSticky), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range layerOf(t, "api", "arm64") {
		want[f.name] = describe(f.mode, f.content)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-rootfs and the layer differ (-layer +rootfs):\n%s", diff)
	}
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
