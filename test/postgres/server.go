// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// Server is a PostgreSQL of the test's own, which it may stop.
type Server struct {
	Address string // URL of the database "postgres"

	dir     string
	host    string
	port    int
	program string
	as      []string // what runs a program as another user; nil: nothing need to
	process *kube.Process
}

// StartServer starts a server that no other test uses. It ends with the test.
func StartServer(t testing.TB) *Server {
	t.Helper()
	return StartServerOn(t, loopback, "")
}

// StartServerOn is StartServer on an address other than that of loopback, for clients in a network (CIDR). None of them
// needs a password: it is for networks that end at the machine.
func StartServerOn(t testing.TB, host, network string) *Server {
	t.Helper()
	s, err := newServer(host, network)
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Start starts the server again, with its data and at its address.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
}

// Stop ends the server as a power cut does, connections and all. One that is stopped stays so.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatalf("stop PostgreSQL: %v", err)
	}
	select {
	case <-s.process.Done():
	case <-time.After(bound):
		s.process.Kill()
		t.Fatal("PostgreSQL did not stop when asked and was killed")
	}
}

const loopback = "127.0.0.1"

// newServer makes an empty server and starts it.
func newServer(host, network string) (*Server, error) {
	initdb, err := program("initdb")
	if err != nil {
		return nil, err
	}
	server, err := program("postgres")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "letmepost-postgres-*")
	if err != nil {
		return nil, err
	}
	ports, err := kube.FreePorts(1)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Address: fmt.Sprintf(
			"postgres://postgres@%s/postgres?sslmode=disable",
			net.JoinHostPort(host, strconv.Itoa(ports[0])),
		),
		dir: dir, host: host, port: ports[0], program: server,
	}
	if err := removeAtExit(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if os.Getuid() == 0 {
		if s.as, err = unprivileged(dir); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	line := append(s.as, initdb, "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := s.trust(network); err != nil {
		return nil, err
	}
	return s, s.run()
}

// trust lets clients of a network in, besides those of loopback. "" is none.
func (s *Server) trust(network string) error {
	if network == "" {
		return nil
	}
	file, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "host all all %s trust\n", network)
	return errors.Join(err, file.Close())
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// run starts the server and waits until it answers.
func (s *Server) run() error {
	// Durability as in production, since some tests pull the plug; the rest is for many small servers on one machine.
	line := append(s.as, s.program, "-D", s.data(), "-h", s.host, "-p", strconv.Itoa(s.port),
		"-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "shared_buffers=32MB")
	process, err := kube.Run(kube.Command{
		Name: "postgres", Path: line[0], Args: line[1:], Env: kube.MinimalEnv(), Log: filepath.Join(s.dir, "log"),
	})
	if err != nil {
		return err
	}
	s.process = process
	db, err := sql.Open("pgx", s.Address)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := process.Await(ctx, db.PingContext); err != nil {
		process.Kill()
		return err
	}
	return nil
}

// program finds a program of PostgreSQL: on PATH, beside the postgres that is there, or where Debian puts it.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.EvalSymlinks(path)
	}
	if server, err := exec.LookPath("postgres"); err == nil {
		if server, err = filepath.EvalSymlinks(server); err == nil {
			path := filepath.Join(filepath.Dir(server), name)
			if exec.Command(path, "--version").Run() == nil { //nolint:noctx // answers at once
				return path, nil
			}
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("there is no %s on PATH or in /usr/lib/postgresql: run hack/services.sh, as `make test` does, "+
			"or set %s to the URL of a server", name, AddressEnv)
	}
	return found[len(found)-1], nil
}

// unprivileged gives dir to another user, as PostgreSQL refuses to run as root, and returns what runs a program as
// that.
func unprivileged(dir string) ([]string, error) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		return nil, fmt.Errorf(
			"PostgreSQL does not run as root, and there is no setpriv (util-linux) to run it as another user: %w",
			err,
		)
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, err
	}
	// The kernel forgets the signal of the parent's death when the user changes, so setpriv has to ask for it anew.
	return []string{setpriv, "--pdeathsig", "KILL", "--reuid", u.Uid, "--regid", u.Gid, "--clear-groups", "--"}, nil
}

// removeAtExit removes a directory when this process ends, however it does: a child waits for its standard input to
// end.
func removeAtExit(dir string) error {
	// Servers that die at the same moment may be writing their last.
	const script = `trap '' INT TERM HUP; cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do ` +
		`rm -rf -- "$1" 2>/dev/null; sleep 0.3; [ -e "$1" ] || exit 0; done`
	cmd := exec.Command("sh", "-c", script, "sh", dir) //nolint:noctx // it must outlive us
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := cmd.StdinPipe(); err != nil { // which closes when this process ends
		return err
	}
	janitors = append(janitors, cmd)
	return cmd.Start()
}

// janitors keeps the pipes from being collected, and so closed.
var janitors []*exec.Cmd
