// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package redis runs a real Redis for tests.
package redis

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// EnvURL names a Redis or Valkey that runs already, such as redis://localhost:6379/0. Tests leave their entries in it,
// which expire.
const EnvURL = "LMP_TEST_REDIS_URL"

// readyWithin is how long a loaded machine may take to start a server that has nothing to load.
const readyWithin = 30 * time.Second

// URL returns the URL of a Redis to test with: that of EnvURL, or of a server started for this test.
func URL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv(EnvURL); url != "" {
		return url
	}
	return Start(t).URL
}

// Server is a server of a test's own, which may be killed and started again. Nothing of it is kept on disk.
type Server struct {
	URL string

	path, port, folder string
	process            *kube.Process
}

// Start runs a server on a free port of 127.0.0.1 until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	ports, err := kube.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := kube.Address(ports[0])
	s := &Server{URL: "redis://" + address, path: program(t), port: address[len("127.0.0.1:"):], folder: t.TempDir()}
	s.Restart(t)
	t.Cleanup(s.Kill)
	return s
}

// program finds a server.
func program(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf(
		"this test needs a Redis: install redis-server or valkey-server (hack/services.sh does), or name one that tests "+
			"that only need it to be there may use in %s",
		EnvURL,
	)
	return ""
}

// Restart starts the server, empty, and waits until it answers. It must not be running.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	process, err := kube.Run(kube.Command{
		Name: "redis-server", Path: s.path,
		Args: []string{"--bind", "127.0.0.1", "--port", s.port, "--save", "", "--appendonly", "no", "--dir", s.folder},
		Env:  kube.MinimalEnv(), Log: filepath.Join(s.folder, "redis.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.process = process
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	client := goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:" + s.port, MaxRetries: -1})
	defer client.Close()
	if err := process.Await(ctx, func(ctx context.Context) error { return client.Ping(ctx).Err() }); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server, as kill -9 does, and waits until it is gone.
func (s *Server) Kill() {
	s.process.Kill()
	<-s.process.Done()
}

// Pause stops the server without an end, as a network that swallows what it is sent does, until the function is called.
func (s *Server) Pause(t testing.TB) (resume func()) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	return func() { s.signal(t, syscall.SIGCONT) }
}

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := s.process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}
