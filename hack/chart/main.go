// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chart writes what follows from the chart and its inputs:
//
//	config/crd          → charts/letmepost-operator/files/crds
//	values.yaml         → values.schema.json, and the table of values in README.md
//	the default output  → config/, for those who install without Helm
//	gate.enabled        → config/gate, with what the gate adds to that
//
// It runs Helm, which hack/helm/build.sh builds: only Helm knows for certain what its templates give. All that is
// written is checked in, so that people can read and install it without building anything; make verify finds what is
// stale.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Where things are, from the root of the repository.
const (
	chartDir  = "charts/letmepost-operator"
	configDir = "config"
	helm      = "bin/tools/helm"

	// release and namespace are what the documentation installs the chart as.
	release   = "letmepost-operator"
	namespace = "letmepost-system"
)

func main() {
	if err := run(context.Background(), "."); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// run writes everything below root, the folder of the repository.
func run(ctx context.Context, root string) error {
	chart := filepath.Join(root, chartDir)
	if err := copyDefinitions(filepath.Join(root, configDir, "crd"), filepath.Join(chart, "files", "crds")); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	values, err := parseValues(text)
	if err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	schema, err := schemaOf(values)
	if err != nil {
		return err
	}
	//nolint:gosec // G703: whoever runs this is in the repository
	if err := os.WriteFile(filepath.Join(chart, "values.schema.json"), schema, 0o644); err != nil {
		return err
	}
	if err := rewrite(filepath.Join(chart, "README.md"), tableOf(values)); err != nil {
		return err
	}
	rendered, err := render(ctx, root)
	if err != nil {
		return err
	}
	withGate, err := render(ctx, root, "gate.enabled=true")
	if err != nil {
		return err
	}
	return writeConfig(filepath.Join(root, configDir), rendered, withGate)
}

// copyDefinitions makes the files of to those of from. The chart needs its own copies: Helm takes no file from
// outside of a chart.
func copyDefinitions(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy definitions: %w", err)
	}
	return nil
}

// render returns what the chart makes of its default values, and of those that are set.
func render(ctx context.Context, root string, set ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	args := []string{"template", release, filepath.Join(root, chartDir), "--namespace", namespace}
	for _, value := range set {
		args = append(args, "--set", value)
	}
	command := exec.CommandContext(ctx, filepath.Join(root, helm), args...)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("helm template: %w", err), errors.New(stderr.String()))
	}
	return stdout.Bytes(), nil
}
