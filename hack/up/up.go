package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/test/kube"
)

const (
	systemNamespace   = "letmepost-system"
	controllerAccount = "letmepost-controller"
	liveAccount       = "letmepost-api-live"
	testAccount       = "letmepost-api-test"
	gateAccount       = "letmepost-gate"

	controllerName = "controller"
	testName       = "api-test-0"
	gateName       = "gate-0"

	startBound = 2 * time.Minute
	stopBound  = time.Minute // an API has half a minute to record what it is publishing
	tailLines  = 20
)

func liveName(replica int) string { return fmt.Sprintf("api-live-%d", replica) }

// session is one run of `make up`.
type session struct {
	settings
	state   *state
	out     io.Writer
	cluster *kube.Cluster
	started []*kube.Process // in the order of their start
}

// up starts everything, runs until ctx ends or there is nothing to go on with, and stops everything.
func up(ctx context.Context, settings settings, stdout io.Writer) error {
	state, err := claim(settings.dir)
	if err != nil {
		return err
	}
	defer state.lock.Close()
	if err := settings.checkPorts(); err != nil {
		return err
	}
	s := &session{settings: settings, state: state, out: stdout}
	// One left by a killed run would tell scripts that all is ready.
	if err := s.removeEnv(); err != nil {
		return err
	}
	err = s.start(ctx)
	if err == nil {
		err = s.watch(ctx)
	} else if ctx.Err() != nil {
		err = errors.New("interrupted before everything was ready")
	}
	return errors.Join(err, s.removeEnv(), s.stop())
}

// start runs the steps in order, with a line for each: what it is, and how long it took.
func (s *session) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startBound, fmt.Errorf("not ready within %s", startBound))
	defer cancel()
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{
			"control plane (etcd, kube-apiserver, kube-controller-manager), with config/crd, config/rbac and config/policies",
			s.startControlPlane,
		},
		{"controller, live API, test API, gate, each under its own ServiceAccount", s.startProduct},
		{"samples (config/samples), and people to sign in as (hack/up/people.yaml)", s.loadSamples},
	}
	for _, step := range steps {
		fmt.Fprintf(s.out, "%s ...\n", step.what)
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "    done in %.1f s\n", time.Since(began).Seconds())
	}
	if err := s.writeEnv(); err != nil {
		return err
	}
	s.printTour()
	return nil
}

func (s *session) startControlPlane(ctx context.Context) error {
	cluster, err := kube.Start(ctx, kube.Options{
		Dir: s.dir, Ports: s.kubePorts(), ControllerManager: true,
		Manifests: []string{
			"config/crd", "config/rbac", "config/policies", "config/gate/rbac.yaml", "config/gate/policies.yaml",
		},
	})
	if err != nil {
		return err
	}
	s.cluster = cluster
	s.started = append(s.started, cluster.Processes()...)
	return s.makeCredentials(ctx)
}

// makeCredentials makes those that the processes run with: ServiceAccounts with the rules of config/rbac, so that a
// permission that is missing shows here and not in somebody's cluster.
func (s *session) makeCredentials(ctx context.Context) error {
	for _, account := range []string{controllerAccount, liveAccount, testAccount, gateAccount} {
		err := s.cluster.ServiceAccountKubeconfig(ctx, systemNamespace, account, s.accountKubeconfig(account))
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) accountKubeconfig(account string) string {
	return s.state.path("kubeconfig", account)
}

// stop stops every child, the last started first, with a line for each.
func (s *session) stop() error {
	if len(s.started) == 0 {
		return nil
	}
	fmt.Fprintln(s.out, "\nstopping")
	var errs []error
	for _, process := range slices.Backward(s.started) {
		if alreadyDone(process) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopBound)
		began := time.Now()
		err := process.Stop(ctx)
		cancel()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(s.out, "    %s stopped in %.1f s\n", process.Name(), time.Since(began).Seconds())
	}
	return errors.Join(errs...)
}

func alreadyDone(process *kube.Process) bool {
	select {
	case <-process.Done():
		return true
	default:
		return false
	}
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }

func (s *session) removeEnv() error {
	if err := os.Remove(s.state.path("env")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old env file: %w", err)
	}
	return nil
}
