package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/letmepost/letmepost-operator/internal/vault"
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

// dashboardURL is that of an API.
func (s *session) dashboardURL(port int) string { return httpURL(port) + "/dashboard" }

// otherPort is where the other environment's API is.
func (s *session) otherPort(environment string) int {
	if environment == "live" {
		return s.testPort()
	}
	return s.livePort(0)
}

func (s *session) api(name, account, environment string, port, metricsPort int) child {
	return child{
		name: name, program: "api", account: account, readyPort: port,
		args: []string{
			"--environment", environment,
			"--listen-address", kube.Address(port),
			"--metrics-bind-address", kube.Address(metricsPort),
			"--public-url", httpURL(port), // where browsers come back to that have connected an account
			"--dashboard-other-url", s.dashboardURL(s.otherPort(environment)),
			"--data-dir", s.state.path("data"), // one for all: the processes of one machine can share a SQLite file
		},
	}
}

// gate is what proxies ask, for the keys of both environments.
func (s *session) gate() child {
	return child{
		name: gateName, program: "gate", account: gateAccount, readyPort: s.gatePort(),
		args: []string{
			"--environment", "both",
			"--listen-address", kube.Address(s.gatePort()),
			"--grpc-listen-address", kube.Address(s.gateGRPCPort()),
			"--metrics-bind-address", kube.Address(s.gateMetricsPort()),
		},
	}
}

func (s *session) children() []child {
	children := []child{s.controller()}
	for replica := range s.liveReplicas {
		live := s.api(liveName(replica), liveAccount, "live", s.livePort(replica), s.liveMetricsPort(replica))
		// The test API has no accounts that anything opens.
		live.args = append(append(live.args, "--vault-keyset", s.keysetPath()), s.liveFlags...)
		children = append(children, live)
	}
	children = append(children, s.api(testName, testAccount, "test", s.testPort(), s.testMetricsPort()))
	return append(children, s.gate())
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

func (s *session) keysetPath() string { return s.state.path("vault-keyset.json") }

// makeKeyset makes the keyset of the vault once: with another one, the accounts of an earlier run would not open.
func (s *session) makeKeyset() error {
	k, err := vault.NewKeyset()
	if err != nil {
		return err
	}
	if err := vault.CreateFile(s.keysetPath(), k, nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the keyset of the vault: %w", err)
	}
	return nil
}

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
	if err := s.makeKeyset(); err != nil {
		return err
	}
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
