#!/usr/bin/env bash
# Runs a test program of `make test` when it is its turn: hack/turn.sh PROGRAM ARGUMENT... (go test -exec).
#
# test/integration takes longest, and waits for most of that time: it runs beside all others. Of those, each has a
# control plane, a browser or the race detector to keep a core busy, so they run one after the other. go test -p counts
# what compiles and what runs alike: without turns, what is still to be compiled would wait for tests, or tests for tests.
set -euo pipefail
program=${1##*/}
if [[ $program == integration.test ]] || ! command -v flock >/dev/null; then
    exec "$@"
fi
exec flock --close "${BASH_SOURCE[0]}" "$@"
