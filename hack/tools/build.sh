#!/usr/bin/env bash
# Builds the pinned development tools into bin/tools.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$module/../.." && pwd)
out=$root/bin/tools
# shellcheck source=hack/gobuild.sh
source "$root/hack/gobuild.sh"

go_program "$module" "$out" controller-gen sigs.k8s.io/controller-tools/cmd/controller-gen "20 s" "-s -w"
# golangci-lint with kube-api-linter compiled in: one binary runs every rule of .golangci.yml.
go_program "$module" "$out" golangci-lint sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter "2 min" "-s -w"
