#!/usr/bin/env bash
# Builds the processes of the version before, from which `make e2e` upgrades, into bin/previous. Their source is in the
# project's history. The chart of that version is test/e2e/testdata/letmepost-operator-0.1.0.tgz.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$root/bin/previous
# shellcheck source=hack/gobuild.sh
source "$root/hack/gobuild.sh"

# The last commit before there was a chart: found by what it says, as hashes change when a history is copied.
last="Keep a database to one environment: with one for both, the live API would run what the test API has scheduled"
commit=$(git -C "$root" log -1 --format=%H --fixed-strings --grep="$last" 2>/dev/null || true)
mkdir -p "$out/log"
want=$({ echo "$commit"; go version; cat "$root/go.mod"; } | sha256sum | cut -d' ' -f1)
if [[ -n $commit && -x $out/api && -x $out/controller && -f $out/.stamp && $(<"$out/.stamp") == "$want" ]]; then
    exit 0
fi
rm -rf "$out/source" "$out/.stamp"
source=$out/source
if [[ -n $commit ]]; then
    mkdir -p "$source"
    git -C "$root" archive "$commit" | tar -x -C "$source"
else
    source=$root
    echo "the version before is not in the history here (a shallow clone, an archive): its chart gets today's processes"
fi
# Its own code, with those of its libraries that are used today at the versions of today: they are compiled already, and
# are not what has changed.
cp "$source/go.mod" "$out/go.mod"
sort -u "$root/go.sum" "$source/go.sum" >"$out/go.sum"
mapfile -t today < <(awk '$1 != "require" && $2 ~ /^v/ { print "-require=" $1 "@" $2 }' "$root/go.mod")
go mod edit "${today[@]}" "$out/go.mod"
echo "building the version before, which is upgraded from (first time about 1 min on two cores)"
began=$SECONDS
if ! CGO_ENABLED=0 tick "version before" "$out/log/build.log" \
    go build -C "$source" -modfile="$out/go.mod" -trimpath -tags="$go_tags" -buildvcs=false -ldflags="-s -w" \
    -o "$out/" ./cmd/controller ./cmd/api; then
    cat "$out/log/build.log" >&2
    echo "building the version before failed, see above" >&2
    exit 1
fi
rm -rf "$out/source"
echo "$want" >"$out/.stamp"
echo "built the version before in $((SECONDS - began)) s"
