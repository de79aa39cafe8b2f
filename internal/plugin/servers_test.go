// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

var started atomic.Int64

// start starts a program of ours as its own ServiceAccount, for this world's namespace alone, and waits until it is
// ready. It ends with the test.
func (w *world) start(program, account string, ready int, args ...string) *kube.Process {
	w.t.Helper()
	if _, err := os.Stat(kube.Path(program)); err != nil {
		w.t.Fatalf("the product is not built yet, run `make build` first: %v", err)
	}
	credentials := filepath.Join(w.dir, account)
	w.must(nil, w.cluster.ServiceAccountKubeconfig(w.t.Context(), "letmepost-system", account, credentials))
	name := fmt.Sprintf("%s-%d", filepath.Base(program), started.Add(1))
	p, err := kube.Run(kube.Command{
		Name: name, Path: kube.Path(program), Env: kube.MinimalEnv(), Log: filepath.Join(w.dir, name+".log"),
		Args: append([]string{"--kubeconfig", credentials, "--watch-namespaces", w.namespace}, args...),
	})
	w.must(nil, err)
	w.t.Cleanup(func() { // in order, so that a replica gives up its Lease, and the next test does not wait for it
		_ = p.Signal(syscall.SIGCONT)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			w.t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	w.must(nil, kube.WaitReady(ctx, http.DefaultClient, "http://"+kube.Address(ready)+"/readyz", p))
	return p
}

func (w *world) startController(args ...string) *kube.Process {
	w.t.Helper()
	ports, err := kube.FreePorts(2)
	w.must(nil, err)
	return w.start("bin/controller", "letmepost-controller", ports[1], append([]string{
		"--metrics-bind-address", kube.Address(ports[0]), "--health-probe-bind-address", kube.Address(ports[1]),
	}, args...)...)
}

// startAPI starts an API process of the test environment, and returns its address as well.
func (w *world) startAPI() (*kube.Process, string) {
	w.t.Helper()
	ports, err := kube.FreePorts(2)
	w.must(nil, err)
	return w.start("bin/api", "letmepost-api-test", ports[0],
		"--environment", "test", "--listen-address", kube.Address(ports[0]), "--metrics-bind-address", kube.Address(ports[1]),
		"--data-dir", filepath.Join(w.dir, "data"), "--default-rate-limit", "none", "--failed-auth-limit", "none",
		"--drain-delay", "0s", "--lease-duration", "60s", // a stopped one is awaited for longer than a slow test takes
	), "http://" + kube.Address(ports[0])
}

// pause stops a process, for as long as the test lasts at most.
func (w *world) pause(p *kube.Process) {
	w.t.Helper()
	w.must(nil, p.Signal(syscall.SIGSTOP))
	w.t.Cleanup(func() { _ = p.Signal(syscall.SIGCONT) })
}

func (w *world) goOn(p *kube.Process) {
	w.t.Helper()
	w.must(nil, p.Signal(syscall.SIGCONT))
}

// asking waits for no answer for ever: a process that is stopped gives none.
var asking = http.Client{Timeout: patience}

// statusOf is what an API answers to a key.
func statusOf(t *testing.T, url, key string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/whoami", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := asking.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// program is a run of the real program.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // what it says on standard error
	out   testlog.Buffer
	said  testlog.Buffer
}

// launch starts the real program, as somebody. stdout is where its results go; nil: they are kept.
func (w *world) launch(role string, stdin, stdout *os.File, args ...string) *program {
	w.t.Helper()
	r := &program{t: w.t, lines: make(chan string, 1000)}
	r.cmd = exec.Command(kube.Path("bin/kubectl-letmepost"), append([]string{"--kubeconfig", w.as(role), "-n", w.namespace}, args...)...)
	r.cmd.Env = append(kube.MinimalEnv(), "HOME="+w.dir)
	r.cmd.Stdout = &r.out
	if stdout != nil {
		r.cmd.Stdout = stdout
	}
	if stdin != nil {
		r.cmd.Stdin = stdin
	}
	errs, err := r.cmd.StderrPipe()
	w.must(nil, err)
	w.must(nil, r.cmd.Start())
	bound := time.AfterFunc(patience, func() { _ = r.cmd.Process.Kill() }) // a test that waits for it then fails
	w.t.Cleanup(func() { bound.Stop(); _ = r.cmd.Process.Kill() })
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(errs); s.Scan(); {
			fmt.Fprintln(&r.said, s.Text())
			r.lines <- s.Text()
		}
	}()
	return r
}

// await waits until it has said something with this text in it.
func (r *program) await(text string) {
	r.t.Helper()
	for line := range r.lines {
		if strings.Contains(line, text) {
			return
		}
	}
	r.t.Fatalf("it ended, and never said %q:\n%s%s", text, r.said.String(), r.out.String())
}

// interrupt is Ctrl-C.
func (r *program) interrupt() {
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		r.t.Fatal(err)
	}
}

// end waits for its end, and returns what became of it.
func (r *program) end() result {
	r.t.Helper()
	for range r.lines { // until it has closed its standard error
	}
	err := r.cmd.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return result{r.cmd.ProcessState.ExitCode(), r.out.String(), r.said.String()}
}

// terminal is a pseudo-terminal: what a person types in and sees is at screen; theirs is what a program is given.
func terminal(t *testing.T) (screen, theirs *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close(); theirs.Close() })
	return screen, theirs
}

// seen is what was printed to a terminal, once the program has ended.
func seen(t *testing.T, screen, theirs *os.File) string {
	t.Helper()
	theirs.Close()                  // the last one that has it open: reading ends after what is there
	text, err := io.ReadAll(screen) // EIO is how a terminal ends
	if err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}
