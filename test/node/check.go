// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pluginDir is where Debian's containernetworking-plugins are.
const pluginDir = "/usr/lib/cni"

// systemPath is where programs of the distribution are; an unprivileged user's PATH often lacks the sbin folders.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// check says what is missing for a node, all of it at once, and what to do about it.
func (s settings) check() error {
	if os.Geteuid() != 0 {
		return errors.New("a Kubernetes node needs root (for namespaces, mounts and containers): " +
			`run sudo env "PATH=$PATH" make e2e`)
	}
	if err := os.Setenv("PATH", os.Getenv("PATH")+":"+systemPath); err != nil {
		return err
	}
	var missing []string
	for _, program := range []string{"runc", "ip", "nft", "iptables", "conntrack"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	for _, plugin := range []string{"bridge", "host-local", "loopback", "portmap"} {
		if path := filepath.Join(pluginDir, plugin); !exists(path) {
			missing = append(missing, path)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("there is no %s: run hack/node.sh, which installs them", strings.Join(missing, ", no "))
	}
	for _, program := range programs {
		if path := filepath.Join(s.Bin, program); !exists(path) {
			missing = append(missing, path)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("there is no %s: run `make node`, which builds them", strings.Join(missing, ", no "))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
