// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// nameAnnotation is where an archive says what its image is called.
const nameAnnotation = "io.containerd.image.name"

// pauseImage is what holds a pod's namespaces while its containers come and go.
const pauseImage = "letmepost/pause:1"

// importImages imports the images that pods can have: those asked for, and the one that is in every pod.
func (s settings) importImages(ctx context.Context) error {
	images := append([]string{pauseImage + "=" + filepath.Join(s.Bin, "pause")}, s.Images...)
	for _, image := range images {
		var err error
		ref, file, named := strings.Cut(image, "=")
		switch {
		case !named:
			err = s.importArchive(ctx, image, "")
		case strings.HasSuffix(file, ".tar"):
			err = s.importArchive(ctx, file, ref)
		default:
			err = s.importBinary(ctx, ref, file)
		}
		if err != nil {
			return fmt.Errorf("image %s: %w", image, err)
		}
	}
	return nil
}

// importBinary imports an image of one program.
func (s settings) importBinary(ctx context.Context, ref, binary string) error {
	archive := s.file("image.tar")
	if err := writeImage(archive, ref, binary); err != nil {
		return err
	}
	return s.ctr(ctx, "images", "import", "--local", archive)
}

// importArchive imports an OCI archive, and calls what is in it by the name that kubelet asks for: containerd and
// kubelet write out the registry that a short name leaves away. It has that of the archive, unless another is given.
func (s settings) importArchive(ctx context.Context, archive, as string) error {
	ref, err := archiveName(archive)
	if err != nil {
		return err
	}
	if as == "" {
		as = ref
	}
	full, err := fullName(as)
	if err != nil {
		return err
	}
	if err := s.ctr(ctx, "images", "import", "--local", archive); err != nil || ref == full {
		return err
	}
	return s.ctr(ctx, "images", "tag", "--force", ref, full)
}

// ctr runs containerd's client.
func (s settings) ctr(ctx context.Context, arguments ...string) error {
	arguments = append([]string{"--address", containerdSocket, "--namespace", "k8s.io"}, arguments...)
	if out, err := exec.CommandContext(ctx, filepath.Join(s.Bin, "ctr"), arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("ctr: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// fullName is an image's name with the registry and the tag that it stands for.
func fullName(ref string) (string, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return "", err
	}
	// This library puts the default registry's API host where containerd and kubelet have its short name.
	full := parsed.Name()
	if parsed.Context().RegistryStr() == name.DefaultRegistry {
		full = strings.TrimPrefix(full, "index.")
	}
	return full, nil
}

// archiveName reads the name of the images in an OCI archive.
func archiveName(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return "", errors.New("no OCI archive: there is no index.json in it")
		} else if err != nil {
			return "", err
		}
		if filepath.Clean(header.Name) != "index.json" {
			continue
		}
		var index v1.IndexManifest
		if err := json.NewDecoder(archive).Decode(&index); err != nil {
			return "", fmt.Errorf("index.json: %w", err)
		}
		return indexName(index)
	}
}

// indexName is the one name in the index of an archive. Two descriptors, say one for each platform, would be two images
// of which containerd keeps the last.
func indexName(index v1.IndexManifest) (string, error) {
	if len(index.Manifests) != 1 {
		return "", fmt.Errorf(
			"index.json has %d images, and should have one: an index of all platforms",
			len(index.Manifests),
		)
	}
	found := index.Manifests[0].Annotations[nameAnnotation]
	if found == "" {
		return "", fmt.Errorf("index.json names no image: it has no annotation %s", nameAnnotation)
	}
	return found, nil
}

// writeImage writes an archive with an image of one static program, which it runs as /app and as nobody in particular.
func writeImage(path, ref, binary string) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	content, err := programTar(binary)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithCompressionLevel(gzip.NoCompression),
	)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: []string{"/app"}, User: "65532:65532"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	return tarball.WriteToFile(path, tag, image)
}

// programTar is a file system with a program in it, and a /tmp.
func programTar(binary string) ([]byte, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	archive := tar.NewWriter(&content)
	err = errors.Join(
		archive.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}),
		archive.WriteHeader(&tar.Header{Name: "app", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))}),
	)
	if err != nil {
		return nil, err
	}
	if _, err := archive.Write(program); err != nil {
		return nil, err
	}
	return content.Bytes(), archive.Close()
}
