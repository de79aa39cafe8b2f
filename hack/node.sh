#!/usr/bin/env bash
# Installs what the node of `make e2e` needs from the distribution's packages, if it is not there: runc, the network
# plugins of pods, and the tools with which kube-proxy and those plugins write their rules.
set -euo pipefail
# shellcheck source=hack/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

# What to look for, and the package that has it. The plugin "portmap" (a pod's hostPort) calls iptables.
declare -A packages=([runc]=runc [nft]=nftables [iptables]=iptables [ip]=iproute2 [conntrack]=conntrack)
PATH=$PATH:/usr/sbin:/sbin
missing=()
for program in "${!packages[@]}"; do
    command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done
[[ -x /usr/lib/cni/bridge ]] || missing+=(containernetworking-plugins)
[[ ${#missing[@]} == 0 ]] && exit 0
otherwise="With these programs on the PATH, and the network plugins in /usr/lib/cni, this step is skipped."
install_packages "the node of make e2e" "$otherwise" "${missing[@]}"
