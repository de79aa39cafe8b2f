// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Shares of the container's memory, in percent.
const (
	// goShare is Go's (GOMEMLIMIT). The rest is for what Go does not count: the program's file, stacks of the kernel,
	// buffers of sockets, which a container is charged with, too.
	goShare = 80
	// inUseShare is how much of Go's share may be in use after a collection before nothing more is taken on: from there on
	// the process does little but collect, and then the kernel ends it, with all that it is doing.
	inUseShare = 90
)

// MemoryLimit keeps the process within the memory of its container. Make it with LimitMemory.
type MemoryLimit struct {
	inUse   uint64 // bytes above which the process is short of memory; 0: nobody has said
	isShort atomic.Bool
}

// LimitMemory tells Go how much memory the container has (GOMEMLIMIT), so that it collects more often before that is
// used up. What GOMEMLIMIT is set to by whoever runs the process counts instead. It is read here and not handed over by
// the chart, so that it holds wherever there is a control group, under systemd or in a container of somebody's own.
func LimitMemory(getenv func(string) string) *MemoryLimit { return limitMemory(getenv, "/") }

func limitMemory(getenv func(string) string, root string) *MemoryLimit {
	if getenv("GOMEMLIMIT") == "" {
		limit := containerMemory(root)
		if limit == 0 {
			return new(MemoryLimit)
		}
		debug.SetMemoryLimit(limit / 100 * goShare)
	}
	limit := uint64(debug.SetMemoryLimit(-1)) // which sets nothing
	return &MemoryLimit{inUse: limit / 100 * inUseShare}
}

// Short tells whether more than that is in use, so that nothing more should be taken on. nil never is.
func (m *MemoryLimit) Short() bool { return m != nil && m.isShort.Load() }

// Watch keeps Short up to date until ctx ends.
func (m *MemoryLimit) Watch(ctx context.Context) {
	if m.inUse == 0 {
		return
	}
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for look := 0; ; look++ {
		metrics.Read(heap)
		m.isShort.Store(heap[0].Value.Uint64() > m.inUse)
		// While nothing is taken on, nothing is collected by itself, and it would be short for ever.
		if m.Short() && look%10 == 0 {
			runtime.GC()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// containerMemory is the limit of the process's control group, in bytes; 0: there is none. Of a container, the group is
// the root of what it sees; elsewhere its path is in /proc. A limit may stand above the group itself.
func containerMemory(root string) (least int64) {
	group := "/"
	text, _ := os.ReadFile(path.Join(root, "proc/self/cgroup")) //nolint:gosec // root is "/" but in tests.
	for line := range strings.Lines(string(text)) {
		// "0::/path" in version 2, "4:memory:/path" in version 1.
		if _, rest, _ := strings.Cut(strings.TrimSpace(line), ":"); strings.HasPrefix(rest, ":") ||
			strings.HasPrefix(rest, "memory:") {
			_, group, _ = strings.Cut(rest, ":")
		}
	}
	for ; ; group = path.Dir(group) {
		for _, file := range []string{
			path.Join("sys/fs/cgroup", group, "memory.max"),
			path.Join("sys/fs/cgroup/memory", group, "memory.limit_in_bytes"),
		} {
			if limit := readLimit(path.Join(root, file)); limit > 0 && (least == 0 || limit < least) {
				least = limit
			}
		}
		if group == "/" || group == "." || group == "" {
			return least
		}
	}
}

// readLimit reads a file that has a number of bytes; 0: it has none, or one that no machine has, by which version 1
// says that there is no limit.
func readLimit(file string) int64 {
	text, err := os.ReadFile(file) //nolint:gosec // the kernel names the group.
	if err != nil {
		return 0
	}
	const absurd = 1 << 50
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || limit <= 0 || limit >= absurd {
		return 0 // "max", in version 2
	}
	return limit
}
