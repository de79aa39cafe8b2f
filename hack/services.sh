#!/usr/bin/env bash
# Installs the servers that tests run, PostgreSQL, PgBouncer and Redis (or Valkey), from the distribution's packages if they are
# not there. Tests start them by themselves, on free ports: no service is left running.
set -euo pipefail
# shellcheck source=hack/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

has_postgres() {
    [[ -n ${LMP_TEST_POSTGRES_URL:-} ]] || command -v postgres >/dev/null ||
        compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null # where Debian puts it, which is not on the PATH
}
has_pgbouncer() { command -v pgbouncer >/dev/null || [[ -x /usr/sbin/pgbouncer ]]; }
has_redis() {
    [[ -n ${LMP_TEST_REDIS_URL:-} ]] || command -v redis-server >/dev/null || command -v valkey-server >/dev/null
}

missing=()
has_postgres || missing+=(postgresql)
has_pgbouncer || missing+=(pgbouncer)
has_redis || missing+=(redis-server)
[[ ${#missing[@]} == 0 ]] && exit 0
otherwise="With postgres, pgbouncer and redis-server (or valkey-server) on the PATH, or LMP_TEST_POSTGRES_URL and \
LMP_TEST_REDIS_URL set to servers that run, this step is skipped."
install_packages "make test" "$otherwise" "${missing[@]}"
for server in postgres pgbouncer redis; do
    "has_$server" && continue
    echo "the packages are installed, but there is no $server in them that tests can find." >&2
    exit 1
done
