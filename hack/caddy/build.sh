#!/usr/bin/env bash
# Builds the newest Caddy, pinned, into bin/tools/caddy: Debian's is of another time, and its forward_auth another one.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$module/../.." && pwd)
# shellcheck source=hack/gobuild.sh
source "$root/hack/gobuild.sh"

# Without the databases that certificates could be kept in, which only make it larger.
go_tags+=,nobadger,nomysql,nopgx
go_program "$module" "$root/bin/tools" caddy . "60 s" "-s -w"
