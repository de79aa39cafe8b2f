#!/usr/bin/env bash
# Builds promtool, which checks and tests the chart's alert rules, into bin/tools.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$module/../.." && pwd)
out=$root/bin/tools
# shellcheck source=hack/gobuild.sh
source "$root/hack/gobuild.sh"

# Rules need none of the clouds in which Prometheus finds its targets: without them there is half as much to build.
go_tags+=,remove_all_sd
go_program "$module" "$out" promtool github.com/prometheus/prometheus/cmd/promtool "2 min" "-s -w"
