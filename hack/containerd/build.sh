#!/usr/bin/env bash
# Builds the node's container runtime, containerd, into bin/k8s. The runc under it comes from the distribution: it needs
# cgo and libseccomp. See hack/node.sh.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$module/../.." && pwd)
# shellcheck source=hack/gobuild.sh
source "$root/hack/gobuild.sh"

version=$(awk '$1 == "github.com/containerd/containerd/v2" && $2 ~ /^v/ { print $2 }' "$module/go.mod")
# kubelet reads the version, and falls back to older ways when there is none.
ldflags="-s -w -X github.com/containerd/containerd/v2/version.Version=$version"
for program in containerd containerd-shim-runc-v2 ctr; do
    go_program "$module" "$root/bin/k8s" "$program" "github.com/containerd/containerd/v2/cmd/$program" "20 s" "$ldflags"
done
