#!/usr/bin/env bash
# Installs axe-core from npm into bin/axe, by which tests look for what keeps people from using the dashboard.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/npm.sh
source hack/npm.sh

npm_install axe "axe-core for the tests" 18.7 true "2 s"
