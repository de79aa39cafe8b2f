#!/usr/bin/env bash
# Installs the servers that tests run, PostgreSQL and Redis (or Valkey), from the distribution's packages if they are not
# there. Tests start them by themselves, on free ports: no service is left running.
set -euo pipefail

has_postgres() {
    [[ -n ${LMP_TEST_POSTGRES_URL:-} ]] || command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null
}
has_redis() {
    [[ -n ${LMP_TEST_REDIS_URL:-} ]] || command -v redis-server >/dev/null || command -v valkey-server >/dev/null
}

missing=()
has_postgres || missing+=(postgresql)
has_redis || missing+=(redis-server)
[[ ${#missing[@]} == 0 ]] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "the tests need ${missing[*]}: install them with your package manager (postgres and redis-server or valkey-server" >&2
    echo "on the PATH), or set LMP_TEST_POSTGRES_URL and LMP_TEST_REDIS_URL to servers that run, and try again." >&2
    exit 1
fi
echo "installing ${missing[*]} (tests need them)"
as_root=()
if [[ $(id -u) != 0 ]]; then as_root=(sudo); fi

log=$(mktemp)
undo=()
cleanup() {
    rm -f "$log"
    for file in "${undo[@]}"; do "${as_root[@]}" rm -f "$file"; done
}
trap cleanup EXIT
# Packages start their services when they are installed, unless the machine's policy says no (invoke-rc.d), and Debian's
# PostgreSQL makes a cluster, unless its configuration says no. Both say no for as long as this runs.
say_no() { # FILE CONTENT [MODE]
    [[ -e $1 ]] && return
    undo+=("$1")
    "${as_root[@]}" mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" | "${as_root[@]}" tee "$1" >/dev/null
    "${as_root[@]}" chmod "${3:-644}" "$1"
}
say_no /usr/sbin/policy-rc.d $'#!/bin/sh\nexit 101' 755
say_no /etc/postgresql-common/createcluster.d/letmepost-tests.conf 'create_main_cluster = false'

install() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; }
# The lists of packages may be missing or old, as they are in a fresh container.
if ! install >"$log" 2>&1 && ! { "${as_root[@]}" apt-get update && install; } >>"$log" 2>&1; then
    cat "$log" >&2
    echo "${missing[*]} could not be installed, see above. With postgres and redis-server (or valkey-server) on the PATH, or" >&2
    echo "LMP_TEST_POSTGRES_URL and LMP_TEST_REDIS_URL set to servers that run, this step is skipped." >&2
    exit 1
fi
for server in postgres redis; do
    "has_$server" || { echo "the packages are installed, but there is no $server in them that tests can find." >&2; exit 1; }
done
