# shellcheck shell=bash
# Installs what tests need from npm, and says what it is doing while it does it. Sourced by the build.sh of each, in the
# project's folder. Nothing of it is in the product. Node and npm come from the distribution's packages if they are not
# there.
#
# A folder under bin/ is up to date when its stamp holds the hash of everything that decides what is in it.

# shellcheck source=hack/gobuild.sh
source hack/gobuild.sh
# shellcheck source=hack/packages.sh
source hack/packages.sh

# npm_install NAME WHAT NEEDS NODE EXPECTED installs hack/NAME's lock file into bin/NAME. WHAT is what people call it,
# NEEDS which Node it needs, and NODE an expression that is true in such a one.
npm_install() {
    local name=$1 what=$2 needs=$3 node=$4 expected=$5
    local out=bin/$name stamp=bin/$name/.stamp log=bin/log/$name.log want began
    if ! { command -v npm >/dev/null && command -v node >/dev/null && node -e "process.exit($node ? 0 : 1)"; }; then
        install_packages "$what" "With node ($needs or later) and npm on the PATH, this step is skipped." nodejs npm
    fi
    want=$({
        cat "hack/$name/package.json" "hack/$name/package-lock.json"
        node --version
    } | sha256sum | cut -d' ' -f1)
    mkdir -p "$out" bin/log
    # Not part of the stamp: it is only copied.
    if [[ -e hack/$name/serve.mjs ]]; then cp "hack/$name/serve.mjs" "$out/"; fi
    if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then return 0; fi

    # What is compiled takes Node's headers from where Node is, if they are there: they would be downloaded otherwise.
    local prefix
    prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
    if [[ -e $prefix/include/node/node.h ]]; then export npm_config_nodedir=$prefix; fi

    echo "installing $what from npm (first time about $expected on two cores)"
    rm -f "$stamp"
    began=$SECONDS
    if ! tick "$what" "$log" npm_try "$name"; then
        {
            echo "installing $what failed: npm ci in $out. The end of its output:"
            tail -n 20 "$log" | sed 's/^/    /'
            echo "All of it is in $log"
        } >&2
        return 1
    fi
    echo "$want" >"$stamp"
    echo "installed $what in $((SECONDS - began)) s"
}

# npm_try NAME asks a registry again that does not answer at once: it has hundreds of packages to give.
npm_try() { npm_once "$1" || { sleep 5 && npm_once "$1"; } || { sleep 20 && npm_once "$1"; }; }

npm_once() {
    rm -rf "bin/$1/node_modules"
    cp "hack/$1/package.json" "hack/$1/package-lock.json" "bin/$1/"
    npm ci --prefix "bin/$1" --no-audit --no-fund --loglevel=error
}
