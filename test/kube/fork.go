package kube

import (
	"os/exec"
	"runtime"
	"sync"
)

// forks hands commands to the one goroutine that starts children.
//
// The kernel sends a child its parent-death signal when the *thread* that forked it ends, and the Go runtime
// ends threads as it sees fit. So all children are forked from a goroutine that is locked to its thread and
// never returns: the signal then fires exactly when this whole process is gone, even after kill -9.
var forks = sync.OnceValue(func() chan<- forkRequest {
	requests := make(chan forkRequest)
	go func() {
		runtime.LockOSThread()
		for request := range requests {
			request.result <- request.cmd.Start()
		}
	}()
	return requests
})

type forkRequest struct {
	cmd    *exec.Cmd
	result chan<- error
}

func fork(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	forks() <- forkRequest{cmd, result}
	return <-result
}
