#!/usr/bin/env bash
# Builds the images once more, from a copy of the source in another folder and under another user's settings, and
# compares them byte by byte with those in bin/images.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/source"
cd "$root"
# Files that are deleted and not committed yet are still listed, and tar would fail on them.
git ls-files --cached --others --exclude-standard -z |
    while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
    tar --null -T - -c | tar -x -C "$copy/source"

echo "building the images again, from a copy"
umask 077
TZ=Asia/Kathmandu GOFLAGS=-tags=other go run ./hack/image -dir "$copy/source" -out "$copy/images" >/dev/null
for file in bin/images/*; do
    cmp "$file" "$copy/images/$(basename "$file")" || {
        echo "the same input has given other bytes" >&2
        exit 1
    }
done
echo "the same bytes: $(ls bin/images | tr '\n' ' ')"
