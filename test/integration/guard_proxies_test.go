// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// The addresses in docs/examples/guard, which stand for those of a test.
const (
	gateInExamples    = "letmepost-gate.letmepost-system.svc:80"
	serviceInExamples = "your-service:80"
)

// proxy is one of docs/examples/guard: how it is run, and where its example says that it listens.
type proxy struct {
	program, example, listens string   // the program: on the PATH, or where the repository has it
	more                      []string // further files
	around                    string   // what stands around the example, with %DIR and %EXAMPLE
	args                      []string // with %DIR and %CONFIG
}

// caddy is configured in one way whatever its version.
var caddy = proxy{
	program: "caddy", example: "Caddyfile", listens: "http://:80",
	around: "{\n\tadmin off\n\tauto_https off\n\tstorage file_system %DIR\n}\n%EXAMPLE",
	args:   []string{"run", "--adapter", "caddyfile", "--config", "%CONFIG"},
}

var proxies = map[string]proxy{
	"nginx": {
		program: "nginx", example: "nginx.conf", listens: "listen 80;",
		around: "daemon off; pid %DIR/pid; error_log stderr; worker_processes 1;\nevents {}\nhttp {\naccess_log off;\n" +
			"client_body_temp_path %DIR/1; proxy_temp_path %DIR/2; fastcgi_temp_path %DIR/3; uwsgi_temp_path %DIR/4; scgi_temp_path %DIR/5;\n" +
			"%EXAMPLE\n}\n",
		args: []string{"-e", "stderr", "-p", "%DIR", "-c", "%CONFIG"},
	},
	"Caddy of Debian":  caddy,
	"the newest Caddy": caddy.as("bin/tools/caddy"),
	"HAProxy": {
		program: "haproxy", example: "haproxy.cfg", listens: "bind :80", more: []string{"letmepost.lua"}, around: "%EXAMPLE",
		args: []string{"-db", "-C", "%DIR", "-f", "%CONFIG"},
	},
}

// as is the same proxy by another program.
func (p proxy) as(program string) proxy {
	p.program = program
	return p
}

func (p proxy) path() string {
	if filepath.Dir(p.program) != "." {
		return kube.Path(p.program)
	}
	if path, err := exec.LookPath(p.program); err == nil {
		return path
	}
	return filepath.Join("/usr/sbin", p.program) // where Debian has some of them, which is not on everybody's PATH
}

// guard runs a proxy as the documentation has it before a service, and returns its URL.
func (p proxy) guard(ctx SpecContext, gate *server, service string) string {
	GinkgoHelper()
	path := p.path()
	Expect(path).To(BeAnExistingFile(), "`make proxies` installs it")
	dir, address := GinkgoT().TempDir(), kube.Address(freePorts(1)[0])
	here := strings.NewReplacer(
		gateInExamples, strings.TrimPrefix(gate.url, "http://"), serviceInExamples, strings.TrimPrefix(service, "http://"),
		p.listens, strings.Replace(strings.Replace(p.listens, ":80", "80", 1), "80", address, 1),
	)
	example := func(name string) string {
		text, err := os.ReadFile(kube.Path("docs/examples/guard/" + name))
		Expect(err).NotTo(HaveOccurred())
		changed := here.Replace(string(text))
		Expect(changed).NotTo(Equal(string(text)), "the example names what stands for the test's addresses")
		return changed
	}
	config := filepath.Join(dir, p.example)
	fill := strings.NewReplacer("%DIR", dir, "%CONFIG", config, "%EXAMPLE", example(p.example))
	Expect(os.WriteFile(config, []byte(fill.Replace(p.around)), 0o600)).To(Succeed())
	for _, name := range p.more {
		Expect(os.WriteFile(filepath.Join(dir, name), []byte(example(name)), 0o600)).To(Succeed())
	}
	var args []string
	for _, arg := range p.args {
		args = append(args, fill.Replace(arg))
	}
	process, err := kube.Run(kube.Command{
		Name: filepath.Base(path), Path: path, Args: args, Log: filepath.Join(dir, "log"),
		Env: append(kube.MinimalEnv(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir),
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() {
		if CurrentSpecReport().Failed() {
			AddReportEntry(p.program, process.Tail(20))
		}
		process.Kill()
		<-process.Done()
	})
	Eventually(ctx, func() error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		return err
	}, patience, interval).Should(Succeed(), "%s", process.Tail(20))
	return "http://" + address
}

// service is somebody's, which trusts what it is told of a request. It answers with the headers that it got.
type service struct {
	*httptest.Server
	reached atomic.Int64
}

func newService() *service {
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.reached.Add(1)
		_ = json.NewEncoder(w).Encode(r.Header)
	}))
	DeferCleanup(s.Close)
	return s
}

// launchGate starts a gate for the keys of both environments, whose apiserver is behind a proxy of its own.
func launchGate(ctx SpecContext) (*server, *kube.Proxy) {
	GinkgoHelper()
	cut, err := cluster.StartProxy()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(cut.Close)
	kubeconfig := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(cut.ServiceAccountKubeconfig(ctx, systemNamespace, gateAccount, kubeconfig)).To(Succeed())
	ports := freePorts(3)
	p := launch(kube.Path("bin/gate"), gateAccount, "--kubeconfig", kubeconfig, // the last --kubeconfig counts
		"--environment", "both", "--lease-duration", "3s", "--default-rate-limit", "none",
		"--listen-address", kube.Address(ports[0]), "--grpc-listen-address", kube.Address(ports[1]),
		"--metrics-bind-address", kube.Address(ports[2]))
	s := &server{process: p, url: "http://" + kube.Address(ports[0]), metrics: "http://" + kube.Address(ports[2]) + "/metrics"}
	s.waitReady(ctx)
	return s, cut
}
