// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/letmepost/letmepost-operator/internal/gate"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// proxy is a real one, configured as docs/examples/guard says.
type proxy struct {
	name, program, example, listens string
	more                            []string // further files
	around                          string   // what stands around the example, with %DIR and %EXAMPLE
	args                            []string // with %DIR and %CONFIG
	asking                          *regexp.Regexp
}

var (
	nginx = proxy{
		name: "nginx", program: "nginx", example: "nginx.conf", listens: "listen 80;",
		around: "daemon off; pid %DIR/pid; error_log stderr; worker_processes 1;\nevents {}\n" +
			"http {\naccess_log off;\nkeepalive_requests 1000000;\nclient_body_temp_path %DIR/1; proxy_temp_path %DIR/2; " +
			"fastcgi_temp_path %DIR/3; uwsgi_temp_path %DIR/4; scgi_temp_path %DIR/5;\n%EXAMPLE\n}\n",
		args: []string{"-e", "stderr", "-p", "%DIR", "-c", "%CONFIG"},
		// What asks, and what is made of the answer.
		asking: regexp.MustCompile(`(?m)^.*(auth_request |lmp_).*\n`),
	}
	haproxy = proxy{
		name: "HAProxy", program: "haproxy", example: "haproxy.cfg", listens: "bind :80", more: []string{"letmepost.lua"},
		around: "%EXAMPLE", args: []string{"-db", "-C", "%DIR", "-f", "%CONFIG"},
		asking: regexp.MustCompile(`(?m)^.*lua\.letmepost.*\n`),
	}
	caddy = proxy{
		name: "Caddy 2.6", program: "caddy", example: "Caddyfile", listens: "http://:80",
		around: "{\n\tadmin off\n\tauto_https off\n\tstorage file_system %DIR\n}\n%EXAMPLE",
		args:   []string{"run", "--adapter", "caddyfile", "--config", "%CONFIG"},
		asking: regexp.MustCompile(`(?s)\tforward_auth .*?\n\t\}\n`),
	}
)

// allProxies are those that tests have, too; a Caddy of another time is another proxy.
func allProxies() []proxy {
	newest := caddy
	newest.name, newest.program = "Caddy 2.11", kube.Path("bin/tools/caddy")
	return []proxy{nginx, haproxy, caddy, newest}
}

// run runs it before a service, and returns when it listens. It asks the gate if it is to guard, and else nobody.
func (p proxy) run(ctx context.Context, dir, gate, service string, guard bool) (*server, error) {
	ports, err := kube.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address, config := kube.Address(ports[0]), filepath.Join(dir, p.example)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// Of whatever Host: Caddy would take an address for the only one that it serves, and answer all others by itself.
	listens := strings.Replace(p.listens, "80", fmt.Sprint(ports[0]), 1)
	here := strings.NewReplacer(
		"letmepost-gate.letmepost-system.svc:80", gate, "your-service:80", service, p.listens, listens)
	for _, name := range append([]string{p.example}, p.more...) {
		text, err := os.ReadFile(kube.Path("docs/examples/guard/" + name))
		if err != nil {
			return nil, err
		}
		changed := here.Replace(string(text))
		if name == p.example {
			if !guard {
				changed = p.asking.ReplaceAllString(changed, "")
			}
			changed = strings.NewReplacer("%DIR", dir, "%EXAMPLE", changed).Replace(p.around)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(changed), 0o600); err != nil {
			return nil, err
		}
	}
	var args []string
	for _, arg := range p.args {
		args = append(args, strings.NewReplacer("%DIR", dir, "%CONFIG", config).Replace(arg))
	}
	path, err := exec.LookPath(p.program)
	if err != nil {
		path = filepath.Join("/usr/sbin", p.program) // where Debian has some; `make proxies` installs them
	}
	process, err := kube.Run(kube.Command{
		Name: filepath.Base(path), Path: path, Args: args, Log: filepath.Join(dir, "log"),
		Env: append(kube.MinimalEnv(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir),
	})
	if err != nil {
		return nil, err
	}
	s := &server{address: address, stop: func() { process.Kill(); <-process.Done() }}
	return s, s.listening(ctx, process)
}

// listening waits until it takes connections.
func (s *server) listening(ctx context.Context, process *kube.Process) error {
	err := process.Await(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		s.stop()
	}
	return err
}

// benchProxies measures requests a second through each proxy, with the gate and without it.
func benchProxies(ctx context.Context, r *report) (err error) {
	g, plaintext, err := newGate(10_000)
	if err != nil {
		return err
	}
	asked, err := serveOn(ctx, gate.NewForward(g))
	if err != nil {
		return err
	}
	defer asked.stop()
	var reached atomic.Int64
	service, err := serveOn(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		w.Header().Set("Content-Length", "0")
	}))
	if err != nil {
		return err
	}
	defer service.stop()
	dir, err := os.MkdirTemp("", "lmp-bench-proxies-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for i, p := range allProxies() {
		rates, err := p.rates(ctx, filepath.Join(dir, fmt.Sprint(i)), asked.address, service.address, plaintext)
		if err == nil && reached.Swap(0) == 0 {
			err = errors.New("no request reached the service")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		r.series.Proxies = append(r.series.Proxies, *rates)
		r.plain("gate: requests/s through "+p.name+" that asks it / that asks nobody", rates.With/rates.Without, "x",
			fmt.Sprintf("%.0f / %.0f requests/s; gate, service and client on the same machine", rates.With, rates.Without))
	}
	return nil
}

// rates measures both in turns, and returns the medians.
func (p proxy) rates(ctx context.Context, dir, gate, service, plaintext string) (*proxyRates, error) {
	var proxies [2]*server
	for i, guard := range []bool{false, true} {
		s, err := p.run(ctx, filepath.Join(dir, fmt.Sprint(guard)), gate, service, guard)
		if err != nil {
			return nil, err
		}
		defer s.stop()
		proxies[i] = s
	}
	var rates [2][]float64
	for range rounds {
		for i, s := range proxies {
			rate, err := s.ask(ctx, []string{"/any"}, plaintext, time.Second)
			if err != nil {
				return nil, err
			}
			rates[i] = append(rates[i], rate)
		}
	}
	return &proxyRates{p.name, median(rates[0]), median(rates[1])}, nil
}
