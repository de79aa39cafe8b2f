#!/usr/bin/env bash
# Installs a real authorization server from npm into bin/oauth, which tests of OAuth run against. Nothing of it is in
# the product. Node and npm come from the distribution's packages if they are not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=hack/gobuild.sh
source hack/gobuild.sh
# shellcheck source=hack/packages.sh
source hack/packages.sh

out=bin/oauth stamp=bin/oauth/.stamp log=bin/log/oauth.log
has_node() { command -v npm >/dev/null && command -v node >/dev/null && node -e 'process.exit(require("crypto").hash ? 0 : 1)'; }
has_node || install_packages "the authorization server of the tests" \
    "With node (20.12 or later) and npm on the PATH, this step is skipped." nodejs npm

want=$({
    cat hack/oauth/package.json hack/oauth/package-lock.json
    node --version
} | sha256sum | cut -d' ' -f1)
mkdir -p "$out" bin/log
cp hack/oauth/serve.mjs "$out/" # not part of the stamp: it is only copied
[[ -f $stamp && $(<"$stamp") == "$want" ]] && exit 0

install() {
    rm -rf "$out/node_modules"
    cp hack/oauth/package.json hack/oauth/package-lock.json "$out/"
    npm ci --prefix "$out" --no-audit --no-fund --loglevel=error
}
# A registry that does not answer at once is asked again.
try() { install || { sleep 5 && install; } || { sleep 20 && install; }; }

echo "installing an authorization server from npm (some seconds)"
rm -f "$stamp"
began=$SECONDS
if ! tick "an authorization server" "$log" try; then
    {
        echo "installing the authorization server of the tests failed: npm ci in $out. The end of its output:"
        tail -n 20 "$log" | sed 's/^/    /'
        echo "All of it is in $log"
    } >&2
    exit 1
fi
echo "$want" >"$stamp"
echo "installed an authorization server in $((SECONDS - began)) s"
