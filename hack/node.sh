#!/usr/bin/env bash
# Installs what the node of `make e2e` needs from the distribution's packages, if it is not there: runc, the network
# plugins of pods, and the tools with which kube-proxy and those plugins write their rules. No service comes with them.
set -euo pipefail

# What to look for, and the package that has it. The plugin "portmap" (a pod's hostPort) calls iptables.
declare -A packages=([runc]=runc [nft]=nftables [iptables]=iptables [ip]=iproute2 [conntrack]=conntrack)
PATH=$PATH:/usr/sbin:/sbin
missing=()
for program in "${!packages[@]}"; do
    command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done
[[ -x /usr/lib/cni/bridge ]] || missing+=(containernetworking-plugins)
[[ ${#missing[@]} == 0 ]] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "the node of the end-to-end tests needs ${missing[*]} (names of Debian packages): install them with your" >&2
    echo "package manager, the network plugins in /usr/lib/cni, and try again." >&2
    exit 1
fi
echo "installing ${missing[*]} (the node of the end-to-end tests needs them)"
as_root=()
if [[ $(id -u) != 0 ]]; then as_root=(sudo); fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made=
cleanup() {
    rm -f "$log"
    [[ -z $made ]] || "${as_root[@]}" rm -f "$policy"
}
trap cleanup EXIT
# nftables would load the machine's rules: packages start nothing for as long as this runs.
if [[ ! -e $policy ]]; then
    made=yes
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
fi

install() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; }
# The lists of packages may be missing or old, as they are in a fresh container.
if ! install >"$log" 2>&1 && ! { "${as_root[@]}" apt-get update && install; } >>"$log" 2>&1; then
    cat "$log" >&2
    echo "${missing[*]} could not be installed, see above." >&2
    exit 1
fi
