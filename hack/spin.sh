#!/usr/bin/env bash
# Installs spin, the model checker of test/model, from the distribution's packages if it is not there.
set -euo pipefail

command -v spin >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
    echo "test/model needs spin, https://spinroot.com: install it with your package manager, and try again." >&2
    exit 1
fi
echo "installing spin (test/model needs it)"
as_root=()
if [[ $(id -u) != 0 ]]; then as_root=(sudo); fi
install() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends spin; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists of packages may be missing or old, as they are in a fresh container.
if ! install >"$log" 2>&1 && ! { "${as_root[@]}" apt-get update && install; } >>"$log" 2>&1; then
    cat "$log" >&2
    echo "spin could not be installed, see above. With it on the PATH, this step is skipped." >&2
    exit 1
fi
