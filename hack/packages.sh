# shellcheck shell=bash
# Installs what tests run from the distribution's packages. Sourced by hack/spin.sh, hack/services.sh and hack/node.sh.

# install_packages WHO OTHERWISE PACKAGE... installs Debian packages for WHO, and starts no service of theirs. OTHERWISE
# says what to do where that can't be done.
install_packages() (
    set -euo pipefail
    who=$1 otherwise=$2
    shift 2
    if ! command -v apt-get >/dev/null; then
        echo "$who needs $* (names of Debian packages), and there is no apt-get here. $otherwise" >&2
        exit 1
    fi
    echo "installing $* ($who needs them)"
    as_root=()
    if [[ $(id -u) != 0 ]]; then as_root=(sudo); fi

    log=$(mktemp)
    undo=()
    cleanup() {
        rm -f "$log"
        for file in "${undo[@]}"; do "${as_root[@]}" rm -f "$file"; done
    }
    trap cleanup EXIT
    # Packages start their services when they are installed, unless the machine's policy says no (invoke-rc.d), and
    # Debian's PostgreSQL makes a cluster, unless its configuration says no. Both say no for as long as this runs.
    say_no() { # FILE CONTENT MODE
        [[ -e $1 ]] && return
        undo+=("$1")
        "${as_root[@]}" mkdir -p "$(dirname "$1")"
        printf '%s\n' "$2" | "${as_root[@]}" tee "$1" >/dev/null
        "${as_root[@]}" chmod "$3" "$1"
    }
    say_no /usr/sbin/policy-rc.d $'#!/bin/sh\nexit 101' 755
    say_no /etc/postgresql-common/createcluster.d/letmepost-tests.conf 'create_main_cluster = false' 644

    # Fresh machines like to update themselves at that very moment: dpkg's lock is waited for.
    apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"; }
    install() { apt install -y --no-install-recommends "$@"; }
    # The lists of packages may be missing or old, as they are in a fresh container.
    if ! install "$@" >"$log" 2>&1 && ! { apt update && install "$@"; } >>"$log" 2>&1; then
        cat "$log" >&2
        echo "$* could not be installed, see above. $otherwise" >&2
        exit 1
    fi
)
