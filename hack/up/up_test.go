package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

// TestUp goes through two sessions on one state directory, as a person would: start, look around, Ctrl-C; start
// again, and crashes. In the first one, an account of a real server is connected and published to. It needs the
// programs of `make build`.
func TestUp(t *testing.T) {
	s := testSettings(t)
	s.liveReplicas = 2
	server, flags := startPDS(t)
	s.liveFlags = flags

	first := begin(t, s)
	env := first.waitEnv(t)
	checkEnv(t, s, env)
	if text := first.out.String(); strings.Contains(text, "is not ready") {
		t.Errorf("a sample is not ready:\n%s", text)
	}
	pids := pidFiles(t, env["LMP_PIDS_DIR"])
	want := []string{
		"api-live-0", "api-live-1", "api-test-0", "controller", "etcd", "gate-0", "kube-apiserver", "kube-controller-manager",
	}
	if got := names(pids); !slices.Equal(got, want) {
		t.Errorf("pid files: got %v, want %v", got, want)
	}
	organization := namespaceUID(t, env["KUBECONFIG"], "acme")
	publishTo(t, server, env)
	first.interrupt()
	if err := first.wait(t); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
	checkStopped(t, s, pids)
	checkOrder(t, first.out.String(), "api-test-0 stopped", "controller stopped", "kube-apiserver stopped", "etcd stopped")

	second := begin(t, s)
	env = second.waitEnv(t)
	if again := namespaceUID(t, env["KUBECONFIG"], "acme"); again != organization {
		t.Errorf("the organization acme was %s and is %s after a restart", organization, again)
	}
	before := pidFiles(t, env["LMP_PIDS_DIR"])
	kill(t, before["api-live-0"])
	second.waitWords(t, "api-live-0 ended by itself: signal: killed", "started again", "api-live-0 is ready again")
	after := pidFiles(t, env["LMP_PIDS_DIR"])
	if after["api-live-0"] == before["api-live-0"] || !slices.Equal(names(after), names(before)) {
		t.Errorf("api-live-0 was to be replaced by another one, and nothing else: before %v, after %v", before, after)
	}
	kill(t, after["kube-apiserver"])
	wantWords(t, second.wait(t), "kube-apiserver ended by itself: signal: killed",
		filepath.Join(s.dir, "log", "kube-apiserver.log"))
	checkStopped(t, s, after)

	third := begin(t, s)
	env = third.waitEnv(t)
	pids = pidFiles(t, env["LMP_PIDS_DIR"])
	// A run that has lasted begins the count anew, and on a slow machine one may: TestLifeEnds holds how they are counted.
	kills := 0
	for again := true; again; again = third.startedAgain(t, kills, "controller") {
		if kills++; kills > 10*quickEnds {
			t.Fatalf("killed %d times, it is started again:\n%s", kills-1, third.out)
		}
		kill(t, pidFiles(t, env["LMP_PIDS_DIR"])["controller"])
	}
	if kills < quickEnds {
		t.Errorf("killed %d times, it is not started again", kills)
	}
	wantWords(t, third.wait(t), "controller ended by itself: signal: killed", filepath.Join(s.dir, "log", "controller.log"))
	checkStopped(t, s, pids)
}

func TestLifeEnds(t *testing.T) {
	now := time.Now()
	l := &life{began: now}
	for i, step := range []struct {
		ran   time.Duration
		again bool
	}{
		{time.Second, true}, {time.Second, true}, {quickRun, true}, // one that lasted begins the count anew
		{time.Second, true}, {time.Second, true}, {time.Second, false},
	} {
		now = now.Add(step.ran)
		if again := l.ended(now); again != step.again {
			t.Errorf("end %d, after a run of %s: started again %t, want %t", i, step.ran, again, step.again)
		}
	}
}

func TestUpSaysWhichPortIsTaken(t *testing.T) {
	s := testSettings(t)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", kube.Address(s.testPort()))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	err = up(t.Context(), s, t.Output())
	wantWords(t, err, strconv.Itoa(s.testPort())+", wanted by api-test-0", "LMP_PORT_BASE=")
	if strings.Count(err.Error(), "wanted by") != 1 {
		t.Errorf("only one port is taken:\n%v", err)
	}
}

// testSettings uses a directory of the test's own, and ports that neither `make up` nor kube.FreePorts uses.
func testSettings(t *testing.T) settings {
	t.Helper()
	s := settings{dir: t.TempDir(), liveReplicas: maxLiveReplicas}
	for s.portBase = 18000; s.checkPorts() != nil; s.portBase += portSpan {
		if s.portBase > 19000 {
			t.Fatal("no free range of ports")
		}
	}
	s.liveReplicas = 1
	return s
}

// background is a `make up` that runs beside the test.
type background struct {
	settings
	out       *testlog.Buffer
	interrupt context.CancelFunc
	done      chan error
}

func begin(t *testing.T, s settings) *background {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	b := &background{s, &testlog.Buffer{}, interrupt, make(chan error, 1)}
	go func() { b.done <- up(ctx, s, b.out) }()
	return b
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// waitWords waits until all of these words have been printed.
func (b *background) waitWords(t *testing.T, words ...string) {
	t.Helper()
	for _, word := range words {
		b.waitTimes(t, 1, word)
	}
}

// waitTimes waits until a word has been printed so often.
func (b *background) waitTimes(t *testing.T, times int, word string) {
	t.Helper()
	for deadline := time.Now().Add(startBound); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if strings.Count(b.out.String(), word) >= times {
			return
		}
	}
	t.Fatalf("%q was not printed %d times:\n%s", word, times, b.out)
}

// startedAgain waits until a process has been started again so many times, or up has ended.
func (b *background) startedAgain(t *testing.T, times int, name string) bool {
	t.Helper()
	word := name + " ended by itself: signal: killed (pid"
	for deadline := time.Now().Add(startBound); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if strings.Count(b.out.String(), word) >= times {
			return true
		}
		if len(b.done) > 0 {
			return false
		}
	}
	t.Fatalf("%s was killed %d times, and nothing is said of it:\n%s", name, times, b.out)
	return false
}

func (b *background) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-b.done:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("up does not end:\n%s", b.out)
		return nil
	}
}

// waitEnv waits for the env file and returns what it says.
func (b *background) waitEnv(t *testing.T) map[string]string {
	t.Helper()
	for deadline := time.Now().Add(startBound); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-b.done:
			t.Fatalf("up ended: %v\n%s", err, b.out)
		default:
		}
		content, err := os.ReadFile(filepath.Join(b.dir, "env"))
		if err != nil {
			continue
		}
		env := map[string]string{}
		for line := range strings.Lines(string(content)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			env[name] = value
		}
		return env
	}
	t.Fatalf("no env file:\n%s", b.out)
	return nil
}

func checkEnv(t *testing.T, s settings, env map[string]string) {
	t.Helper()
	want := map[string]string{
		"LMP_LIVE_URL":               httpURL(s.livePort(0)),
		"LMP_LIVE_URLS":              httpURL(s.livePort(0)) + "," + httpURL(s.livePort(1)),
		"LMP_TEST_URL":               httpURL(s.testPort()),
		"LMP_CONTROLLER_METRICS_URL": httpURL(s.controllerMetricsPort()) + "/metrics",
		"LMP_API_METRICS_URL":        httpURL(s.liveMetricsPort(0)) + "/metrics",
		"LMP_GATE_URL":               httpURL(s.gatePort()),
		"LMP_GATE_URLS":              httpURL(s.gatePort()),
		"LMP_GATE_GRPC":              kube.Address(s.gateGRPCPort()),
		"LMP_GATE_GRPCS":             kube.Address(s.gateGRPCPort()),
		"LMP_DASHBOARD_URL":          httpURL(s.livePort(0)) + "/dashboard",
		"LMP_PIDS_DIR":               filepath.Join(s.dir, "pids"),
	}
	for name, value := range want {
		if env[name] != value {
			t.Errorf("%s=%s, want %s", name, env[name], value)
		}
	}
	if len(env) != len(want)+1 { // and KUBECONFIG, which is proven by using it
		t.Errorf("env: %v", env)
	}
}

func pidFiles(t *testing.T, dir string) map[string]int {
	t.Helper()
	pids := map[string]int{}
	files, _ := filepath.Glob(filepath.Join(dir, "*.pid"))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err != nil || syscall.Kill(pid, 0) != nil {
			t.Errorf("%s holds %q, which is no live process", file, content)
		}
		pids[strings.TrimSuffix(filepath.Base(file), ".pid")] = pid
	}
	return pids
}

func names(pids map[string]int) []string {
	var names []string
	for name := range pids {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkStopped proves that a session has left state behind, and nothing else.
func checkStopped(t *testing.T, s settings, pids map[string]int) {
	t.Helper()
	for name, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("%s still runs", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "pids", "*")); len(left) > 0 {
		t.Errorf("pid files left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "env")); !os.IsNotExist(err) {
		t.Errorf("the env file must go when things stop: %v", err)
	}
}

func checkOrder(t *testing.T, text string, words ...string) {
	t.Helper()
	rest := text
	for _, word := range words {
		_, after, found := strings.Cut(rest, word)
		if !found {
			t.Fatalf("want %q in this order:\n%s", words, text)
		}
		rest = after
	}
}

func client(t *testing.T, kubeconfig string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func namespaceUID(t *testing.T, kubeconfig, name string) string {
	t.Helper()
	namespace, err := client(t, kubeconfig).CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(namespace.UID)
}
