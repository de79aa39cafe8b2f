package kube

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/rest"
)

// Names of the control plane's processes, also of their programs, pid files and logs.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
)

// stopBound is how long a process of the control plane may take to stop before it is killed: a second, or many of them
// on a machine that is busy with other things.
const stopBound = 30 * time.Second

// Options says what to run, and where.
type Options struct {
	// Dir holds all state: certificates, kubeconfigs, etcd's data, logs (log/NAME.log) and pid files
	// (pids/NAME.pid). What is in it from an earlier run is used again, so a control plane keeps its objects over a
	// restart. "" means a temporary directory that Stop removes.
	Dir string
	// BinDir holds the programs; "" means bin/k8s of this repository.
	BinDir string
	// Ports of 127.0.0.1 to use; those left zero are chosen free.
	Ports Ports
	// ControllerManager also runs kube-controller-manager: garbage collection, namespace deletion, default
	// ServiceAccounts. Tests that need none of these start faster without.
	ControllerManager bool
	// UnsafeNoFsync makes etcd faster and lets it lose its data when the machine (not the process) crashes.
	UnsafeNoFsync bool
	// Issuer starts the OpenID provider that the apiserver trusts as docs/dashboard.md has it, with files in a folder.
	// It is asked as soon as the apiserver starts. Optional.
	Issuer func(folder string) (Issuer, error)
	// Manifests are files and folders to apply once the apiserver is ready; relative to the repository's root.
	Manifests []string
}

// Ports of 127.0.0.1 that a control plane listens on.
type Ports struct {
	EtcdClient, EtcdPeer, APIServer, ControllerManager int
}

// Cluster is a running control plane. Its methods are not safe for concurrent use with Stop, StopAPIServer and
// StartAPIServer.
type Cluster struct {
	options   Options
	temporary bool // Dir is ours to remove
	pki       pki
	ca        []byte
	admin     *rest.Config

	etcd, apiServer, controllerManager *Process
}

// Start starts a control plane and waits until it is ready: about three seconds when Dir is new. When ctx ends
// first, or a process dies, everything is stopped again and the error has the end of the log that matters.
func Start(ctx context.Context, options Options) (_ *Cluster, err error) {
	c := &Cluster{options: options}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if err := c.prepare(); err != nil {
		return nil, err
	}
	if c.etcd, err = c.run(Etcd, c.etcdArgs()); err != nil {
		return nil, err
	}
	// The apiserver waits for etcd by itself: starting both at once saves a second.
	if err := c.StartAPIServer(ctx); err != nil {
		return nil, err
	}
	// Before the controller manager, whose garbage collector looks for new kinds of objects only every half minute.
	if err := c.install(ctx); err != nil {
		return nil, err
	}
	// The controller manager does not wait: started before the apiserver is ready, it backs off for seconds.
	if options.ControllerManager {
		if c.controllerManager, err = c.run(ControllerManager, c.controllerManagerArgs()); err != nil {
			return nil, err
		}
		health := "https://" + Address(c.options.Ports.ControllerManager) + "/healthz"
		if err := c.waitReady(ctx, c.controllerManager, health); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) install(ctx context.Context) error {
	if len(c.options.Manifests) == 0 {
		return nil
	}
	paths := make([]string, len(c.options.Manifests))
	for i, path := range c.options.Manifests {
		paths[i] = Path(path)
	}
	return InstallManifests(ctx, c.admin, paths...)
}

func (c *Cluster) run(name string, args []string) (*Process, error) {
	return Run(Command{
		Name: name,
		Path: filepath.Join(c.options.BinDir, name),
		Args: args,
		Env:  MinimalEnv(),
		Log:  filepath.Join(c.options.Dir, "log", name+".log"),
		PID:  filepath.Join(c.options.Dir, "pids", name+".pid"),
	})
}

// StartAPIServer starts the apiserver, on the same port and state as before, and waits until it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	var err error
	if c.apiServer, err = c.run(APIServer, c.apiServerArgs()); err != nil {
		return err
	}
	return c.waitReady(ctx, c.apiServer, c.apiServerURL()+"/readyz")
}

// StopAPIServer stops the apiserver alone; clients get refused connections until StartAPIServer.
func (c *Cluster) StopAPIServer() error { return stop(c.apiServer) }

// Processes returns the processes in the order of their start.
func (c *Cluster) Processes() []*Process {
	all := []*Process{c.etcd, c.apiServer, c.controllerManager}
	return slices.DeleteFunc(all, func(p *Process) bool { return p == nil })
}

// Stop stops everything, last started first, and removes Dir if it was a temporary one.
func (c *Cluster) Stop() error {
	var errs []error
	for _, process := range slices.Backward(c.Processes()) {
		errs = append(errs, stop(process))
	}
	if c.temporary {
		errs = append(errs, os.RemoveAll(c.options.Dir))
	}
	return errors.Join(errs...)
}

func stop(process *Process) error {
	// Not the caller's context: that has often ended, which is why things are being stopped.
	ctx, cancel := context.WithTimeout(context.Background(), stopBound)
	defer cancel()
	return process.Stop(ctx)
}
