#!/usr/bin/env bash
# Builds gitleaks, which the tests have look for keys by the rules of docs/examples/scanners, into bin/tools.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$module/../.." && pwd)
out=$root/bin/tools
# shellcheck source=hack/gobuild.sh
source "$root/hack/gobuild.sh"

go_program "$module" "$out" gitleaks github.com/zricethezav/gitleaks/v8 "40 s" "-s -w"
