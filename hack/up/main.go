// Command up is what `make up` and `make down` run: the whole product on this machine, on a real control plane.
//
//	up         start everything, load the samples, run until SIGINT or SIGTERM, stop everything
//	up down    stop a running one and remove its state
//
// It expects to run in the root of the repository, with bin/ built. The environment decides the rest: LMP_DEV_DIR
// (state, default .dev), LMP_PORT_BASE (default 17600), LIVE_REPLICAS (default 1), LIVE_FLAGS (more flags of the live
// API, with spaces between them; default none).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one has its default effect: a second Ctrl-C ends a stop that takes too long,
	// and the children die with this process.
	context.AfterFunc(ctx, restore)
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "\n"+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	settings, err := readSettings(getenv)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 0:
		return up(ctx, settings, stdout)
	case len(args) == 1 && args[0] == "down":
		return down(ctx, settings.dir, stdout)
	default:
		return errors.New("usage: up [down]")
	}
}
