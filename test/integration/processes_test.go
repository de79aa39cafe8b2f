// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
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

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// process is a program of ours that was started.
type process struct{ *kube.Process }

// logText is all that the process has logged.
func (p process) logText() string {
	content, err := os.ReadFile(p.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// server is a running controller or API, under its own ServiceAccount.
type server struct {
	process
	environment string // of an API
	url         string // of the API; of a controller, its probes
	metrics     string
}

// started counts the processes, so that each has a log of its own.
var started atomic.Int64

// launch starts a program of ours. It ends with the spec, at the latest.
func launch(program, account string, args ...string) process {
	GinkgoHelper()
	return launchWith(nil, program, account, args...)
}

// launchWith is launch with variables of the environment.
func launchWith(env []string, program, account string, args ...string) process {
	GinkgoHelper()
	p, err := startWith(env, program, account, args...)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(p.end)
	return p
}

// start is launch for goroutines: whoever calls it ends the process.
func start(program, account string, args ...string) (process, error) {
	return startWith(nil, program, account, args...)
}

func startWith(env []string, program, account string, args ...string) (process, error) {
	if _, err := os.Stat(program); err != nil {
		return process{}, fmt.Errorf("the product is not built yet, run `make build` first: %w", err)
	}
	name := fmt.Sprintf("%s-%d", filepath.Base(program), started.Add(1))
	p, err := kube.Run(kube.Command{
		Name: name,
		Path: program,
		Args: append([]string{"--kubeconfig", credentials(account)}, args...),
		Env:  append(kube.MinimalEnv(), env...),
		Log:  filepath.Join(logDir, name+".log"),
	})
	return process{p}, err
}

// end ends a process whatever state it is in, stopped ones as well.
func (p process) end() {
	p.Kill()
	<-p.Done()
}

// exitSignal is the signal that ended a process, 0 if it was none. An end that kube.Process was asked for has none.
func (p process) exitSignal() syscall.Signal {
	var exit *exec.ExitError
	if errors.As(p.Err(), &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return status.Signal()
		}
	}
	return 0
}

func freePorts(n int) []int {
	GinkgoHelper()
	ports, err := kube.FreePorts(n)
	Expect(err).NotTo(HaveOccurred())
	return ports
}

// startController starts the controller without leader election, and waits until it is ready.
func startController(ctx SpecContext, args ...string) *server {
	GinkgoHelper()
	s := launchController(freePorts(2), append([]string{"--leader-elect=false"}, args...)...)
	s.waitReady(ctx)
	return s
}

func launchController(ports []int, args ...string) *server {
	GinkgoHelper()
	p := launch(kube.Path("bin/controller"), controllerAccount, append([]string{
		"--metrics-bind-address", kube.Address(ports[0]),
		"--health-probe-bind-address", kube.Address(ports[1]),
	}, args...)...)
	return &server{
		process: p,
		url:     "http://" + kube.Address(ports[1]),
		metrics: "http://" + kube.Address(ports[0]) + "/metrics",
	}
}

// startAPI starts an API process and waits until it is ready.
func startAPI(ctx SpecContext, environment string, args ...string) *server {
	GinkgoHelper()
	s := launchAPI(environment, args...)
	s.waitReady(ctx)
	return s
}

// itself stands for the API's own address in its arguments, which is known when it starts.
const itself = "{url}"

func launchAPI(environment string, args ...string) *server {
	GinkgoHelper()
	return launchAPIWith(nil, environment, args...)
}

func launchAPIWith(env []string, environment string, args ...string) *server {
	GinkgoHelper()
	ports := freePorts(2)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], itself, "http://"+kube.Address(ports[0]))
	}
	p := launchWith(env, kube.Path("bin/api"), "letmepost-api-"+environment, append([]string{
		"--environment", environment,
		"--listen-address", kube.Address(ports[0]),
		"--metrics-bind-address", kube.Address(ports[1]),
		"--data-dir", filepath.Join(logDir, "..", "data"),
		"--default-rate-limit", "none",
		"--failed-auth-limit", "none",
	}, args...)...)
	return &server{
		process:     p,
		environment: environment,
		url:         "http://" + kube.Address(ports[0]),
		metrics:     "http://" + kube.Address(ports[1]) + "/metrics",
	}
}

func (s *server) waitReady(ctx SpecContext) {
	GinkgoHelper()
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	Expect(kube.WaitReady(within, http.DefaultClient, s.url+"/readyz", s.Process)).To(Succeed())
}

// httpClient waits for an answer for as long as a loaded machine may need for one.
var httpClient = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// get sends a request with an Authorization header, if it is given one, and returns status and body.
func get(ctx context.Context, url, authorization string) (int, string, error) {
	return getBy(ctx, httpClient, url, authorization)
}

func getBy(ctx context.Context, by *http.Client, url, authorization string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := by.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// status asks for a path of the API, and returns the status. It can be polled.
func (s *server) status(ctx context.Context, path, authorization string) func() (int, error) {
	return func() (int, error) {
		status, _, err := get(ctx, s.url+path, authorization)
		return status, err
	}
}

// whoami asks an API who a key is, and returns the status. It can be polled.
func (s *server) whoami(ctx context.Context, key string) func() (int, error) {
	return s.status(ctx, "/v1/whoami", "Bearer "+key)
}

// decided is what is answered by a replica that can tell: not while the machine stands still, and the replica is
// fenced.
func decided(ctx context.Context, ask func() (int, error)) (status int) {
	GinkgoHelper()
	Eventually(ctx, func() (_ int, err error) {
		status, err = ask()
		return status, err
	}, patience, interval).ShouldNot(Equal(http.StatusServiceUnavailable))
	return status
}

// scrape returns a process's metrics.
func (s *server) scrape(ctx context.Context) string {
	GinkgoHelper()
	status, body, err := get(ctx, s.metrics, "")
	Expect(err).NotTo(HaveOccurred())
	Expect(status).To(Equal(http.StatusOK))
	return body
}

// procState is the state letter of a process in /proc: T is stopped. "" means that there is none.
func procState(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses, which may hold anything.
	rest := string(content[strings.LastIndexByte(string(content), ')')+1:])
	return strings.Fields(rest)[0]
}
