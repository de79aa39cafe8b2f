// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestContainerMemory(t *testing.T) {
	for _, tc := range []struct {
		reason string
		files  map[string]string
		want   int64
	}{
		{"there is no control group", nil, 0},
		{"version 2, in a container", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n",
		}, 512 << 20},
		{"version 2, without a limit", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n",
		}, 0},
		{"version 2, on a machine: its parent has less", map[string]string{
			"proc/self/cgroup":                           "0::/a.slice/b.service\n",
			"sys/fs/cgroup/a.slice/memory.max":           "1000000\n",
			"sys/fs/cgroup/a.slice/b.service/memory.max": "2000000\n",
		}, 1_000_000},
		{"version 2, of a container that sees the machine's path", map[string]string{
			"proc/self/cgroup": "0::/kubepods/pod1\n", "sys/fs/cgroup/memory.max": "3000000\n",
		}, 3_000_000},
		{"version 1", map[string]string{
			"proc/self/cgroup": "11:cpu:/x\n4:memory:/docker/1\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "4000000\n",
		}, 4_000_000},
		{"version 1, without a limit", map[string]string{
			"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		{"noise", map[string]string{"proc/self/cgroup": "::\n\nx", "sys/fs/cgroup/memory.max": "-1"}, 0},
	} {
		root := t.TempDir()
		for name, text := range tc.files {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := containerMemory(root); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.reason, got, tc.want)
		}
	}
}

// Go is told of the container's limit, and the process notices when that is used up.
func TestMemoryIsLimited(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "sys/fs/cgroup"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "sys/fs/cgroup/memory.max"), []byte("104857600"), 0o600); err != nil {
		t.Fatal(err)
	}
	runtime.GC() // what others have left counts as in use until it is collected
	m := limitMemory(func(string) string { return "" }, root)
	if got := debug.SetMemoryLimit(-1); got != 80<<20 {
		t.Errorf("Go was told %d bytes", got)
	}
	go m.Watch(t.Context())
	if m.Short() {
		t.Error("it is short of memory before any is used")
	}
	used := make([]byte, 75<<20)
	runtime.GC()
	for deadline := time.After(time.Minute); !m.Short(); {
		select {
		case <-deadline:
			t.Fatal("it does not notice within a minute")
		case <-time.After(time.Millisecond):
		}
	}
	runtime.KeepAlive(used)
}

// Who runs the process knows better; and where nobody says anything, nothing is limited.
func TestGOMEMLIMITDecides(t *testing.T) {
	before := debug.SetMemoryLimit(1 << 40)
	defer debug.SetMemoryLimit(before)
	if m := limitMemory(func(string) string { return "1TiB" }, t.TempDir()); m.inUse != 1<<40/100*inUseShare {
		t.Errorf("it is short at %d bytes", m.inUse)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if m := limitMemory(func(string) string { return "" }, t.TempDir()); m.inUse != 0 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Errorf("something is limited: %d", m.inUse)
	}
}
