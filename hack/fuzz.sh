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
export logs=bin/log/fuzz
rm -rf "$logs"
mkdir -p "$logs"

fuzz() {
    local package=$1 target=$2 log=$logs/$2.log exec="true"
    (( seconds == 0 )) || exec="timeout --foreground --signal=INT --preserve-status --kill-after=60 $seconds"
    if ! go test "./$package" -run NONE -fuzz "^$target\$" -fuzzminimizetime 10x -parallel 1 -exec "$exec" >"$log" 2>&1; then
        { echo "$target of $package failed:"; cat "$log"; } >&2
        return 1
    fi
    (( seconds == 0 )) || echo "$target of $package: $(grep execs: "$log" | tail -n 1 | sed -E 's/^fuzz: elapsed: //; s,\([0-9]+/sec\),,')"
}
export -f fuzz

targets=$(grep -rHoE --include='*_test.go' '^func Fuzz\w+\(f \*testing\.F\)' internal cmd api test |
    sed -E 's|^(.*)/[^/]+:func (Fuzz[A-Za-z0-9_]+).*|\1 \2|' | sort)
echo "fuzzing $(wc -l <<<"$targets") parsers for $seconds s each, two at a time"
xargs -P 2 -L 1 bash -euo pipefail -c 'fuzz "$@"' fuzz <<<"$targets"
