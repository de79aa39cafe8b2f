#!/usr/bin/env bash
# Prints what `make up` and `make test` have to compile on a machine that has compiled nothing yet, in seconds of
# processor time, part by part: hack/coldbuild.sh [TREE]. It builds a copy of the tree's last commit (of this one by
# default) with an empty build cache, runs nothing of it, and removes both. Modules are downloaded beforehand.
set -euo pipefail

tree=$(cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}" && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
git -c advice.detachedHead=false clone -q "$tree" "$work/tree"
cd "$work/tree"
for module in . hack/*/; do
    [[ -f $module/go.mod ]] && go mod download -C "$module"
done
export GOCACHE=$work/cache

total=0
# part NAME COMMAND... runs a command and adds up what it took.
part() {
    local name=$1 spent
    shift
    TIMEFORMAT='%U %S'
    spent=$({ time "$@" >"$work/log" 2>&1; } 2>&1) || { cat "$work/log" >&2; exit 1; }
    spent=$(awk '{ printf "%.0f", $1 + $2 }' <<<"$spent")
    total=$((total + spent))
    printf '%7d s  %s\n' "$spent" "$name"
}
sum() { printf '%7d s  %s\n\n' "$total" "$1"; }

part "etcd, kube-apiserver, kube-controller-manager" make controlplane
part "controller, api, up" make build
sum "of processor time before a first \`make up\`"

part "helm" make helm
part "promtool" make promtool
part "gitleaks" make gitleaks
# With `true` in place of each test program, go builds and vets all of them, and runs none. A command may go over several
# lines, and wants the flags that make exports.
GOFLAGS=$(make -pn help | sed -n 's/^GOFLAGS := //p')
export GOFLAGS
while read -r command; do
    part "${command%% # *}" bash -c "$(sed -E 's/ -exec "[^"]*"//; s/go test( -C [^ ]+)?/& -exec true/' <<<"$command")"
done < <(make -n test | sed -e ':more' -e '/\\$/{N;s/\\\n\s*/ /;b more' -e '}' | grep 'go test ' | sed 's/^\s*//')
part "the fuzzers" make fuzzers
sum "of processor time before a first \`make test\`, those of \`make up\` included"

part "controller-gen, golangci-lint" make tools
sum "with what \`make verify\` adds"
