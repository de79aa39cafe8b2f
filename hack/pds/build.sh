#!/usr/bin/env bash
# Installs a real server of the AT Protocol (a PDS) from npm into bin/pds, which tests of Bluesky run against.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/npm.sh
source hack/npm.sh

npm_install pds "a PDS for the tests" 18.7 'process.versions.node.split(".")[0] >= 18' "2 min"
