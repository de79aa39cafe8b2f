#!/usr/bin/env bash
# Installs spin, the model checker of test/model, from the distribution's packages if it is not there.
set -euo pipefail
# shellcheck source=hack/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

command -v spin >/dev/null && exit 0
install_packages "test/model" "With spin (https://spinroot.com) on the PATH, this step is skipped." spin
