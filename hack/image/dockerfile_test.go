// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const root = "../.."

// stages are those of the Dockerfile by name, each with its lines; continued lines are one.
func stages(t *testing.T) map[string][]string {
	t.Helper()
	text := strings.ReplaceAll(string(read(t, root, "Dockerfile")), "\\\n", " ")
	all, name := map[string][]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if _, after, ok := strings.Cut(line, " AS "); ok && strings.HasPrefix(line, "FROM ") {
			name = after
		}
		if line != "" && !strings.HasPrefix(line, "#") {
			all[name] = append(all[name], line)
		}
	}
	return all
}

// Images of the Dockerfile are run like those of this program. Their label of the version is missing: that would be one
// more place to change at a release.
func TestDockerfileConfig(t *testing.T) {
	label := regexp.MustCompile(`([a-z.]+)="([^"]*)"`)
	for _, img := range images {
		lines := stages(t)[img.name]
		if len(lines) == 0 || lines[0] != "FROM scratch AS "+img.name {
			t.Fatalf("no stage of %s that has nothing but its files: %q", img.name, lines)
		}
		got := v1.Config{Labels: map[string]string{}, ExposedPorts: map[string]struct{}{}}
		for _, line := range lines[1:] {
			switch instruction, rest, _ := strings.Cut(line, " "); instruction {
			case "COPY":
				if rest != "--from=build /var/build/"+img.name+"/ /" {
					t.Errorf("%s copies %s", img.name, rest)
				}
			case "USER":
				got.User = rest
			case "WORKDIR":
				got.WorkingDir = rest
			case "EXPOSE":
				for _, port := range strings.Fields(rest) {
					got.ExposedPorts[port] = struct{}{}
				}
			case "ENTRYPOINT":
				if err := json.Unmarshal([]byte(rest), &got.Entrypoint); err != nil {
					t.Errorf("%s starts through a shell that it does not have: %s", img.name, rest)
				}
			case "LABEL":
				for _, m := range label.FindAllStringSubmatch(rest, -1) {
					got.Labels[m[1]] = m[2]
				}
			default:
				t.Errorf("%s: this program knows nothing like %s", img.name, line)
			}
		}
		want := img.config("1.0.0")
		delete(want.Labels, "org.opencontainers.image.version")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-this program +Dockerfile):\n%s", img.name, diff)
		}
	}
}

// The build stage has no flags of its own: it calls this program, with the Go version that go.mod asks for or a later
// one.
func TestDockerfileBuild(t *testing.T) {
	build := strings.Join(stages(t)["build"], "\n")
	if strings.Contains(build, "go build") || !strings.Contains(build, "go run ./hack/image -image $image -platform $TARGETOS/$TARGETARCH -rootfs /var/build/$image") {
		t.Errorf("the build stage does not leave the build to hack/image:\n%s", build)
	}
	uses := regexp.MustCompile(`golang:(1\.[0-9]+)`).FindStringSubmatch(build)
	asks := regexp.MustCompile(`(?m)^go (1\.[0-9]+)`).FindStringSubmatch(string(read(t, root, "go.mod")))
	if uses == nil || asks == nil || uses[1] != asks[1] {
		t.Errorf("the Dockerfile uses %q, and go.mod asks for %q", uses, asks)
	}
}

// What the build reads is in the context of a Docker build.
func TestDockerignore(t *testing.T) {
	ignored := string(read(t, root, ".dockerignore"))
	for _, name := range []string{"LICENSE", "go.mod", "go.sum", "api", "cmd", "internal", "hack/image", filepath.ToSlash(chartFile)} {
		if !strings.Contains(ignored, "\n!"+name+"\n") {
			t.Errorf("%s is left out of the context", name)
		}
	}
}
