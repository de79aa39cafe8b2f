#!/usr/bin/env bash
# Builds the pinned Helm into bin/tools/helm.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$module/../.." && pwd)
# shellcheck source=hack/gobuild.sh
source "$root/hack/gobuild.sh"

# `helm version` and what charts read as .Capabilities.HelmVersion.
version=$(awk '$1 == "helm.sh/helm/v4" { print $2 }' "$module/go.mod")
go_program "$module" "$root/bin/tools" helm helm.sh/helm/v4/cmd/helm "80 s" \
    "-s -w -X helm.sh/helm/v4/internal/version.version=$version"
