// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// startBound is how long the node may take to become Ready. It takes some three seconds on two idle cores.
const startBound = 3 * time.Minute

// run makes the namespaces a node, starts the cluster, and then the command beside it.
func run(s settings) (int, error) {
	swallow()
	ctx, cancel := context.WithTimeout(context.Background(), startBound)
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		return 1, err
	}
	c, err := start(ctx, s)
	if err != nil {
		return 1, err
	}
	s.say("Ready, with %d images", len(s.Images))

	began := time.Now()
	code, err := s.command()
	s.say("the command ended with exit code %d after %.0f s", code, time.Since(began).Seconds())
	// What the command says of a node of which a part is missing, says nothing.
	return code, errors.Join(err, c.lost())
}

// prepare makes all that is there before the first process.
func (s settings) prepare(ctx context.Context) error {
	if err := unix.Sethostname([]byte(nodeName)); err != nil {
		return fmt.Errorf("set the node's name: %w", err)
	}
	if err := s.writeFiles(); err != nil {
		return err
	}
	if err := s.mountAll(); err != nil {
		return err
	}
	if err := network(ctx); err != nil {
		return err
	}
	return s.makePKI()
}

// command runs the command, and returns its exit code.
func (s settings) command() (int, error) {
	cmd := exec.Command(s.Command[0], s.Command[1:]...) //nolint:noctx // it ends with its namespace
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, settingsEnv+"=") { // or a node inside this one would take it for its own
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(
		cmd.Env,
		"KUBECONFIG="+s.config("admin.kubeconfig"),
		// Each run is another cluster at the same address: what clients remember must end with it.
		"KUBECACHEDIR="+s.file("cache/kubectl"),
		"HELM_CACHE_HOME="+s.file(
			"cache/helm",
		),
		"HELM_CONFIG_HOME="+s.file("config/helm"),
		"HELM_DATA_HOME="+s.file("data/helm"),
		"CONTAINERD_NAMESPACE=k8s.io",
		"PATH="+s.Bin+":"+s.Tools+":"+os.Getenv("PATH"),
		"NODE_IP="+nodeIP,
		"NODE_LOGS="+s.Logs,
	)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start the command: %w", err)
	}
	return exitCode(cmd.Wait())
}
