// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctls that kubelet sets for the whole machine, and the values that it wants.
var sysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// mount is one call of mount(2).
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// mountAll makes this mount namespace the node's own: nothing that is mounted here, or written to /run, /var/lib or
// /var/log, is seen outside of it.
func (s settings) mountAll() error {
	mounts := []mount{
		{target: "/", flags: unix.MS_REC | unix.MS_SLAVE},
		{target: "/", flags: unix.MS_REC | unix.MS_SHARED}, // kubelet wants its root shared with containers
		{source: "proc", target: "/proc", kind: "proc"},
		{source: "sysfs", target: "/sys", kind: "sysfs"},
		{source: "tmpfs", target: "/run", kind: "tmpfs", data: "mode=755"},
		{source: "tmpfs", target: "/var/log", kind: "tmpfs", data: "mode=755"},
		// containerd and kubelet have folders here whose place cannot be changed.
		{source: "overlay", target: "/var/lib", kind: "overlay", data: fmt.Sprintf(
			"lowerdir=/var/lib,upperdir=%s,workdir=%s", s.file("var-lib"), s.file("var-lib-work"))},
	}
	mounts = append(mounts, s.Groups.mounts()...)
	shadows, err := s.sysctlShadows()
	if err != nil {
		return err
	}
	for _, m := range append(mounts, shadows...) {
		if filepath.Dir(m.target) == cgroupRoot { // a tmpfs, and ours
			if err := os.Mkdir(m.target, 0o755); err != nil {
				return fmt.Errorf("mount %s: %w", m.target, err)
			}
		}
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// mounts shows the node its own cgroups as if they were the machine's: it has a cgroup namespace.
func (g cgroups) mounts() []mount {
	if g.Unified {
		return []mount{{source: "cgroup2", target: cgroupRoot, kind: "cgroup2"}}
	}
	mounts := []mount{{source: "tmpfs", target: cgroupRoot, kind: "tmpfs", data: "mode=755"}}
	for _, hierarchy := range hierarchies {
		m := mount{source: "cgroup", target: filepath.Join(cgroupRoot, hierarchy), kind: "cgroup", data: hierarchy}
		if hierarchy == "systemd" {
			m.data = "none,name=systemd"
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// sysctlShadows puts files over the sysctls that hold what kubelet wants already, so that the machine keeps its own.
func (s settings) sysctlShadows() ([]mount, error) {
	var shadows []mount
	for path, value := range sysctls {
		target := filepath.Join("/proc/sys", path)
		if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
			continue // not compiled into this kernel
		}
		shadow := s.file("sysctl-" + strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(shadow, []byte(value+"\n"), 0o644); err != nil {
			return nil, fmt.Errorf("sysctls for kubelet: %w", err)
		}
		shadows = append(shadows, mount{source: shadow, target: target, flags: unix.MS_BIND})
	}
	return shadows, nil
}

// network gives the network namespace the node's address. The default route leads into an empty bridge: the kernel
// wants a route to a Service's address before kube-proxy's rules replace it, and packets for anywhere else end there.
func network(ctx context.Context) error {
	for _, line := range []string{
		"link set lo up",
		"link add node0 type bridge",
		"address add " + nodeIP + "/24 dev node0",
		"link set node0 up",
		"route add default via " + gatewayIP + " dev node0",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, strings.TrimSpace(string(out)))
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}
