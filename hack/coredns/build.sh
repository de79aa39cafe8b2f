#!/usr/bin/env bash
# Builds the node's DNS server into bin/k8s/coredns.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$module/../.." && pwd)
# shellcheck source=hack/gobuild.sh
source "$root/hack/gobuild.sh"

go_program "$module" "$root/bin/k8s" coredns . "50 s" "-s -w"
