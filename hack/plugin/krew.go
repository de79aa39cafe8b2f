// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// releases is where the archives of a release are.
const releases = "https://github.com/letmepost/letmepost-operator/releases/download"

// manifest is what krew installs the plugin by. sums are those of the archives, in the order of platforms.
func manifest(version string, sums []string) []byte {
	var text strings.Builder
	fmt.Fprintf(&text, `# Written by make plugin. krew: https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: letmepost
spec:
  version: v%s
  homepage: https://github.com/letmepost/letmepost-operator
  shortDescription: Mint, rotate and revoke API keys
  description: |
    API keys of letmepost-operator as verbs: list, mint, revoke until that is
    confirmed, rotate in steps that can be interrupted, and see who uses them.
  platforms:
`, version)
	for i, p := range platforms {
		fmt.Fprintf(&text, `    - selector:
        matchLabels:
          os: %s
          arch: %s
      uri: %s/v%s/%s
      sha256: "%s"
      bin: %s
      files:
        - {from: %s, to: .}
        - {from: LICENSE, to: .}
`, p.os, p.arch, releases, version, p.archive(), sums[i], p.program(), p.program())
	}
	return []byte(text.String())
}
