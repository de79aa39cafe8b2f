// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// versionVariable is what the processes print as their version.
const versionVariable = "github.com/letmepost/letmepost-operator/internal/process.version"

// goFlags are those of every build of an image. Whatever else builds one takes them from here, with -rootfs.
func goFlags(version string) []string {
	return []string{
		"-trimpath",       // no path of this machine
		"-buildvcs=false", // a commit that changes no input changes no byte
		"-mod=readonly",   // what go.mod says, and a vendor folder or a workspace does not
		// gRPC (of the trace exporter) without its debug pages, which nothing here serves: their html/template calls
		// methods by name, and the linker keeps every method then. 11 MB of the controller.
		"-tags=grpcnotrace",
		// As all that the Makefile builds, so that each package is compiled once.
		"-gcflags=all=-dwarf=false",
		"-ldflags=-s -w -X " + versionVariable + "=" + version, // no symbols: they are for debuggers, and half of the size
	}
}

// goEnv is everything else that decides the bytes. No value is empty, since an empty one lets that of `go env -w` pass.
func goEnv(p v1.Platform) []string {
	return []string{
		"CGO_ENABLED=0", // static, and no C compiler
		"GOOS=" + p.OS,
		"GOARCH=" + p.Architecture,
		"GOAMD64=v1",
		"GOARM64=v8.0",
		"GOFIPS140=off",
		"GOFLAGS=-mod=readonly",
		"GOWORK=off",
	}
}

// binary is a process that was built for one platform.
type binary struct {
	platform v1.Platform
	content  []byte
	info     *debug.BuildInfo  // as it is in content
	modules  map[string]string // path of each module in it → its folder on this machine; "std" is Go's own
}

// build builds cmd/NAME for a platform and checks it. The error has the compiler's output.
func build(ctx context.Context, src source, img image, p v1.Platform) (binary, error) {
	env, err := goEnvironment(ctx, src, p)
	if err != nil {
		return binary{}, err
	}
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return binary{}, err
	}
	defer os.RemoveAll(dir)
	file, pkg := filepath.Join(dir, img.name), "./cmd/"+img.name
	args := append(append([]string{"build"}, goFlags(src.version)...), "-o", file, pkg)
	if _, err := goCommand(ctx, src, p, args...); err != nil {
		return binary{}, err
	}
	b := binary{platform: p, modules: map[string]string{"std": env["GOROOT"]}}
	if b.content, err = os.ReadFile(file); err != nil {
		return binary{}, err
	}
	if b.info, err = buildinfo.Read(bytes.NewReader(b.content)); err != nil {
		return binary{}, fmt.Errorf("read the build info of %s: %w", img.name, err)
	}
	checkout, err := filepath.Abs(src.dir)
	if err != nil {
		return binary{}, err
	}
	if err := b.check(checkout, env["GOROOT"], env["GOMODCACHE"], env["GOCACHE"], env["HOME"], dir); err != nil {
		return binary{}, err
	}
	list, err := goCommand(ctx, src, p, "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}{{end}}", pkg)
	if err != nil {
		return binary{}, err
	}
	for line := range strings.Lines(list) {
		if path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			b.modules[path] = dir
		}
	}
	return b, nil
}

// check holds the binary to what is said of it: static, for its platform, and without a path of the machine that built
// it. folders are the absolute ones that the build has seen; an empty one is none.
func (b binary) check(folders ...string) error {
	want := map[string]string{
		"CGO_ENABLED": "0",
		"GOOS":        b.platform.OS,
		"GOARCH":      b.platform.Architecture,
		"-trimpath":   "true",
	}
	for _, s := range b.info.Settings {
		if strings.HasPrefix(s.Key, "vcs") {
			return fmt.Errorf("binary for %s says %s=%s: it would change with every commit", b.platform, s.Key, s.Value)
		}
		if want[s.Key] == s.Value {
			delete(want, s.Key)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("binary for %s was not built with %v", b.platform, want)
	}
	for _, folder := range folders {
		if strings.Trim(folder, "/") != "" && bytes.Contains(b.content, []byte(folder+"/")) {
			return fmt.Errorf("binary for %s has a path of this machine in it: %s", b.platform, folder)
		}
	}
	return nil
}

// goEnvironment is what the go command goes by.
func goEnvironment(ctx context.Context, src source, p v1.Platform) (map[string]string, error) {
	names := []string{"GOROOT", "GOMODCACHE", "GOCACHE", "GOEXPERIMENT"}
	text, err := goCommand(ctx, src, p, append([]string{"env"}, names...)...)
	if err != nil {
		return nil, err
	}
	values := strings.Split(text, "\n")
	if len(values) < len(names) {
		return nil, fmt.Errorf("go env said %q", text)
	}
	env := map[string]string{"HOME": os.Getenv("HOME")}
	for i, name := range names {
		env[name] = strings.TrimSpace(values[i])
	}
	if env["GOEXPERIMENT"] != "" {
		return nil, errors.New("GOEXPERIMENT is set: it would make another binary, see `go env -u GOEXPERIMENT`")
	}
	return env, nil
}

// goCommand runs the go command in the checkout and returns what it prints.
func goCommand(ctx context.Context, src source, p v1.Platform, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = src.dir
	c.Env = append(os.Environ(), goEnv(p)...)
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}
