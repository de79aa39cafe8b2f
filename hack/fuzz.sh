#!/usr/bin/env bash
# Fuzzes every parser for SECONDS each: hack/fuzz.sh [SECONDS]. With 0 it builds them alone. Two run side by side, with
# one worker each.
#
# They are found by their names in the tests, so none is forgotten. Each is ended by an interrupt, and not by -fuzztime:
# at the end of its time, Go's coordinator of fuzzing may see the deadline before its workers' context does, and then
# fails with "context deadline exceeded" where nothing has failed (internal/fuzz, CoordinateFuzzing). An interrupt it
# takes for what it is, whoever sees it first. It goes to the coordinator alone, which ends its workers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export seconds=${1:-30}
export logs=$PWD/bin/log/fuzz programs=$PWD/bin/fuzz
if (( seconds > 0 )); then
    rm -rf "$logs" "$programs"
    mkdir -p "$logs" "$programs"
else # only for Go's build cache, and perhaps while others are being run
    programs=$(mktemp -d)
    trap 'rm -rf "$programs"' EXIT
fi

# What guides a fuzzer is which branches of our own code an input takes, and of the parser of HTML. `go test -fuzz` would
# instrument, and so compile once more, all that a package and its tests depend on, Kubernetes' client for one: more than
# a third of all that had to be compiled before a first `make test`.
guided=(-gcflags={github.com/letmepost/letmepost-operator,golang.org/x/net/html}/...=-d=libfuzzer\ -dwarf=false)

build() {
    local package
    for package in "$@"; do
        go test -c -ldflags="-s -w" -o "$programs/${package//\//-}" "${guided[@]}" "./$package"
    done
}

fuzz() {
    local package=$1 target=$2 log=$logs/$2.log rc=0
    (
        cd "$package" && # where its corpus is
        timeout --foreground --signal=INT --preserve-status --kill-after=60 "$seconds" \
            "$programs/${package//\//-}" -test.run NONE -test.fuzz "^$target\$" -test.fuzzminimizetime 10x -test.parallel 1 \
            -test.fuzzcachedir "$(go env GOCACHE)/fuzz/letmepost-operator/$package"
    ) >"$log" 2>&1 || rc=$?
    if (( rc != 0 )) || grep -q "without coverage guidance" "$log"; then
        { echo "$target of $package failed:"; cat "$log"; } >&2
        return 1
    fi
    echo "$target of $package: $(grep execs: "$log" | tail -n 1 | sed -E 's/^fuzz: elapsed: //; s,\([0-9]+/sec\),,')"
}
export -f fuzz

targets=$(grep -rHoE --include='*_test.go' '^func Fuzz\w+\(f \*testing\.F\)' internal cmd api test |
    sed -E 's|^(.*)/[^/]+:func (Fuzz[A-Za-z0-9_]+).*|\1 \2|' | sort)
build $(cut -d' ' -f1 <<<"$targets" | sort -u)
(( seconds > 0 )) || exit 0
echo "fuzzing $(wc -l <<<"$targets") parsers for $seconds s each, two at a time"
xargs -P 2 -L 1 bash -euo pipefail -c 'fuzz "$@"' fuzz <<<"$targets"
