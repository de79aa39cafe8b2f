// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command plugin builds `kubectl letmepost` for all platforms: an archive for each, their checksums, and the manifest
// by which krew installs them. The same source, Go version and -version give the same bytes, on every machine.
//
//	go run ./hack/plugin -out bin/plugin
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"sigs.k8s.io/yaml"
)

// platforms are those that there are archives for.
var platforms = []platform{
	{"linux", "amd64"},
	{"linux", "arm64"},
	{"darwin", "amd64"},
	{"darwin", "arm64"},
	{"windows", "amd64"},
	{"windows", "arm64"},
}

type platform struct{ os, arch string }

// program is the name of the program in the archive.
func (p platform) program() string {
	if p.os == "windows" {
		return "kubectl-letmepost.exe"
	}
	return "kubectl-letmepost"
}

func (p platform) archive() string { return "kubectl-letmepost_" + p.os + "_" + p.arch + ".tar.gz" }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("plugin", flag.ContinueOnError)
	out := flags.String("out", "bin/plugin", "`folder` for what is built")
	version := flags.String("version", "", "version, such as 0.2.0; empty: appVersion of the chart")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version == "" {
		var err error
		if *version, err = chartVersion("charts/letmepost-operator/Chart.yaml"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	licence, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	sums := make([]string, len(platforms))
	for i, p := range platforms {
		fmt.Fprintf(stdout, "building kubectl-letmepost %s for %s/%s\n", *version, p.os, p.arch)
		program, err := build(ctx, p, *version)
		if err != nil {
			return err
		}
		archive, err := pack(p.program(), program, licence)
		if err != nil {
			return err
		}
		sums[i] = fmt.Sprintf("%x", sha256.Sum256(archive))
		if err := os.WriteFile(filepath.Join(*out, p.archive()), archive, 0o644); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(*out, "SHA256SUMS"), []byte(checksums(sums)), 0o644),
		os.WriteFile(filepath.Join(*out, "letmepost.yaml"), manifest(*version, sums), 0o644),
	)
}

func chartVersion(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("find the version (or give -version): %w", err)
	}
	var chart struct {
		AppVersion string `json:"appVersion"`
	}
	return chart.AppVersion, yaml.Unmarshal(text, &chart)
}

// build builds the program as the images' programs are built, so that nothing of this machine is in it.
func build(ctx context.Context, p platform, version string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "plugin-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, p.program())
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-tags=grpcnotrace",
		"-gcflags=all=-dwarf=false", // as all that the Makefile builds, so that each package is compiled once
		"-ldflags=-s -w -X github.com/letmepost/letmepost-operator/internal/process.version="+version,
		"-o", file, "./cmd/kubectl-letmepost")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFIPS140=off", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build for %s/%s: %w\n%s", p.os, p.arch, err, strings.TrimSpace(string(text)))
	}
	return os.ReadFile(file)
}

// checksums is what `sha256sum -c` reads.
func checksums(sums []string) string {
	var text strings.Builder
	for i, p := range platforms {
		fmt.Fprintf(&text, "%s  %s\n", sums[i], p.archive())
	}
	return text.String()
}
