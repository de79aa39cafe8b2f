// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/process"
)

func TestWrongTelemetryFlags(t *testing.T) {
	for _, args := range []string{"--otlp-endpoint collector:4318", "--otlp-endpoint http://u:p@collector", "--trace-sample-ratio 2"} {
		var stdout, stderr bytes.Buffer
		code := exitCode(run(context.Background(), strings.Fields("--environment live "+args), noEnv, &stdout, &stderr), &stderr)
		flag, _, _ := strings.Cut(args, " ")
		if code != 2 || !strings.Contains(stderr.String(), flag) {
			t.Errorf("api %s: exit code %d, stderr %q; want code 2 and %s named", args, code, &stderr, flag)
		}
	}
}

// The audit log is written at every level.
func TestAuditHasNoLevel(t *testing.T) {
	var stderr bytes.Buffer
	logger, audit := process.NewLoggers(&stderr, slog.LevelError)
	logger.Warn("left out")
	audit.Info("kept")
	if got := stderr.String(); strings.Contains(got, "left out") || !strings.Contains(got, `"logger":"audit"`) {
		t.Errorf("got %s", got)
	}
}
