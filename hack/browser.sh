#!/usr/bin/env bash
# Installs Chromium, in which tests see what people see, from the distribution's packages if it is not there.
set -euo pipefail
# shellcheck source=hack/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

for browser in chromium chromium-browser google-chrome; do
    command -v "$browser" >/dev/null && exit 0
done
install_packages "make test" "With chromium or google-chrome on the PATH, this step is skipped." chromium
