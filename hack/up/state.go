package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// downBound is how long `make down` waits for a running `make up` to stop its children in order.
const downBound = 3 * time.Minute

// state is the state directory, locked by this process. The lock is the kernel's: it ends with the process,
// however that ends, so there is no such thing as a stale lock file.
type state struct {
	dir  string
	lock *os.File
}

func (s *state) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// errLocked says that another process holds the state directory.
var errLocked = errors.New("in use")

// lockState locks the state directory, which must exist. The lock file holds the pid of who has it.
func lockState(dir string) (*state, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(errLocked, file.Close())
	}
	if err == nil {
		err = file.Truncate(0)
	}
	if err == nil {
		_, err = file.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, errors.Join(err, file.Close()))
	}
	return &state{dir, file}, nil
}

// claim makes the state directory and takes it for this run, or says in plain words why that cannot be.
func claim(dir string) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	s, err := lockState(dir)
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("another `make up` (pid %s) is running with the state in %s\n"+
			"Stop it with Ctrl-C where it runs, or with `make down`, which also removes its state", holder(dir), dir)
	}
	if err != nil {
		return nil, err
	}
	if stale := staleProcesses(dir); len(stale) > 0 {
		return nil, fmt.Errorf("processes of an earlier `make up` still run on the state in %s:\n%s\n"+
			"`make down` stops them, and removes the state", dir, list(stale))
	}
	return s, nil
}

// holder returns the pid of who has the lock, for people.
func holder(dir string) string {
	content, err := os.ReadFile(filepath.Join(dir, "lock"))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(content))
}

// staleProcess is a live process whose pid file outlived its launcher.
type staleProcess struct {
	name string
	pid  int
}

// staleProcesses finds the pid files whose process lives and is ours. A pid alone proves nothing, since numbers
// are used again: ours have the state directory in their command line.
func staleProcesses(dir string) []staleProcess {
	files, _ := filepath.Glob(filepath.Join(dir, "pids", "*.pid"))
	var stale []staleProcess
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err == nil && strings.Contains(string(cmdline), dir+"/") {
			stale = append(stale, staleProcess{strings.TrimSuffix(filepath.Base(file), ".pid"), pid})
		}
	}
	return stale
}

func list(stale []staleProcess) string {
	var lines []string
	for _, process := range stale {
		lines = append(lines, fmt.Sprintf("  %s (pid %d)", process.name, process.pid))
	}
	return strings.Join(lines, "\n")
}

// down stops a running `make up`, kills what a crashed one may have left, and removes the state directory.
func down(ctx context.Context, dir string, stdout io.Writer) error {
	// Only what carries our lock file is removed: LMP_DEV_DIR may be mistyped.
	if _, err := os.Stat(filepath.Join(dir, "lock")); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(stdout, "nothing to do: %s holds no state of `make up`\n", dir)
		return nil
	}
	// The lock is kept to the end, so that no new `make up` begins in a directory that is going away.
	state, err := stopRunning(ctx, dir, stdout)
	if err != nil {
		return err
	}
	defer state.lock.Close()
	for _, process := range staleProcesses(dir) {
		fmt.Fprintf(stdout, "killing %s (pid %d), left by an earlier run\n", process.name, process.pid)
		if err := syscall.Kill(process.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill %s (pid %d): %w", process.name, process.pid, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the state: %w", err)
	}
	fmt.Fprintf(stdout, "removed %s\n", dir)
	return nil
}

// stopRunning asks a running `make up` to stop, and returns with its lock once it has let go.
func stopRunning(ctx context.Context, dir string, stdout io.Writer) (*state, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, downBound, errors.New("it takes too long"))
	defer cancel()
	for asked := false; ; {
		state, err := lockState(dir)
		if !errors.Is(err, errLocked) {
			return state, err
		}
		pid, err := strconv.Atoi(holder(dir))
		if err == nil && !asked {
			fmt.Fprintf(stdout, "stopping `make up` (pid %d)\n", pid)
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return nil, fmt.Errorf("stop `make up` (pid %d): %w", pid, err)
			}
			asked = true
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("`make up` (pid %d) does not stop: %w; kill it with `kill -9 %d` and try again",
				pid, context.Cause(ctx), pid)
		}
	}
}
