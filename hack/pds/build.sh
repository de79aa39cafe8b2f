#!/usr/bin/env bash
# Installs a real server of the AT Protocol (a PDS) from npm into bin/pds, which tests of Bluesky run against. Nothing of
# it is in the product. Node and npm come from the distribution's packages if they are not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/gobuild.sh
source hack/gobuild.sh
# shellcheck source=hack/packages.sh
source hack/packages.sh

out=bin/pds stamp=bin/pds/.stamp log=bin/log/pds.log
has_node() { command -v node >/dev/null && command -v npm >/dev/null && [[ $(node -p 'process.versions.node.split(".")[0]') -ge 18 ]]; }
has_node || install_packages "the server that Bluesky is tested against" \
    "With node (18.7 or later) and npm on the PATH, this step is skipped." nodejs npm

want=$({
    cat hack/pds/package.json hack/pds/package-lock.json
    node --version
} | sha256sum | cut -d' ' -f1)
mkdir -p "$out" bin/log
cp hack/pds/serve.mjs "$out/" # not part of the stamp: it is only copied
[[ -f $stamp && $(<"$stamp") == "$want" ]] && exit 0

# One module is compiled, for which Node's headers are taken from where Node is, if they are there: they would be
# downloaded otherwise.
prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
if [[ -e $prefix/include/node/node.h ]]; then export npm_config_nodedir=$prefix; fi

install() {
    rm -rf "$out/node_modules"
    cp hack/pds/package.json hack/pds/package-lock.json "$out/"
    npm ci --prefix "$out" --no-audit --no-fund --loglevel=error
}
# A registry that does not answer at once is asked again: it has hundreds of packages to give.
try() { install || { sleep 5 && install; } || { sleep 20 && install; }; }

echo "installing a PDS from npm (first time about 2 min on two cores)"
rm -f "$stamp"
began=$SECONDS
if ! tick "a PDS" "$log" try; then
    {
        echo "installing the server that Bluesky is tested against failed: npm ci in $out. The end of its output:"
        tail -n 20 "$log" | sed 's/^/    /'
        echo "All of it is in $log"
    } >&2
    exit 1
fi
echo "$want" >"$stamp"
echo "installed a PDS in $((SECONDS - began)) s"
