// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// Through starts a real PgBouncer in front of the server, and returns the URL of the database "postgres" through it.
// mode is its pool_mode. It ends with the test.
func (s *Server) Through(t testing.TB, mode string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // where Debian puts it, which is on the PATH of root alone
	}
	ports, err := kube.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(s.dir, "pgbouncer-"+mode+".ini")
	text := fmt.Sprintf(`[databases]
* = host=%s port=%d user=postgres
[pgbouncer]
listen_addr = %[1]s
listen_port = %[3]d
auth_type = any
pool_mode = %s
unix_socket_dir =
`, s.host, s.port, ports[0], mode)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil { // another user reads it
		t.Fatal(err)
	}
	line := append(s.as[:len(s.as):len(s.as)], program, config)
	process, err := kube.Run(kube.Command{
		Name: "pgbouncer", Path: line[0], Args: line[1:], Env: kube.MinimalEnv(),
		Log: filepath.Join(s.dir, "pgbouncer-"+mode),
	})
	if err != nil {
		t.Fatalf("start PgBouncer: %v: run hack/services.sh, as `make test` does", err)
	}
	t.Cleanup(process.Kill)
	u, err := url.Parse(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = net.JoinHostPort(s.host, strconv.Itoa(ports[0]))
	db, err := sql.Open("pgx", u.String()+"&default_query_exec_mode=simple_protocol")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := process.Await(ctx, db.PingContext); err != nil {
		t.Fatal(err)
	}
	return u.String()
}
