#!/usr/bin/env bash
# Regenerates everything that is generated and checked in, and fails when that changes a file: then somebody has
# edited a generated file, or an input without regenerating. Compares contents, so it works on a tree with changes
# that are not committed yet, too; in CI, where the tree is a clean clone, it proves that it stays clean.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

contents() {
    git ls-files --cached --others --exclude-standard -z | sort -zu | xargs -0 sha256sum 2>/dev/null || true
}

before=$(contents)
make --no-print-directory generate
after=$(contents)
if [[ $before != "$after" ]]; then
    {
        echo "make generate changed these files:"
        diff <(echo "$before") <(echo "$after") | awk '/^[<>]/ { print "    " $3 }' | sort -u
        echo "Run it and commit the result."
    } >&2
    exit 1
fi
if ! go mod tidy -diff >/dev/null; then
    echo "go.mod or go.sum is not tidy: run go mod tidy and commit the result." >&2
    exit 1
fi
echo "generated files are up to date, go.mod is tidy"
