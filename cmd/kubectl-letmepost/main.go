// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-letmepost is a plugin of kubectl: `kubectl letmepost`. This file is wiring; internal/plugin has the
// verbs.
package main

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"golang.org/x/term"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the ways to sign in that a kubeconfig may name, as kubectl has them
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/plugin"
)

// main hands package plugin the clock, randomness, the environment and the standard streams, so that its tests run
// whole command lines within their own process.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // the first signal ends it in order; a second one, no longer caught, at once
	klog.SetLogger(logr.Discard()) // client-go's remarks are for operators; what people are to know comes as an error
	os.Exit(plugin.Run(ctx, os.Args[1:], plugin.Options{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Terminal: func() (in, out bool) { return isTerminal(os.Stdin), isTerminal(os.Stdout) },
		Random:   rand.Reader,
		Clock:    clock.RealClock{},
		Getenv:   os.Getenv,
		Open:     openBrowser,
	}))
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
