package kube

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestProcessEnd(t *testing.T) {
	tests := map[string]struct {
		script string
		end    func(*testing.T, *Process)
		err    string // "" when the end was asked for
	}{
		"fails":              {untilToldTo("exit 7"), tell, "demo ended by itself: exit status 7"},
		"ends without error": {untilToldTo("exit 0"), tell, "demo ended by itself, without an error"},
		"killed by a test":   {"sleep 60", func(_ *testing.T, p *Process) { p.Kill() }, ""},
		"killed by a stranger": {
			"sleep 60", func(_ *testing.T, p *Process) { _ = syscall.Kill(p.PID(), syscall.SIGKILL) },
			"demo ended by itself: signal: killed",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			process := runScript(t, test.script)
			if process.Err() != nil {
				t.Errorf("before the end: %v", process.Err())
			}
			test.end(t, process)
			awaitEnd(t, process)
			got := ""
			if err := process.Err(); err != nil {
				got = err.Error()
			}
			if got != test.err {
				t.Errorf("got %q, want %q", got, test.err)
			}
		})
	}
}

// untilToldTo is a script that ends when tell says so: one that ended at once could do so before anybody has looked.
func untilToldTo(end string) string {
	return "trap '" + end + "' USR1; echo up; while :; do sleep 0.05; done"
}

func tell(t *testing.T, p *Process) {
	t.Helper()
	awaitLog(t, p, "up")
	if err := p.Signal(syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
}

func TestProcessStop(t *testing.T) {
	t.Run("asks first", func(t *testing.T) {
		process := runScript(t, `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done`)
		awaitLog(t, process, "up")
		if err := process.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if tail := process.Tail(1); tail != "bye" {
			t.Errorf("want its last words, got %q", tail)
		}
		if err := process.Stop(t.Context()); err != nil {
			t.Errorf("a second stop: %v", err)
		}
	})
	t.Run("kills one that does not listen", func(t *testing.T) {
		process := runScript(t, `trap '' TERM; echo up; while :; do sleep 0.05; done`)
		awaitLog(t, process, "up")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := process.Stop(ctx); err == nil || !strings.Contains(err.Error(), "was killed") {
			t.Errorf("want an error that says it was killed, got %v", err)
		}
		awaitEnd(t, process)
	})
}

func TestProcessTailIsOfThisRun(t *testing.T) {
	log := filepath.Join(t.TempDir(), "demo.log")
	for _, word := range []string{"first", "second"} {
		process, err := Run(Command{Name: "demo", Path: "/bin/sh", Args: []string{"-c", "echo a; echo " + word}, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		awaitEnd(t, process)
		if tail := process.Tail(10); tail != "a\n"+word {
			t.Errorf("got %q", tail)
		}
		if tail := process.Tail(1); tail != word {
			t.Errorf("last line: got %q", tail)
		}
	}
}

func TestProcessEnvironment(t *testing.T) {
	t.Setenv("KUBECONFIG", "/admin")
	for name, env := range map[string][]string{"none": nil, "minimal": MinimalEnv()} {
		t.Run(name, func(t *testing.T) {
			process, err := Run(Command{
				Name: "demo", Path: "/bin/sh", Args: []string{"-c", `echo "[$KUBECONFIG]"`},
				Env: env, Log: filepath.Join(t.TempDir(), "log"),
			})
			if err != nil {
				t.Fatal(err)
			}
			awaitEnd(t, process)
			if got := process.Tail(1); got != "[]" {
				t.Errorf("KUBECONFIG reached the child: %s", got)
			}
		})
	}
}

// TestChildrenDieWithTheLauncher kills a launcher as hard as can be, and looks for its child. The launcher is this
// test program itself, told so by the environment.
func TestChildrenDieWithTheLauncher(t *testing.T) {
	if os.Getenv("LMP_TEST_LAUNCHER") != "" {
		process := runScript(t, "sleep 60")
		_, _ = os.Stdout.WriteString("child " + strconv.Itoa(process.PID()) + "\n")
		select {}
	}
	launcher := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildrenDieWithTheLauncher$")
	launcher.Env = append(os.Environ(), "LMP_TEST_LAUNCHER=1")
	out, err := launcher.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := launcher.Start(); err != nil {
		t.Fatal(err)
	}
	child := 0
	for lines := bufio.NewScanner(out); child == 0 && lines.Scan(); {
		if pid, ok := strings.CutPrefix(lines.Text(), "child "); ok {
			child, _ = strconv.Atoi(pid)
		}
	}
	if child == 0 || syscall.Kill(child, 0) != nil {
		t.Fatalf("the child (pid %d) must run as long as its launcher", child)
	}
	_ = launcher.Process.Kill()
	_ = launcher.Wait()
	waitFor(t, "the child to die", func() error {
		// An orphan that nobody has reaped yet still has its entry, as a zombie.
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(child), "stat"))
		if err != nil || strings.Contains(string(status), ") Z ") {
			return nil
		}
		return os.ErrExist
	})
}

func TestFreePortsAreDistinctAndFree(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		ports, err := FreePorts(5)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range ports {
			if seen[port] {
				t.Errorf("port %d was handed out twice", port)
			}
			seen[port] = true
			if err := PortFree(port); err != nil {
				t.Error(err)
			}
		}
	}
}

func runScript(t *testing.T, script string) *Process {
	t.Helper()
	process, err := Run(Command{
		Name: "demo", Path: "/bin/sh", Args: []string{"-c", script},
		Env: MinimalEnv(), Log: filepath.Join(t.TempDir(), "demo.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Kill()
		<-process.Done()
	})
	return process
}

func awaitEnd(t *testing.T, process *Process) {
	t.Helper()
	select {
	case <-process.Done():
	case <-time.After(time.Minute):
		t.Fatalf("%s does not end", process.Name())
	}
}

func awaitLog(t *testing.T, process *Process, text string) {
	t.Helper()
	waitFor(t, "the log to say "+text, func() error {
		if strings.Contains(process.Tail(100), text) {
			return nil
		}
		return os.ErrNotExist
	})
}
