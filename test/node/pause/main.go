// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command pause waits until it is told to end. It is the process that holds a pod's namespaces.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
}
