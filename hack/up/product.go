package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// child is a process of the product: its program in bin/, its flags, and where it says that it is ready.
type child struct {
	name, program, account string
	args                   []string
	readyPort              int
}

func httpURL(port int) string { return "http://" + kube.Address(port) }

// controller has all flags that differ from a pod's: ports, and addresses that end up in minted Secrets.
func (s *session) controller() child {
	return child{
		name: controllerName, program: "controller", account: controllerAccount, readyPort: s.controllerHealthPort(),
		args: []string{
			"--leader-elect",
			"--leader-election-namespace", systemNamespace,
			"--metrics-bind-address", kube.Address(s.controllerMetricsPort()),
			"--health-probe-bind-address", kube.Address(s.controllerHealthPort()),
			"--live-base-url", httpURL(s.livePort(0)),
			"--test-base-url", httpURL(s.testPort()),
		},
	}
}

func (s *session) api(name, account, environment string, port, metricsPort int) child {
	return child{
		name: name, program: "api", account: account, readyPort: port,
		args: []string{
			"--environment", environment,
			"--listen-address", kube.Address(port),
			"--metrics-bind-address", kube.Address(metricsPort),
			"--data-dir", s.state.path("data"), // one for all: the processes of one machine can share a SQLite file
		},
	}
}

func (s *session) children() []child {
	children := []child{s.controller()}
	for replica := range s.liveReplicas {
		children = append(children, s.api(
			liveName(replica), liveAccount, "live", s.livePort(replica), s.liveMetricsPort(replica)))
	}
	return append(children, s.api(testName, testAccount, "test", s.testPort(), s.testMetricsPort()))
}

// child finds a process of the product by its name.
func (s *session) child(name string) (child, bool) {
	for _, child := range s.children() {
		if child.name == name {
			return child, true
		}
	}
	return child{}, false
}

func (c child) readyURL() string { return httpURL(c.readyPort) + "/readyz" }

func (s *session) run(c child) (*kube.Process, error) {
	return kube.Run(kube.Command{
		Name: c.name,
		Path: kube.Path("bin/" + c.program),
		Args: append([]string{"--kubeconfig", s.accountKubeconfig(c.account)}, c.args...),
		Env:  kube.MinimalEnv(),
		Log:  s.state.path("log", c.name+".log"),
		PID:  s.state.path("pids", c.name+".pid"),
	})
}

// startProduct starts the controller and every API process at once, then waits for each. None needs another one to
// start, and a cluster starts them in no order either.
func (s *session) startProduct(ctx context.Context) error {
	controlPlane := s.cluster.Processes()
	children := s.children()
	for _, child := range children {
		process, err := s.run(child)
		if err != nil {
			return err
		}
		s.started = append(s.started, process)
	}
	for i, child := range children {
		process := s.started[len(controlPlane)+i]
		if err := kube.WaitReady(ctx, http.DefaultClient, child.readyURL(), process, s.started...); err != nil {
			return fmt.Errorf("start the product: %w", err)
		}
	}
	return nil
}
