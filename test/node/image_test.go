// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestArchiveName(t *testing.T) {
	const named = `{"annotations": {"io.containerd.image.name": "letmepost/api:0.1.0"}}`
	for _, test := range []struct {
		reason, index string
		want, wrong   string // the name, or a part of the error
	}{
		{reason: "one index of all platforms", index: named, want: "letmepost/api:0.1.0"},
		{reason: "nothing says what to call it", index: `{}`, wrong: "names no image"},
		{reason: "of two, containerd would keep the one of the other platform", index: named + "," + named, wrong: "has 2 images"},
		{reason: "no image at all", index: "", wrong: "has 0 images"},
		{reason: "no JSON", index: "{", wrong: "index.json"},
	} {
		path := archive(t, "index.json", `{"manifests": [`+test.index+`]}`)
		got, err := archiveName(path)
		if got != test.want || (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: got %q, %v; want %q, %q", test.reason, got, err, test.want, test.wrong)
		}
	}
	if _, err := archiveName(archive(t, "manifest.json", "[]")); err == nil {
		t.Error("an archive that is no OCI archive has a name")
	}
}

func archive(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := tar.NewWriter(file)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFullName(t *testing.T) {
	host := strings.TrimPrefix(name.DefaultRegistry, "index.") // its name in containerd
	for _, test := range []struct{ reason, ref, want string }{
		{"as the chart has it", "letmepost/api:0.1.0", host + "/letmepost/api:0.1.0"},
		{"no tag is the tag latest", "letmepost/api", host + "/letmepost/api:latest"},
		{"a name of one part is in a library", "api:1", host + "/library/api:1"},
		{"a full name stays as it is", host + "/letmepost/api:0.1.0", host + "/letmepost/api:0.1.0"},
		{"another registry too", "registry.example:5000/letmepost/api:1", "registry.example:5000/letmepost/api:1"},
		{"no name", "Not A Name", ""},
	} {
		if got, err := fullName(test.ref); got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: %s is %q, %v; want %q", test.reason, test.ref, got, err, test.want)
		}
	}
}

// What is written is what containerd reads: an image whose program can be run by a user other than root.
func TestWriteImage(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := writeImage(path, "letmepost/app:1", program); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.OS != "linux" || config.Architecture == "" {
		t.Errorf("user %q, platform %s/%s", config.Config.User, config.OS, config.Architecture)
	}
	content, err := programTar(program)
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]int64{}
	for r := tar.NewReader(strings.NewReader(string(content))); ; {
		header, err := r.Next()
		if err != nil {
			break
		}
		modes[header.Name] = header.Mode
	}
	if modes["app"] != 0o755 || modes["tmp/"] != 0o1777 {
		t.Errorf("modes are %#v", modes)
	}
}
