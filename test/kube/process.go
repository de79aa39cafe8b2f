package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command says how to run one child process.
type Command struct {
	Name string   // what people call it, e.g. "kube-apiserver"
	Path string   // the program
	Args []string // without the program itself
	Env  []string // the whole environment, NAME=value; see MinimalEnv
	Log  string   // file that stdout and stderr are appended to
	PID  string   // file that holds the pid while it runs; "" for none
}

// MinimalEnv is what a child needs of this process's environment and no more: above all no KUBECONFIG, so that
// nothing can fall back to an administrator's credentials.
func MinimalEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// Process is a running (or ended) child. It dies with this process, whatever ends this process.
type Process struct {
	command   Command
	cmd       *exec.Cmd
	logOffset int64 // where this run's part of the log begins
	asked     atomic.Bool
	done      chan struct{}
	err       error // why it ended; written before done is closed
}

// Run starts a child process. It returns when the child is running, and keeps no reference to any context: the
// child lives until Stop, Kill, or the end of this process.
func Run(command Command) (*Process, error) {
	log, err := os.OpenFile(command.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command.Name, err)
	}
	// The child keeps its own descriptor.
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command.Name, err)
	}

	cmd := exec.Command(command.Path, command.Args...) //nolint:noctx // a child ends in order, by Stop, not with a context
	cmd.Env = append([]string{}, command.Env...)       // never nil: nil would mean "inherit everything"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// A group of its own, so that a terminal's Ctrl-C reaches the launcher only, which stops its children in order.
		Setpgid: true,
	}
	if err := fork(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", command.Name, err)
	}

	p := &Process{command: command, cmd: cmd, logOffset: info.Size(), done: make(chan struct{})}
	if err := p.writePID(); err != nil {
		p.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("start %s: %w", command.Name, err)
	}
	go p.wait()
	return p, nil
}

func (p *Process) wait() {
	err := p.cmd.Wait()
	switch {
	case p.asked.Load():
	case err == nil:
		p.err = fmt.Errorf("%s ended by itself, without an error", p.Name())
	default:
		p.err = fmt.Errorf("%s ended by itself: %w", p.Name(), err)
	}
	if p.command.PID != "" {
		_ = os.Remove(p.command.PID)
	}
	close(p.done)
}

// writePID writes the pid file, complete or not at all: scripts read it while processes come and go.
func (p *Process) writePID() error {
	if p.command.PID == "" {
		return nil
	}
	return WriteFile(p.command.PID, []byte(strconv.Itoa(p.PID())+"\n"), 0o644)
}

// Name is the process's name, e.g. "etcd".
func (p *Process) Name() string { return p.command.Name }

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// LogFile is the file with its output.
func (p *Process) LogFile() string { return p.command.Log }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says why the process ended. It is nil while it runs, and after an end that was asked for: by Stop, by Kill,
// or by a Signal whose purpose is to end it.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Signal sends a signal; to a process that has ended it does nothing. After SIGSTOP it returns when the process has
// stopped: until the last of its threads has, which takes a moment on a busy machine, it does what it did before.
func (p *Process) Signal(signal syscall.Signal) error {
	if signal == syscall.SIGINT || signal == syscall.SIGTERM || signal == syscall.SIGKILL {
		p.asked.Store(true)
	}
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name(), err)
	}
	if signal == syscall.SIGSTOP {
		AwaitStop(p.PID())
	}
	return nil
}

// AwaitStop returns when a child of this process, which was sent SIGSTOP, has stopped or ended.
func AwaitStop(pid int) {
	for {
		// WNOWAIT leaves it as it is to whoever waits for its end.
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Kill ends the process at once, as kill -9 does.
func (p *Process) Kill() { _ = p.Signal(syscall.SIGKILL) }

// Stop asks the process to end (SIGTERM) and waits for it. When ctx ends first, the process is killed, and the
// error says so. A process that has ended already is stopped.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop when asked and was killed: %w", p.Name(), ctx.Err())
	}
	return nil
}

// Tail returns up to n of the last lines that this run of the process has logged.
func (p *Process) Tail(n int) string {
	const enough = 64 << 10
	file, err := os.Open(p.command.Log)
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	from := max(p.logOffset, info.Size()-enough)
	content, _ := io.ReadAll(io.NewSectionReader(file, from, info.Size()-from))
	lines := strings.Split(string(bytes.TrimRight(content, "\n")), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// WriteFile writes a file so that it is never seen half-written: to a temporary name, then renamed.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(temp.Name()) // fails, rightly, once it has been renamed
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Chmod(mode), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
