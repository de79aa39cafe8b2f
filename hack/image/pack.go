// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pack makes the index of an image: one manifest a platform, each with one layer.
func pack(src source, img image, binaries []binary) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range binaries {
		files, err := rootFiles(src, img, b)
		if err != nil {
			return nil, err
		}
		packed, err := packOne(src, img, b.platform, files)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.platform, err)
		}
		addendum := mutate.IndexAddendum{Add: packed, Descriptor: v1.Descriptor{Platform: &b.platform}}
		index = mutate.AppendManifests(index, addendum)
	}
	return mutate.Annotations(index, img.labels(src.version)).(v1.ImageIndex), nil
}

// packOne makes the image of one platform. It sets each media type and time itself: the library's defaults are Docker's
// types, and the time of the build.
func packOne(src source, img image, p v1.Platform, files []file) (v1.Image, error) {
	content, err := writeTar(files, src.created)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithCompressionLevel(gzip.BestCompression), // it is built once and pulled by every node
		tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressedCaching, // compressed once, and not for each of digest, size and content
	)
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: src.created}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	packed, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: created, CreatedBy: "hack/image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := packed.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = p.OS, p.Architecture, created
	config.Config = img.config(src.version)
	if packed, err = mutate.ConfigFile(packed, config); err != nil {
		return nil, err
	}
	return mutate.Annotations(packed, img.labels(src.version)).(v1.Image), nil
}

// writeArchive writes an OCI image layout as a tar file. The index has the name under which containerd imports it:
// it takes io.containerd.image.name as it is; org.opencontainers.image.ref.name is the tag, as the OCI has it.
func writeArchive(path string, src source, img image, index v1.ImageIndex) error {
	name, err := img.fullName(src.version)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := layout.Write(dir, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err != nil {
		return err
	}
	annotations := map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": src.version}
	if err := l.AppendIndex(index, layout.WithAnnotations(annotations)); err != nil {
		return err
	}
	files, err := readFiles(dir)
	if err != nil {
		return err
	}
	content, err := writeTar(files, src.created)
	if err != nil {
		return err
	}
	temp := path + ".part" // an archive that is there is whole
	defer os.Remove(temp)
	if err := os.WriteFile(temp, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// readFiles reads all of a folder, in the order of the names, and forgets its modes and times: they are this machine's.
func readFiles(dir string) (files []file, err error) {
	tree := os.DirFS(dir)
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			files = append(files, file{name + "/", 0o755, nil})
			return nil
		}
		content, err := fs.ReadFile(tree, name)
		files = append(files, file{name, 0o644, content})
		return err
	})
	return files, err
}

// size of one platform of an image, in bytes.
type size struct {
	pulled   int64 // what a node that has none of it downloads: manifest, configuration and compressed layers
	unpacked int64 // what it has on its disk then
}

// sizes by platform.
func sizes(index v1.ImageIndex) (map[string]size, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	all := map[string]size{}
	for _, d := range manifest.Manifests {
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		m, err := img.Manifest()
		if err != nil {
			return nil, err
		}
		layers, err := img.Layers()
		if err != nil {
			return nil, err
		}
		s := size{pulled: d.Size + m.Config.Size}
		for i, layer := range layers {
			content, err := layer.Uncompressed()
			if err != nil {
				return nil, err
			}
			n, err := io.Copy(io.Discard, content)
			if err = errors.Join(err, content.Close()); err != nil {
				return nil, err
			}
			s.pulled, s.unpacked = s.pulled+m.Layers[i].Size, s.unpacked+n
		}
		all[d.Platform.String()] = s
	}
	return all, nil
}

// maxPulled is what an image may be to pull, for each platform: docs/operations.md promises it. What is linked in
// without being needed is found here.
const maxPulled = 40_000_000

// report says what an image has become. One that is larger than promised is an error.
func report(w io.Writer, archive string, src source, img image, index v1.ImageIndex) error {
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	all, err := sizes(index)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s is in %s\n  digest %s\n", img.tag(src.version), archive, digest)
	var errs []error
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, p := range platforms {
		s := all[p.String()]
		fmt.Fprintf(table, "  %s\t%.1f MB to pull\t%.1f MB unpacked\t\n", p, float64(s.pulled)/1e6, float64(s.unpacked)/1e6)
		if s.pulled > maxPulled {
			errs = append(errs, fmt.Errorf("%s is %.1f MB to pull, which is more than %d MB: see what has been linked in",
				p, float64(s.pulled)/1e6, maxPulled/1_000_000))
		}
	}
	return errors.Join(append(errs, table.Flush())...)
}
