// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// output runs a program as a person would, and returns what it prints. Its failure is the spec's.
func output(ctx context.Context, program string, args ...string) string {
	GinkgoHelper()
	return outputOf(ctx, "", program, args...)
}

// outputOf is output with an input.
func outputOf(ctx context.Context, stdin, program string, args ...string) string {
	GinkgoHelper()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	Expect(cmd.Run()).To(Succeed(), "%s %s\n%s%s", program, strings.Join(args, " "), &stdout, &stderr)
	return stdout.String()
}

func kubectl(ctx context.Context, args ...string) string {
	GinkgoHelper()
	return output(ctx, "kubectl", args...)
}

// apply hands manifests to `kubectl apply`.
func apply(ctx context.Context, manifests string) {
	GinkgoHelper()
	outputOf(ctx, manifests, "kubectl", "apply", "--server-side", "-f", "-")
}

func helm(ctx context.Context, args ...string) string {
	GinkgoHelper()
	return output(ctx, kube.Path("bin/tools/helm"), args...)
}

// figure prints what was measured, where `make e2e` shows it also if all goes well.
func figure(format string, args ...any) {
	fmt.Fprintf(os.Stdout, "\ne2e: "+format+"\n", args...)
}

// took returns how long do takes, in seconds.
func took(do func()) float64 {
	began := time.Now()
	do()
	return time.Since(began).Seconds()
}
