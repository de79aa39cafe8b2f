// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// benchList measures `kubectl letmepost list` as a person waits for it, the start of the process included, beside a
// bare client that lists the same keys.
func benchList(ctx context.Context, r *report, b *bed) error {
	const keys = 10_000
	namespace, err := b.namespace(ctx)
	if err != nil {
		return err
	}
	if _, err := b.load(ctx, namespace, keys); err != nil {
		return err
	}
	rc, err := b.restClient()
	if err != nil {
		return err
	}
	var plugins, lists []float64
	for range 5 {
		took, n, err := bareList(ctx, rc)
		if err != nil || n != keys {
			return fmt.Errorf("the bare list has %d keys, want %d: %w", n, keys, err)
		}
		lists = append(lists, took.Seconds())
		began := time.Now()
		out, err := exec.CommandContext(ctx, kube.Path("bin/kubectl-letmepost"),
			"--kubeconfig", b.KubeconfigPath(), "-n", namespace, "list", "--no-headers").Output()
		if n := bytes.Count(out, []byte("\n")); err != nil || n != keys {
			return fmt.Errorf("kubectl letmepost list has %d lines, want %d: %w", n, keys, err)
		}
		plugins = append(plugins, time.Since(began).Seconds())
	}
	r.atMost("kubectl letmepost list, 10,000 keys", median(plugins), 2, "s",
		fmt.Sprintf("a bare LIST of them takes %.2f s", median(lists)))
	return nil
}
