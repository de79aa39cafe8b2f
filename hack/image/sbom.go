// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/uuid"
)

// module is a Go module that is linked into a binary.
type module struct {
	path, version string
	sum           string // as in go.sum, "" for Go's own
	dir           string // on this machine
}

// linked are the modules of a binary by its own account (debug/buildinfo), sorted by path; "std" is Go's library and
// run time. The main module isn't among them.
func (b binary) linked() []module {
	all := []module{{path: "std", version: strings.TrimPrefix(b.info.GoVersion, "go"), dir: b.modules["std"]}}
	for _, d := range b.info.Deps {
		m := module{path: d.Path, version: d.Version, sum: d.Sum, dir: b.modules[d.Path]}
		if d.Replace != nil && d.Replace.Sum != "" { // one by a folder of the checkout has no version of its own
			m.version, m.sum = d.Replace.Version, d.Replace.Sum
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(x, y module) int { return strings.Compare(x.path, y.path) })
	return all
}

// purl is the package URL of a module (package-url/purl-spec, type golang), which is its name in the document too.
func (m module) purl() string {
	return "pkg:golang/" + m.path + "@" + url.QueryEscape(m.version) + "?type=module"
}

func (m module) component() (cyclonedx.Component, error) {
	l, err := licenceIn(m.dir)
	if err != nil {
		return cyclonedx.Component{}, fmt.Errorf("licence of %s: %w", m.path, err)
	}
	c := cyclonedx.Component{
		BOMRef: m.purl(), Type: cyclonedx.ComponentTypeLibrary, Name: m.path, Version: m.version, PackageURL: m.purl(),
		Licenses: &cyclonedx.Licenses{{Expression: strings.Join(l.ids, " AND ")}},
	}
	if m.sum != "" {
		// Not among the hashes: it is one of a list of files, and no file has it (go.dev/ref/mod#go-sum-files).
		c.Properties = &[]cyclonedx.Property{{Name: "go:sum", Value: m.sum}}
	}
	return c, nil
}

// billOfMaterials is a CycloneDX document in JSON: the image, its binaries, and the modules that each of them is linked
// of. Like the image it says nothing of when and where it was made.
func billOfMaterials(src source, img image, index v1.ImageIndex, binaries []binary) ([]byte, error) {
	digest, err := index.Digest()
	if err != nil {
		return nil, err
	}
	purl := "pkg:oci/" + img.name + "@" + url.QueryEscape(digest.String()) + "?tag=" + src.version
	container := cyclonedx.Component{
		BOMRef: purl, Type: cyclonedx.ComponentTypeContainer, Name: "letmepost/" + img.name, Version: src.version,
		Description: img.description, PackageURL: purl, Hashes: sha256Hash(digest.Hex),
		Licenses: &cyclonedx.Licenses{{Expression: "Apache-2.0"}},
	}
	var components []cyclonedx.Component
	var refs []string
	var dependencies []cyclonedx.Dependency
	modules := map[string]module{}
	for _, b := range binaries {
		sum, ref := sha256.Sum256(b.content), img.name+":"+b.platform.String()
		components = append(components, cyclonedx.Component{
			BOMRef: ref, Type: cyclonedx.ComponentTypeApplication, Name: "/" + img.name, Version: src.version,
			Description: "the process for " + b.platform.String(), Hashes: sha256Hash(hex.EncodeToString(sum[:])),
			Licenses: &cyclonedx.Licenses{{Expression: "Apache-2.0"}},
		})
		refs = append(refs, ref)
		var uses []string
		for _, m := range b.linked() {
			modules[m.purl()] = m
			uses = append(uses, m.purl())
		}
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: ref, Dependencies: &uses})
	}
	dependencies = append(dependencies, cyclonedx.Dependency{Ref: purl, Dependencies: &refs})
	libraries, err := moduleComponents(modules)
	if err != nil {
		return nil, err
	}
	components = append(components, libraries...)
	bom := cyclonedx.NewBOM()
	// A random serial number, as is usual, would give other bytes each time. This one is that of the image's digest.
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, []byte(purl)).URN()
	bom.Metadata = &cyclonedx.Metadata{Component: &container}
	bom.Components, bom.Dependencies = &components, &dependencies
	var out bytes.Buffer
	// 1.5 is what the common readers know.
	err = cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).
		EncodeVersion(bom, cyclonedx.SpecVersion1_5)
	return out.Bytes(), err
}

// moduleComponents are the modules, sorted.
func moduleComponents(modules map[string]module) (all []cyclonedx.Component, err error) {
	for _, m := range modules {
		c, err := m.component()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(x, y cyclonedx.Component) int { return strings.Compare(x.BOMRef, y.BOMRef) })
	return all, nil
}

func sha256Hash(hex string) *[]cyclonedx.Hash {
	return &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex}}
}
