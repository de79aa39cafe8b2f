#!/usr/bin/env bash
# Installs the proxies that tests put before a service: nginx, HAProxy and Caddy from the distribution's packages if they
# are not there, and the newest Caddy from Go modules. Tests start them by themselves, on free ports: no service is left
# running.
set -euo pipefail
"$(dirname "${BASH_SOURCE[0]}")/caddy/build.sh"
# shellcheck source=hack/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

PATH=$PATH:/usr/sbin
command -v nginx >/dev/null && command -v haproxy >/dev/null && command -v caddy >/dev/null && exit 0
install_packages "test/integration" "With nginx, haproxy and caddy on the PATH, this step is skipped." nginx haproxy caddy
