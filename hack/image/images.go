// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// image is one of the images. Its name is that of the process: cmd/NAME, entrypoint /NAME, repository letmepost/NAME.
type image struct {
	name, title, description string
	ports                    []string // that the process listens on by default
}

var images = []image{
	{
		name:        "controller",
		title:       "letmepost controller",
		description: "Mints API keys from ApiKey resources of a Kubernetes cluster, once each, and keeps only their hashes.",
		ports:       []string{"8080/tcp", "8081/tcp"},
	},
	{
		name:        "api",
		title:       "letmepost API",
		description: "Serves letmepost's HTTP API for one environment, to the keys of that environment.",
		ports:       []string{"8080/tcp", "9090/tcp"},
	},
	{
		name:        "gate",
		title:       "letmepost gate",
		description: "Tells proxies who may pass, by letmepost's API keys.",
		ports:       []string{"8080/tcp", "9000/tcp", "9090/tcp"},
	},
}

// platforms of every image, in the order of its index.
var platforms = []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}

// user is numeric, since a kubelet can't tell that a user with a name isn't root (runAsNonRoot).
const user = "65532:65532"

const (
	sourceURL        = "https://github.com/letmepost/letmepost-operator"
	documentationURL = "https://docs.letmepost.dev"
)

// tag is the image's name without the registry's, as the chart has it.
func (i image) tag(version string) string { return "letmepost/" + i.name + ":" + version }

// fullName is the name that a node's container runtime gives the image when a pod asks for tag. The rules for that are
// in the package that containerd's CRI plugin uses too; they put a host in front of a name that has none.
func (i image) fullName(version string) (string, error) {
	named, err := reference.ParseNormalizedNamed(i.tag(version))
	if err != nil {
		return "", fmt.Errorf("name of the image: %w", err)
	}
	return named.String(), nil
}

// labels are the OCI annotation keys (opencontainers/image-spec, annotations.md). There is no revision: a commit that
// changes none of the inputs would give another digest then, and a source archive, which has no commit, too.
func (i image) labels(version string) map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":         i.title,
		prefix + "description":   i.description,
		prefix + "version":       version,
		prefix + "licenses":      "Apache-2.0",
		prefix + "source":        sourceURL,
		prefix + "documentation": documentationURL,
	}
}

// config says how to run the image. It has no PATH, no shell and no command but the process.
func (i image) config(version string) v1.Config {
	ports := map[string]struct{}{}
	for _, p := range i.ports {
		ports[p] = struct{}{}
	}
	return v1.Config{
		User:         user,
		Entrypoint:   []string{"/" + i.name},
		WorkingDir:   "/",
		ExposedPorts: ports,
		Labels:       i.labels(version),
	}
}
