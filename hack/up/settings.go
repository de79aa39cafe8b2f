package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/letmepost/letmepost-operator/test/kube"
)

const (
	// defaultPortBase is below 32768, from where on Linux takes ports for outgoing connections, and far from the ports
	// that other development servers have by habit.
	defaultPortBase = 17600
	// maxLiveReplicas is what the scheme of ports has room for: the tenth has that of the test API.
	maxLiveReplicas = 9
	// portSpan is how many ports from the base on are ours.
	portSpan = 40
)

// settings is what the environment decides.
type settings struct {
	dir          string // absolute path of the state directory
	portBase     int
	liveReplicas int
	liveFlags    []string // of each live API, beside those that it has in any case
}

func readSettings(getenv func(string) string) (settings, error) {
	dir := getenv("LMP_DEV_DIR")
	if dir == "" {
		dir = ".dev"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return settings{}, fmt.Errorf("LMP_DEV_DIR: %w", err)
	}
	base, err := number(getenv, "LMP_PORT_BASE", defaultPortBase, 1024, 65536-portSpan)
	if err != nil {
		return settings{}, err
	}
	replicas, err := number(getenv, "LIVE_REPLICAS", 1, 1, maxLiveReplicas)
	if err != nil {
		return settings{}, err
	}
	return settings{
		dir: dir, portBase: base, liveReplicas: replicas, liveFlags: strings.Fields(getenv("LIVE_FLAGS")),
	}, nil
}

func number(getenv func(string) string, name string, unset, least, most int) (int, error) {
	text := getenv(name)
	if text == "" {
		return unset, nil
	}
	value, err := strconv.Atoi(text)
	if err != nil || value < least || value > most {
		return 0, fmt.Errorf("%s must be a number from %d to %d, not %q", name, least, most, text)
	}
	return value, nil
}

// The fixed scheme of ports, from the base on. What people type comes first.
func (s settings) livePort(replica int) int { return s.portBase + replica }
func (s settings) testPort() int            { return s.portBase + 9 }

func (s settings) kubePorts() kube.Ports {
	return kube.Ports{
		APIServer: s.portBase + 10, EtcdClient: s.portBase + 11, EtcdPeer: s.portBase + 12,
		ControllerManager: s.portBase + 13,
	}
}

func (s settings) controllerMetricsPort() int      { return s.portBase + 20 }
func (s settings) controllerHealthPort() int       { return s.portBase + 21 }
func (s settings) gatePort() int                   { return s.portBase + 14 }
func (s settings) gateGRPCPort() int               { return s.portBase + 15 }
func (s settings) gateMetricsPort() int            { return s.portBase + 22 }
func (s settings) testMetricsPort() int            { return s.portBase + 29 }
func (s settings) liveMetricsPort(replica int) int { return s.portBase + 30 + replica }

// portUse is a port and who wants it.
type portUse struct {
	port      int
	component string
}

func (s settings) portUses() []portUse {
	ports := s.kubePorts()
	uses := []portUse{
		{ports.EtcdClient, kube.Etcd},
		{ports.EtcdPeer, kube.Etcd + " (peers)"},
		{ports.APIServer, kube.APIServer},
		{ports.ControllerManager, kube.ControllerManager},
		{s.controllerMetricsPort(), "controller (metrics)"},
		{s.controllerHealthPort(), "controller (health)"},
		{s.gatePort(), gateName},
		{s.gateGRPCPort(), gateName + " (gRPC)"},
		{s.gateMetricsPort(), gateName + " (metrics)"},
	}
	for replica := range s.liveReplicas {
		uses = append(uses, portUse{s.livePort(replica), liveName(replica)},
			portUse{s.liveMetricsPort(replica), liveName(replica) + " (metrics)"})
	}
	return append(uses, portUse{s.testPort(), testName}, portUse{s.testMetricsPort(), testName + " (metrics)"})
}

// checkPorts looks at every port before anything is started, so that all that is wrong is said at once.
func (s settings) checkPorts() error {
	var taken []string
	for _, use := range s.portUses() {
		if err := kube.PortFree(use.port); err != nil {
			taken = append(taken, fmt.Sprintf("  %d, wanted by %s", use.port, use.component))
		}
	}
	if len(taken) == 0 {
		return nil
	}
	return errors.New("these ports of 127.0.0.1 are taken by another program:\n" + strings.Join(taken, "\n") +
		fmt.Sprintf("\nStop that program, or choose another range of %d ports: make up LMP_PORT_BASE=%d",
			portSpan, (s.portBase+1000)%60000))
}
