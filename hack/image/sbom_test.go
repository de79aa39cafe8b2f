// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
)

// A module is named by its purl, and has the sum that go.sum has. One that another stands in for is that other one.
func TestModules(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("Apache License Version 2.0, January 2004"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := binary{
		info: &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
			{Path: "example.com/z", Version: "v1.0.0", Sum: "h1:z"},
			{Path: "example.com/a", Version: "v2.0.0+incompatible", Replace: &debug.Module{Path: "example.com/b", Version: "v2.0.1+incompatible", Sum: "h1:b"}},
		}},
		modules: map[string]string{"std": dir, "example.com/a": dir, "example.com/z": dir},
	}
	var got []string
	for _, m := range b.linked() {
		c, err := m.component()
		if err != nil {
			t.Fatal(err)
		}
		line := c.PackageURL + " " + (*c.Licenses)[0].Expression
		if c.Properties != nil {
			line += " " + (*c.Properties)[0].Value
		}
		got = append(got, line)
	}
	want := []string{
		"pkg:golang/example.com/a@v2.0.1%2Bincompatible?type=module Apache-2.0 h1:b",
		"pkg:golang/example.com/z@v1.0.0?type=module Apache-2.0 h1:z",
		"pkg:golang/std@1.26.8?type=module Apache-2.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

// The document is about the very image and the very binaries in it.
func TestBillOfMaterials(t *testing.T) {
	var bom cyclonedx.BOM
	text := read(t, sharedDir(t, "out"), "api.cdx.json")
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	index, _ := open(t, "api")
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; (*c.Hashes)[0].Value != digest.Hex || !strings.Contains(c.PackageURL, digest.Hex) || c.Version != "1.2.3" {
		t.Errorf("it is about %s with %v", c.PackageURL, *c.Hashes)
	}
	named := map[string]bool{bom.Metadata.Component.BOMRef: true}
	for _, c := range *bom.Components {
		if named[c.BOMRef] {
			t.Errorf("%s is there twice", c.BOMRef)
		}
		named[c.BOMRef] = true
		for _, architecture := range []string{"amd64", "arm64"} {
			if c.BOMRef == "api:linux/"+architecture && (*c.Hashes)[0].Value != binarySum(t, architecture) {
				t.Errorf("%s has the sum %s", c.BOMRef, (*c.Hashes)[0].Value)
			}
		}
	}
	golang := "pkg:golang/std@" + strings.TrimPrefix(runtime.Version(), "go") + "?type=module"
	for _, d := range *bom.Dependencies {
		for _, ref := range append(*d.Dependencies, d.Ref) {
			if !named[ref] {
				t.Errorf("%s needs %s, which is not there", d.Ref, ref)
			}
		}
		if strings.HasPrefix(d.Ref, "api:") {
			want := []string{"pkg:golang/example.com/dependency@v1.2.3?type=module", golang}
			if diff := cmp.Diff(want, *d.Dependencies); diff != "" {
				t.Errorf("%s (-want +got):\n%s", d.Ref, diff)
			}
		}
	}
	for _, folder := range []string{shared, os.Getenv("HOME") + "/", "timestamp"} {
		if bytes.Contains(text, []byte(folder)) {
			t.Errorf("it says %s", folder)
		}
	}
}

func binarySum(t *testing.T, architecture string) string {
	t.Helper()
	for _, f := range layerOf(t, "api", architecture) {
		if f.name == "api" {
			sum := sha256.Sum256(f.content)
			return hex.EncodeToString(sum[:])
		}
	}
	return ""
}
