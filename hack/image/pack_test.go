// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func describe(mode os.FileMode, content []byte) string {
	return fmt.Sprintf("%v %d bytes %x", mode, len(content), sha256.Sum256(content))
}

// entries reads a tar file. All that a build machine could leave in it must be empty.
func entries(t *testing.T, r io.Reader) (files []file) {
	t.Helper()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || h.ModTime.Unix() != 0 || len(h.PAXRecords) > 0 {
			t.Errorf("%s has something of the machine: %+v", h.Name, h)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{h.Name, h.FileInfo().Mode() & (os.ModePerm | os.ModeSticky), content})
	}
}

// open unpacks an archive and returns the one index of it, with its annotations.
func open(t *testing.T, name string) (v1.ImageIndex, map[string]string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := copyFiles(dir, entries(t, bytes.NewReader(read(t, sharedDir(t, "out"), name+".tar")))); err != nil {
		t.Fatal(err)
	}
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := root.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("want one image in the archive, got %v, %v", manifest, err)
	}
	index, err := root.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index, manifest.Manifests[0].Annotations
}

func imageOf(t *testing.T, name, architecture string) v1.Image {
	t.Helper()
	index, _ := open(t, name)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range manifest.Manifests {
		if d.Platform.Architecture == architecture {
			img, err := index.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
	}
	t.Fatalf("no image for %s", architecture)
	return nil
}

// layerOf is what a container sees.
func layerOf(t *testing.T, name, architecture string) []file {
	t.Helper()
	layers, err := imageOf(t, name, architecture).Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("want one layer, got %d, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	return entries(t, content)
}

// Every digest and size in the archive is right, and it has both platforms.
func TestArchive(t *testing.T) {
	for _, img := range images {
		index, _ := open(t, img.name)
		if err := validate.Index(index); err != nil {
			t.Error(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range manifest.Manifests {
			got = append(got, d.Platform.String())
		}
		if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, got); diff != "" {
			t.Errorf("%s: platforms (-want +got):\n%s", img.name, diff)
		}
	}
}

// containerd imports the image under the name that it looks for when a pod asks for the short one.
func TestImportedName(t *testing.T) {
	_, annotations := open(t, "api")
	if got := annotations["org.opencontainers.image.ref.name"]; got != "1.2.3" {
		t.Errorf("the tag is %q", got)
	}
	name := annotations["io.containerd.image.name"]
	if !regexp.MustCompile(`^[a-z.]+\.[a-z]+/letmepost/api:1\.2\.3$`).MatchString(name) {
		t.Errorf("the name is %q, want one with a host", name)
	}
	named, err := reference.ParseDockerRef("letmepost/api:1.2.3") // what containerd's CRI plugin calls
	if err != nil || named.String() != name {
		t.Errorf("a pod with letmepost/api:1.2.3 looks for %q (%v), and the name is %q", named, err, name)
	}
}

// What PodSecurity's restricted level asks of an image, and more: nothing to run but the process.
func TestConfig(t *testing.T) {
	for _, architecture := range []string{"amd64", "arm64"} {
		file, err := imageOf(t, "api", architecture).ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(file.Config.User) {
			t.Errorf("user %q: a kubelet must see that it isn't root", file.Config.User)
		}
		if file.OS != "linux" || file.Architecture != architecture || file.Created.Unix() != 0 {
			t.Errorf("made for %s/%s at %s", file.OS, file.Architecture, file.Created)
		}
		want := v1.Config{
			User: "65532:65532", Entrypoint: []string{"/api"}, WorkingDir: "/",
			ExposedPorts: map[string]struct{}{"8080/tcp": {}, "9090/tcp": {}},
			Labels: map[string]string{
				"org.opencontainers.image.title":         "letmepost API",
				"org.opencontainers.image.description":   images[1].description,
				"org.opencontainers.image.version":       "1.2.3",
				"org.opencontainers.image.licenses":      "Apache-2.0",
				"org.opencontainers.image.source":        sourceURL,
				"org.opencontainers.image.documentation": documentationURL,
			},
		}
		if diff := cmp.Diff(want, file.Config); diff != "" {
			t.Errorf("configuration (-want +got):\n%s", diff)
		}
	}
}

func TestLayer(t *testing.T) {
	got := map[string]string{}
	files := layerOf(t, "api", runtime.GOARCH)
	for _, f := range files {
		got[f.name] = f.mode.String()
	}
	want := map[string]string{
		"etc/": "-rwxr-xr-x", "etc/group": "-rw-r--r--", "etc/passwd": "-rw-r--r--",
		"licenses/": "-rwxr-xr-x", "licenses/LICENSE": "-rw-r--r--", "licenses/THIRD-PARTY": "-rw-r--r--",
		"tmp/": "trwxrwxrwx", "api": "-rwxr-xr-x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, f := range files {
		switch f.name {
		case "licenses/THIRD-PARTY":
			for _, text := range []string{"example.com/dependency v1.2.3", "A notice to pass on.", "std 1."} {
				if !strings.Contains(string(f.content), text) {
					t.Errorf("%s does not have %q", f.name, text)
				}
			}
		case "api":
			runs(t, f.content)
		}
	}
}

// What the linker sets, and does not find, it passes over without a word.
func TestVersionIsSet(t *testing.T) {
	text, err := os.ReadFile("../../internal/process/version.go")
	if err != nil || !strings.Contains(string(text), "\nvar version = ") {
		t.Errorf("the processes have no variable %s: %v", versionVariable, err)
	}
}

// runs starts the binary as the image has it: it knows its version.
func runs(t *testing.T, content []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path).CombinedOutput(); err != nil || string(out) != "1.2.3 dependency\n" {
		t.Errorf("the process says %q, %v", out, err)
	}
}

// A binary that isn't what the image promises is refused.
func TestBinaryIsRefused(t *testing.T) {
	good := binary{platform: v1.Platform{OS: "linux", Architecture: "arm64"}}
	for _, f := range layerOf(t, "api", "arm64") {
		if f.name == "api" {
			good.content = f.content
		}
	}
	var err error
	if good.info, err = buildinfo.Read(bytes.NewReader(good.content)); err != nil {
		t.Fatal(err)
	}
	if err := good.check(sharedDir(t, "src"), "", "/"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		reason, says string
		spoil        func(b *binary)
	}{
		{"it is for another platform", "GOARCH", func(b *binary) { b.platform.Architecture = "amd64" }},
		{"it has a path of the machine", "path of this machine", func(b *binary) {
			b.content = append(bytes.Clone(b.content), "\x00/home/someone/checkout/main.go\x00"...)
		}},
		{"it has a commit", "vcs.revision", func(b *binary) {
			info := *b.info
			info.Settings = append(info.Settings[:len(info.Settings):len(info.Settings)], debug.BuildSetting{Key: "vcs.revision", Value: "1"})
			b.info = &info
		}},
	} {
		b := good
		tc.spoil(&b)
		if err := b.check("/home/someone/checkout"); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got error %v, want one that says %s", tc.reason, err, tc.says)
		}
	}
}
