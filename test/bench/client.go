// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// clientVariable is the environment variable that makes this program a client: it holds an asking.
const clientVariable = "LMP_BENCH_CLIENT"

// asking is what a client is to ask for.
type asking struct {
	Address, Key string
	Paths        []string
	Length       time.Duration
}

// ask is loadEach by a process of its own, so that this one is the server alone.
func (s *server) ask(ctx context.Context, paths []string, plaintext string, length time.Duration) (perSecond float64, err error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	order, err := json.Marshal(asking{s.address, plaintext, paths, length})
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), clientVariable+"="+string(order))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("the client: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// beClient does what an asking asks for, and prints the requests answered in a second.
func beClient(ctx context.Context, order string, stdout io.Writer) error {
	var a asking
	if err := json.Unmarshal([]byte(order), &a); err != nil {
		return fmt.Errorf("%s: %w", clientVariable, err)
	}
	rate, err := (&server{address: a.Address}).loadEach(ctx, a.Paths, a.Key, a.Length)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, rate)
	return err
}
