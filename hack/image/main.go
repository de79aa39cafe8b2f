// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command image builds the container images of the controller, the API and the gate, without a container engine.
//
// For each of them it writes into -out an archive NAME.tar, an OCI image layout with one index of all platforms, and
// NAME.cdx.json, the software bill of materials. The same source, Go version and -version give the same bytes, on every
// machine and at any time: docs/images.md says how to check that.
//
// With -rootfs DIR it writes the files of one image for one platform into DIR instead. That is how the Dockerfile gets
// the same files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"sigs.k8s.io/yaml"
)

// chartFile is the one place of the version: the tag that the chart asks for is the one that the images have.
const chartFile = "charts/letmepost-operator/Chart.yaml"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// source is what the images are made of.
type source struct {
	dir     string // the checkout
	version string
	created time.Time // the time of everything in the images
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	dir := flags.String("dir", ".", "`folder` of the checkout")
	out := flags.String("out", "bin/images", "`folder` for the archives and the bills of materials")
	version := flags.String("version", "", "version of the images; empty: appVersion of "+chartFile)
	rootfs := flags.String("rootfs", "", "write the files of one image into this `folder` instead; it must not exist")
	name := flags.String("image", "", "with -rootfs: controller, api or gate")
	platform := flags.String("platform", "", "with -rootfs: such as linux/amd64")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	src, err := newSource(*dir, *version, getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	if *rootfs != "" {
		return writeRootfs(ctx, src, *name, *platform, *rootfs)
	}
	for _, img := range images {
		if err := produce(ctx, src, img, *out, stdout); err != nil {
			return fmt.Errorf("image %s: %w", img.name, err)
		}
	}
	return nil
}

// validVersion is what may be both a tag of an image and a word of a linker flag.
var validVersion = regexp.MustCompile(`^[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}$`)

// newSource finds out the version and the time. epoch is that of SOURCE_DATE_EPOCH
// (reproducible-builds.org/specs/source-date-epoch), in seconds since 1970; "" is 0.
func newSource(dir, version, epoch string) (source, error) {
	if version == "" {
		var chart struct {
			AppVersion string `json:"appVersion"`
		}
		text, err := os.ReadFile(filepath.Join(dir, chartFile))
		if err != nil {
			return source{}, fmt.Errorf("find the version (or give -version): %w", err)
		}
		if err := yaml.Unmarshal(text, &chart); err != nil {
			return source{}, fmt.Errorf("%s: %w", chartFile, err)
		}
		version = chart.AppVersion
	}
	if !validVersion.MatchString(version) {
		return source{}, fmt.Errorf("version %q can't be the tag of an image", version)
	}
	seconds := int64(0)
	if epoch != "" {
		var err error
		if seconds, err = strconv.ParseInt(epoch, 10, 64); err != nil || seconds < 0 {
			return source{}, fmt.Errorf("SOURCE_DATE_EPOCH: want seconds since 1970, not %q", epoch)
		}
	}
	return source{dir: dir, version: version, created: time.Unix(seconds, 0).UTC()}, nil
}

// produce builds one image for all platforms, writes it and says what it has become.
func produce(ctx context.Context, src source, img image, out string, stdout io.Writer) error {
	var binaries []binary
	for _, p := range platforms {
		fmt.Fprintf(stdout, "building %s %s for %s\n", img.name, src.version, p)
		b, err := build(ctx, src, img, p)
		if err != nil {
			return err
		}
		binaries = append(binaries, b)
	}
	index, err := pack(src, img, binaries)
	if err != nil {
		return err
	}
	bill, err := billOfMaterials(src, img, index, binaries)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	archive := filepath.Join(out, img.name+".tar")
	if err := writeArchive(archive, src, img, index); err != nil {
		return fmt.Errorf("write %s: %w", archive, err)
	}
	if err := os.WriteFile(filepath.Join(out, img.name+".cdx.json"), bill, 0o644); err != nil {
		return err
	}
	return report(stdout, archive, src, img, index)
}

// writeRootfs writes the files of one image for one platform as they are in its layer, but for their owner and time.
func writeRootfs(ctx context.Context, src source, name, platform, dir string) error {
	p, err := v1.ParsePlatform(platform)
	if err != nil || p.OS != "linux" || p.Architecture == "" {
		return fmt.Errorf("-platform: want one such as linux/amd64, not %q", platform)
	}
	for _, img := range images {
		if img.name != name {
			continue
		}
		b, err := build(ctx, src, img, *p)
		if err != nil {
			return err
		}
		files, err := rootFiles(src, img, b)
		if err != nil {
			return err
		}
		return copyFiles(dir, files)
	}
	return fmt.Errorf("-image: want controller, api or gate, not %q", name)
}
