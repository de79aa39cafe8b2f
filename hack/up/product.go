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

func (s *session) api(name, environment string, port, metricsPort int) child {
	return child{
		name: name, program: "api", account: apiAccount, readyPort: port,
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
		children = append(children, s.api(liveName(replica), "live", s.livePort(replica), s.liveMetricsPort(replica)))
	}
	return append(children, s.api(testName, "test", s.testPort(), s.testMetricsPort()))
}

// startProduct starts the controller and every API process at once, then waits for each. None needs another one to
// start, and a cluster starts them in no order either.
func (s *session) startProduct(ctx context.Context) error {
	controlPlane := s.cluster.Processes()
	children := s.children()
	for _, child := range children {
		process, err := kube.Run(kube.Command{
			Name: child.name,
			Path: kube.Path("bin/" + child.program),
			Args: append([]string{"--kubeconfig", s.accountKubeconfig(child.account)}, child.args...),
			Env:  kube.MinimalEnv(),
			Log:  s.state.path("log", child.name+".log"),
			PID:  s.state.path("pids", child.name+".pid"),
		})
		if err != nil {
			return err
		}
		s.started = append(s.started, process)
	}
	for i, child := range children {
		process := s.started[len(controlPlane)+i]
		url := httpURL(child.readyPort) + "/readyz"
		if err := kube.WaitReady(ctx, http.DefaultClient, url, process, s.started...); err != nil {
			return fmt.Errorf("start the product: %w", err)
		}
	}
	return nil
}
