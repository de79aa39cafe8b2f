// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// endings are the signals that people, CI and `go test -timeout` end a process with.
var endings = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP}

// launch is what happens on the machine: it makes what has to be removed again, starts the namespaces, waits for their
// end, and removes it.
func launch(s settings) (code int, err error) {
	// Before anything is made, so that from here on a signal ends in the removals below.
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, endings...)

	if err := s.check(); err != nil {
		return 1, err
	}
	unlock, err := s.makeState()
	if err != nil {
		return 1, fmt.Errorf("make the state directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.State), unlock()) }()
	if err := s.prepareLogs(); err != nil {
		return 1, err
	}
	s.Groups, err = makeCgroups()
	// Also after an error, which may come half-way.
	defer func() { err = errors.Join(err, s.Groups.remove()) }()
	if err != nil {
		return 1, err
	}

	cmd, err := s.next()
	if err != nil {
		return 1, err
	}
	// The kernel sends the signal below when the thread ends that has started the child, so this thread must stay.
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("make namespaces (in a container this takes a privileged one): %w", err)
	}
	go func() {
		<-ended
		_ = cmd.Process.Kill() // pid 1 of the namespace: everything in it dies with it
	}()
	return exitCode(cmd.Wait())
}

// exitCode turns an ended command's error into its exit code.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil // -1 after a signal
	}
	return 0, err
}

// prepareLogs makes the folder for logs. Those of an earlier run would only mislead.
func (s *settings) prepareLogs() error {
	if s.Logs == "" {
		s.Logs = filepath.Join(s.State, "log")
	}
	old, err := filepath.Glob(filepath.Join(s.Logs, "*.log"))
	if err != nil {
		return fmt.Errorf("folder for logs: %w", err)
	}
	for _, path := range append(old, s.podLogs()) {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("folder for logs: %w", err)
		}
	}
	if err := os.MkdirAll(s.podLogs(), 0o755); err != nil {
		return fmt.Errorf("folder for logs: %w", err)
	}
	return nil
}

// enter is pid 1 of the namespaces.
func enter(s settings) (int, error) {
	swallow()
	// A cgroup namespace is a thread's: its root is where the thread is when it takes one, and the child is started from
	// that thread.
	runtime.LockOSThread()
	if err := s.Groups.join(); err != nil {
		return 1, err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return 1, fmt.Errorf("make a cgroup namespace: %w", err)
	}
	if err := s.Groups.settle(); err != nil {
		return 1, err
	}
	cmd, err := s.next()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start the node: %w", err)
	}
	// Each container leaves a process whose parent has ended, and it is ours to take note of its end.
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait for the node: %w", err)
		case pid == cmd.Process.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == cmd.Process.Pid:
			return 1, fmt.Errorf("the node's launcher was ended by signal %v", status.Signal())
		}
	}
}

// swallow takes the signals that a terminal sends to all of its processes: the launcher, which gets them too, knows
// what to do. Ignoring them would be handed down to the command.
func swallow() { signal.Notify(make(chan os.Signal, 1), endings...) }
