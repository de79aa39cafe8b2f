// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// The points of a mint at which a fault can be, in their order.
const (
	beforeCreate = "before-create" // the key is in memory alone
	afterCreate  = "after-create"  // its Secret exists, and nothing says so
	beforeStatus = "before-status" // the same, and the status is on its way
	afterStatus  = "after-status"  // status.hash is written, and nobody was told
)

const (
	actionKill = "kill"
	actionStop = "stop"
)

// fault is what goes wrong, where, and at which call.
type fault struct {
	action string
	point  string
	call   int64

	logger logr.Logger
	seen   atomic.Int64
	cont   chan os.Signal
	struck atomic.Bool
	ended  chan struct{} // closed when the call that the fault came before has ended
}

func (f *fault) check() error {
	if !slices.Contains([]string{"", beforeCreate, afterCreate, beforeStatus, afterStatus}, f.point) {
		return fmt.Errorf("--point: there is no %q", f.point)
	}
	if f.action != actionKill && f.action != actionStop {
		return fmt.Errorf("--action: want %s or %s, not %q", actionKill, actionStop, f.action)
	}
	return nil
}

// listen makes the process able to tell that it was continued. SIGCONT itself cannot be missed: it is what continues.
func (f *fault) listen() {
	f.cont, f.ended = make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(f.cont, syscall.SIGCONT)
}

// funcs are the calls that a mint is made of.
func (f *fault) funcs() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			call := func(ctx context.Context) error { return c.Create(ctx, o, opts...) }
			if _, ok := o.(*corev1.Secret); !ok {
				return call(ctx)
			}
			return f.around(ctx, beforeCreate, afterCreate, o, call)
		},
		SubResourcePatch: func(
			ctx context.Context, c client.Client, name string, o client.Object, patch client.Patch,
			opts ...client.SubResourcePatchOption,
		) error {
			call := func(ctx context.Context) error { return c.SubResource(name).Patch(ctx, o, patch, opts...) }
			if _, ok := o.(*v1alpha1.ApiKey); !ok {
				return call(ctx)
			}
			return f.around(ctx, beforeStatus, afterStatus, o, call)
		},
	}
}

func (f *fault) around(
	ctx context.Context,
	before, after string,
	o client.Object,
	call func(context.Context) error,
) error {
	if !f.due(before) {
		err := call(ctx)
		if f.due(after) {
			f.strike(o)
		}
		return err
	}
	f.strike(o)
	err := call(context.WithoutCancel(ctx))
	f.logger.Info("the stale call has ended", "outcome", fmt.Sprint(err))
	close(f.ended)
	return err
}

func (f *fault) due(point string) bool { return point == f.point && f.seen.Add(1) == f.call }

// strike does not return from a kill; from a stop it returns when the process was continued.
func (f *fault) strike(o client.Object) {
	f.logger.Info("the fault comes", "point", f.point, "at", o.GetName())
	sig := syscall.SIGKILL
	if f.action == actionStop {
		sig = syscall.SIGSTOP
	}
	f.struck.Store(true)
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		panic(err) // no test must pass without its fault
	}
	// The signal may take effect a moment later, in which nothing more must be done.
	<-f.cont
	f.logger.Info("continued")
}

// awaitContinued waits for the call that a stop has delayed, if there was one.
func (f *fault) awaitContinued() {
	if !f.struck.Load() || f.point != beforeCreate && f.point != beforeStatus {
		return
	}
	select {
	case <-f.ended:
	case <-time.After(patience):
	}
}
