package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The ports that FreePorts draws from lie below the kernel's ephemeral range (from 32768 on by default). Inside
// it, an outgoing connection of anything on the machine could be given the port of a server that is just being
// restarted, and the server could not come back.
const (
	firstPort = 20000
	lastPort  = 32000
)

// FreePorts returns n ports of 127.0.0.1 that nothing listens on, and that no other FreePorts of any process on
// this machine returns as long as this process lives: test packages run side by side, and restart their servers.
func FreePorts(n int) ([]int, error) {
	claimed.Lock()
	defer claimed.Unlock()

	ports := make([]int, 0, n)
	for range 1000 {
		if len(ports) == n {
			return ports, nil
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		// An abstract Unix socket is a claim that needs no file and goes away with the process.
		claim, err := listen("unix", "@letmepost-port-"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		if err := PortFree(port); err != nil {
			_ = claim.Close()
			continue
		}
		claimed.listeners = append(claimed.listeners, claim)
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("no %d free ports between %d and %d", n, firstPort, lastPort)
}

// claimed keeps the claims from being collected, and so closed.
var claimed struct {
	sync.Mutex
	listeners []net.Listener
}

// PortFree tells whether a server could listen on a port of 127.0.0.1 now: nil, or why not.
func PortFree(port int) error {
	listener, err := listen("tcp", Address(port))
	if err != nil {
		return fmt.Errorf("port %d is taken: %w", port, err)
	}
	return listener.Close()
}

// listen takes no context, since on this machine's own addresses it never waits.
func listen(network, address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(context.Background(), network, address)
}

// Address is a port of 127.0.0.1 as host:port.
func Address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
