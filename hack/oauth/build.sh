#!/usr/bin/env bash
# Installs a real authorization server from npm into bin/oauth, which tests of OAuth run against.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/npm.sh
source hack/npm.sh

npm_install oauth "an authorization server for the tests" 20.12 'require("crypto").hash' "10 s"
