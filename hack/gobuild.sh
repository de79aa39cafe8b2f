# shellcheck shell=bash
# Builds the pinned programs of a module under hack/, and says what it is doing while it does it.
# Sourced by the build.sh of each.
#
# A program is up to date when its stamp holds the hash of everything that decides its bytes: the module's
# go.mod, go.sum and own files, the Go version, the package and the flags. Each build goes to a temporary name that is
# renamed at the end, so an interrupted build never leaves half a program behind.

tick_seconds=15

# With the flags below, each package is compiled once for all programs: these are those of the product's images.
go_tags=grpcnotrace

# As in the Makefile, which says why.
[[ ${GOFLAGS:-} == *-toolexec* ]] || \
    export GOFLAGS="${GOFLAGS:-} -gcflags=all=-dwarf=false '-toolexec=env GOGC=off GOMEMLIMIT=1500MiB'"

# tick LABEL LOG COMMAND... runs a command with its output in LOG, and says every few seconds that it still
# runs: a terminal, a CI log and a person who wonders all need to see the difference between slow and stuck.
tick() {
    local label=$1 log=$2 started=$SECONDS pid ticker rc=0
    shift 2
    "$@" >"$log" 2>&1 &
    pid=$!
    (
        nap=
        trap 'kill $nap 2>/dev/null; exit 0' TERM
        while :; do
            sleep "$tick_seconds" >/dev/null 2>&1 & nap=$!
            wait "$nap"
            echo "    $label: $((SECONDS - started)) s so far"
        done
    ) &
    ticker=$!
    # The shell starts background commands with SIGINT ignored, so a Ctrl-C has to be passed on.
    trap 'kill "$pid" "$ticker" 2>/dev/null; exit 130' INT TERM
    wait "$pid" || rc=$?
    trap - INT TERM
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    return "$rc"
}

# go_program MODULE_DIR OUT_DIR NAME PACKAGE EXPECTED LDFLAGS builds one program when it is not up to date.
go_program() {
    local module=$1 out=$2 name=$3 package=$4 expected=$5 ldflags=$6
    local log=$out/log/$name.log stamp=$out/.$name.stamp temp=$out/.$name.$$ want started=$SECONDS
    mkdir -p "$out/log"
    want=$({
        find "$module" -type f ! -name '*.sh' ! -name '*_test.go' | sort | xargs cat
        go version
        echo "$package $ldflags $go_tags"
    } | sha256sum | cut -d' ' -f1)
    if [[ -x $out/$name && -f $stamp && $(<"$stamp") == "$want" ]]; then
        return 0
    fi
    trap "rm -f '$temp'" EXIT
    echo "building $name (first time about $expected on two cores; seconds when Go's build cache is warm)"
    if ! CGO_ENABLED=0 tick "$name" "$log" \
        go build -C "$module" -trimpath -tags="$go_tags" -buildvcs=false -ldflags="$ldflags" -o "$temp" "$package"; then
        rm -f "$temp"
        {
            echo "building $name failed: go build $package (in $module). The end of its output:"
            tail -n 20 "$log" | sed 's/^/    /'
            echo "All of it is in $log"
        } >&2
        return 1
    fi
    # The stamp goes first and comes last: with the old stamp gone, an interrupt here only costs a rebuild.
    rm -f "$stamp"
    mv "$temp" "$out/$name"
    echo "$want" >"$stamp"
    echo "built $name in $((SECONDS - started)) s"
}
