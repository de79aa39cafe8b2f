// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupRoot   = "/sys/fs/cgroup"
	cgroupPrefix = "letmepost-node-" // the launcher's pid follows
)

// hierarchies of cgroup v1 that kubelet looks for. "systemd" has no controller, but kubelet ends when it is not there.
var hierarchies = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"}

// cgroups are the folders that a node's processes are counted in: one in each hierarchy of cgroup v1, or the one of v2.
// They lie below the launcher's own, so that whatever limits the launcher limits the node's pods too.
type cgroups struct {
	Unified bool // cgroup v2
	Dirs    []string
}

// makeCgroups makes the folders, and removes those of launchers that were killed.
func makeCgroups() (cgroups, error) {
	unified, err := isUnified()
	if err != nil {
		return cgroups{}, fmt.Errorf("make cgroups: %w", err)
	}
	own, err := ownCgroups()
	if err != nil {
		return cgroups{}, fmt.Errorf("make cgroups: %w", err)
	}
	groups := cgroups{Unified: unified}
	parents := []string{}
	if unified {
		parent, err := delegating(own[""])
		if err != nil {
			return groups, err
		}
		parents = append(parents, parent)
	} else {
		for _, hierarchy := range hierarchies {
			parents = append(parents, filepath.Join(cgroupRoot, hierarchy, own[hierarchy]))
		}
	}
	for _, parent := range parents {
		removeStale(parent)
		dir := filepath.Join(parent, cgroupPrefix+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return groups, fmt.Errorf("make cgroups: %w", err)
		}
		groups.Dirs = append(groups.Dirs, dir)
		if err := inheritCPUs(parent, dir); err != nil {
			return groups, fmt.Errorf("make cgroups: %w", err)
		}
	}
	return groups, nil
}

// isUnified says whether the machine has cgroup v2, and not v1 or both.
func isUnified() (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &stat); err != nil {
		return false, fmt.Errorf("%s: %w", cgroupRoot, err)
	}
	return stat.Type == unix.CGROUP2_SUPER_MAGIC, nil
}

// ownCgroups maps each hierarchy to this process's folder in it; that of v2 has the name "".
func ownCgroups() (map[string]string, error) {
	content, err := os.ReadFile("/proc/self/cgroup") // lines such as "4:memory:/folder"
	if err != nil {
		return nil, err
	}
	own := map[string]string{}
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for name := range strings.SplitSeq(fields[1], ",") {
			own[strings.TrimPrefix(name, "name=")] = fields[2]
		}
	}
	return own, nil
}

// delegating returns the nearest folder of cgroup v2, from own upwards, that gives its children the controllers that
// kubelet needs. A folder with processes in it gives none, so this is most often not own itself.
func delegating(own string) (string, error) {
	for dir := own; ; dir = filepath.Dir(dir) {
		path := filepath.Join(cgroupRoot, dir)
		content, err := os.ReadFile(filepath.Join(path, "cgroup.subtree_control"))
		if err != nil {
			return "", fmt.Errorf("make cgroups: %w", err)
		}
		given := strings.Fields(string(content))
		if !slices.ContainsFunc(
			[]string{"cpu", "cpuset", "memory", "pids"},
			func(c string) bool { return !slices.Contains(given, c) },
		) {
			return path, nil
		}
		if dir == "/" || dir == "." {
			return "", fmt.Errorf(
				"no cgroup from %s upwards has cpu, cpuset, memory and pids in its cgroup.subtree_control",
				own,
			)
		}
	}
}

// inheritCPUs fills in what a new cpuset of v1 has nothing of. Without, no process may join it.
func inheritCPUs(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		content, err := os.ReadFile(filepath.Join(parent, name))
		if errors.Is(err, fs.ErrNotExist) || len(strings.TrimSpace(string(content))) == 0 {
			continue // not a cpuset, or one of v2
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// join moves this process into the folders. Its children are born in them.
func (g cgroups) join() error {
	for _, dir := range g.Dirs {
		if err := moveInto(dir); err != nil {
			return err
		}
	}
	return nil
}

// settle moves on into a child of the folder of cgroup v2, once that is the root of a namespace: a folder has either
// processes or children with controllers, and kubelet makes children.
func (g cgroups) settle() error {
	if !g.Unified {
		return nil
	}
	dir := filepath.Join(g.Dirs[0], "daemons")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("join the node's cgroups: %w", err)
	}
	return moveInto(dir)
}

func moveInto(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644); err != nil {
		return fmt.Errorf("join the node's cgroups: %w", err)
	}
	return nil
}

// remove waits, for a few seconds, until the kernel has let go of the last process in the folders, and removes them.
func (g cgroups) remove() error {
	var errs []error
	for _, dir := range g.Dirs {
		err := removeCgroup(dir)
		for range 50 {
			if err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
			err = removeCgroup(dir)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeCgroup removes a folder and those below it. The files in them are the kernel's.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if entry.IsDir() {
			err = errors.Join(err, removeCgroup(filepath.Join(dir, entry.Name())))
		}
	}
	if err == nil {
		err = unix.Rmdir(dir)
	}
	if err != nil {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

// removeStale removes what launchers that were killed have left. Only empty folders can be removed, so a mistake here
// could harm nobody but a launcher that starts at this moment, and that one is alive.
func removeStale(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, cgroupPrefix+"*"))
	for _, dir := range left {
		pid := strings.TrimPrefix(filepath.Base(dir), cgroupPrefix)
		if !exists(filepath.Join("/proc", pid)) {
			_ = removeCgroup(dir)
		}
	}
}
