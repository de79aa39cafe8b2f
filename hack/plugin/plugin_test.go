// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestPack: the archive holds what krew asks for, and the same input makes the same bytes.
func TestPack(t *testing.T) {
	program := bytes.Repeat([]byte("program"), 10000)
	archive, err := pack("kubectl-letmepost", program, []byte("licence"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := pack("kubectl-letmepost", program, []byte("licence"))
	if err != nil || !bytes.Equal(archive, again) {
		t.Errorf("the same input makes other bytes: %v", err)
	}
	compressed, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	if !compressed.ModTime.IsZero() {
		t.Errorf("it says when it was compressed: %v", compressed.ModTime)
	}
	got := map[string]string{}
	for files := tar.NewReader(compressed); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(content)
		if !h.ModTime.Equal(epoch) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s has something of this machine: %+v", h.Name, h)
		}
		if executable := h.Mode == 0o755; executable != (h.Name == "kubectl-letmepost") {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
	}
	if len(got) != 2 || got["LICENSE"] != "licence" || got["kubectl-letmepost"] != string(program) {
		t.Errorf("the archive holds %d files", len(got))
	}
}

// The rules of krew for a manifest: internal/index/validation of krew, and the naming guide of its index.
var (
	safeName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	semver   = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)
	sum      = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

type krewPlugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string         `json:"version"`
		Homepage         string         `json:"homepage"`
		ShortDescription string         `json:"shortDescription"`
		Description      string         `json:"description"`
		Caveats          string         `json:"caveats"`
		Platforms        []krewPlatform `json:"platforms"`
	} `json:"spec"`
}

type krewPlatform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
	Files  []struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"files"`
}

func TestManifest(t *testing.T) {
	version, err := chartVersion("../../charts/letmepost-operator/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sums := make([]string, len(platforms))
	for i := range sums {
		sums[i] = strings.Repeat(string("0123456789abcdef"[i]), 64)
	}
	var m krewPlugin
	if err := yaml.UnmarshalStrict(manifest(version, sums), &m); err != nil {
		t.Fatal(err)
	}
	switch {
	case m.APIVersion != "krew.googlecontainertools.github.com/v1alpha2", m.Kind != "Plugin":
		t.Errorf("it is a %s of %s", m.Kind, m.APIVersion)
	case !safeName.MatchString(m.Metadata.Name), strings.HasPrefix(m.Metadata.Name, "kube"):
		t.Errorf("its name is %s", m.Metadata.Name)
	case !semver.MatchString(m.Spec.Version):
		t.Errorf("its version is %s", m.Spec.Version)
	case m.Spec.ShortDescription == "", len(m.Spec.ShortDescription) > 50, strings.ContainsAny(m.Spec.ShortDescription, "\r\n"):
		t.Errorf("its short description is %q", m.Spec.ShortDescription)
	case len(m.Spec.Platforms) != 6:
		t.Errorf("it is for %d platforms", len(m.Spec.Platforms))
	}
	var seen []string
	for i, p := range m.Spec.Platforms {
		at := p.Selector.MatchLabels["os"] + "/" + p.Selector.MatchLabels["arch"]
		if slices.Contains(seen, at) || len(p.Selector.MatchLabels) != 2 {
			t.Errorf("%s is there twice, or selected by more", at)
		}
		seen = append(seen, at)
		where, err := url.Parse(p.URI)
		if err != nil || where.Scheme != "https" || path.Base(where.Path) != platforms[i].archive() || p.SHA256 != sums[i] ||
			!sum.MatchString(p.SHA256) {
			t.Errorf("%s: the archive is %s with %s", at, p.URI, p.SHA256)
		}
		var froms []string
		for _, f := range p.Files {
			froms = append(froms, f.From)
			if f.To != "." || path.Clean(f.From) != f.From || strings.HasPrefix(f.From, "..") {
				t.Errorf("%s: %s is put at %s", at, f.From, f.To)
			}
		}
		if !slices.Contains(froms, p.Bin) || !slices.Contains(froms, "LICENSE") || strings.HasSuffix(p.Bin, ".exe") != strings.HasPrefix(at, "windows") {
			t.Errorf("%s: of the files %v, the program is %s", at, froms, p.Bin)
		}
	}
	if text := checksums(sums); strings.Count(text, "\n") != 6 || !strings.HasPrefix(text, sums[0]+"  kubectl-letmepost_linux_amd64.tar.gz\n") {
		t.Errorf("the checksums are:\n%s", text)
	}
}
