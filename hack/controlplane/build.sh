#!/usr/bin/env bash
# Builds the real control plane that `make up` and the tests run into bin/k8s, from published Go modules alone.
# With the argument "node", it builds the rest of Kubernetes as well: what turns it into a node that runs pods.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$module/../.." && pwd)
out=$root/bin/k8s
# shellcheck source=hack/gobuild.sh
source "$root/hack/gobuild.sh"

# The version is read from go.mod, so that a bump happens in one place.
version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$module/go.mod")
IFS=. read -r major minor _ <<<"${version#v}"
component=k8s.io/component-base/version
ldflags="-s -w -X $component.gitVersion=$version -X $component.gitMajor=$major -X $component.gitMinor=$minor"

go_program "$module" "$out" etcd go.etcd.io/etcd/server/v3 "30 s" "-s -w"
go_program "$module" "$out" kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "4 min" "$ldflags"
go_program "$module" "$out" kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager "1 min" "$ldflags"
if [[ ${1:-} == node ]]; then
    go_program "$module" "$out" kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler "30 s" "$ldflags"
    go_program "$module" "$out" kubelet k8s.io/kubernetes/cmd/kubelet "30 s" "$ldflags"
    go_program "$module" "$out" kube-proxy k8s.io/kubernetes/cmd/kube-proxy "10 s" "$ldflags"
fi
# The node's tests want the kubectl of their Kubernetes; a person's own will do for `make up`.
if [[ ${1:-} == node ]] || ! command -v kubectl >/dev/null; then
    go_program "$module" "$out" kubectl k8s.io/kubernetes/cmd/kubectl "20 s" "$ldflags"
fi
