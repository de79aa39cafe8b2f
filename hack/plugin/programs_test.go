// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestRun builds a small program as make plugin builds the real one, for every platform: each archive holds a program
// of its platform, and checksums and manifest are about these very archives.
func TestRun(t *testing.T) {
	root, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	for name, text := range map[string]string{
		"go.mod": "module example.com/small\n\ngo 1.24\n", "LICENSE": "licence",
		// Without the runtime's package of printing, so that little is compiled for six platforms.
		"cmd/kubectl-letmepost/main.go": "package main\n\nfunc main() { println(\"small\") }\n",
	} {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	var said bytes.Buffer
	if err := run(t.Context(), []string{"-out", out, "-version", "1.2.3"}, &said); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "letmepost.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var m krewPlugin
	if err := yaml.UnmarshalStrict(text, &m); err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(out, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range platforms {
		archive, err := os.ReadFile(filepath.Join(out, p.archive()))
		if err != nil {
			t.Fatal(err)
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(archive))
		if m.Spec.Platforms[i].SHA256 != sum || !strings.Contains(string(sums), sum+"  "+p.archive()+"\n") {
			t.Errorf("%s: its checksum is %s, and the manifest or SHA256SUMS has another", p.archive(), sum)
		}
		if of := platformOf(t, archive, p.program()); of != p {
			t.Errorf("%s holds a program for %s/%s", p.archive(), of.os, of.arch)
		}
	}
}

// platformOf is what the program in an archive is for, as its own header says.
func platformOf(t *testing.T, archive []byte, name string) platform {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(compressed); ; {
		h, err := files.Next()
		if err != nil {
			t.Fatalf("there is no %s: %v", name, err)
		}
		if h.Name != name {
			continue
		}
		program, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		return headerOf(bytes.NewReader(program))
	}
}

// headerOf reads the header of a program; what is not known is left empty.
func headerOf(program io.ReaderAt) platform {
	if f, err := elf.NewFile(program); err == nil {
		return platform{"linux", map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[f.Machine]}
	}
	if f, err := macho.NewFile(program); err == nil {
		return platform{"darwin", map[macho.Cpu]string{macho.CpuAmd64: "amd64", macho.CpuArm64: "arm64"}[f.Cpu]}
	}
	if f, err := pe.NewFile(program); err == nil {
		return platform{"windows", map[uint16]string{
			pe.IMAGE_FILE_MACHINE_AMD64: "amd64", pe.IMAGE_FILE_MACHINE_ARM64: "arm64",
		}[f.Machine]}
	}
	return platform{}
}
