package main

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// writeEnv writes what scripts read to find everything. It appears whole, and only when all is ready.
func (s *session) writeEnv() error {
	var live []string
	for replica := range s.liveReplicas {
		live = append(live, httpURL(s.livePort(replica)))
	}
	lines := []string{
		"KUBECONFIG=" + s.cluster.KubeconfigPath(),
		"LMP_LIVE_URL=" + live[0],
		"LMP_LIVE_URLS=" + strings.Join(live, ","),
		"LMP_TEST_URL=" + httpURL(s.testPort()),
		"LMP_CONTROLLER_METRICS_URL=" + httpURL(s.controllerMetricsPort()) + "/metrics",
		"LMP_API_METRICS_URL=" + httpURL(s.liveMetricsPort(0)) + "/metrics",
		"LMP_GATE_URL=" + httpURL(s.gatePort()),
		"LMP_GATE_URLS=" + httpURL(s.gatePort()),
		"LMP_GATE_GRPC=" + kube.Address(s.gateGRPCPort()),
		"LMP_GATE_GRPCS=" + kube.Address(s.gateGRPCPort()),
		"LMP_DASHBOARD_URL=" + s.dashboardURL(s.livePort(0)),
		"LMP_PIDS_DIR=" + s.state.path("pids"),
	}
	return kube.WriteFile(s.state.path("env"), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// printTour prints what to try, as lines to paste into another terminal.
func (s *session) printTour() {
	tour := []string{"export KUBECONFIG=" + s.cluster.KubeconfigPath()}
	if _, err := exec.LookPath("kubectl"); err != nil {
		tour = append(tour, "export PATH=\"$PATH:"+kube.Path("bin/k8s")+"\"")
	}
	tour = append(tour, "kubectl get apikeys.letmepost.dev -A")
	objects, err := kube.LoadManifests(kube.Path("config/samples"))
	if namespace, name, secret := demoKey(objects); err == nil && name != "" {
		tour = append(tour,
			fmt.Sprintf("KEY=$(kubectl -n %s get secret %s -o jsonpath='{.data.LMP_API_KEY}' | base64 -d)", namespace, secret),
			fmt.Sprintf("curl -H \"Authorization: Bearer $KEY\" %s/v1/whoami", httpURL(s.livePort(0))),
			fmt.Sprintf("curl -i -H \"Authorization: Bearer $KEY\" '%s/check?scope=posts:read'    # what a proxy is told",
				httpURL(s.gatePort())),
			fmt.Sprintf("kubectl -n %s delete apikeys.letmepost.dev %s", namespace, name),
			fmt.Sprintf("curl -i -H \"Authorization: Bearer $KEY\" %s/v1/whoami    # 401", httpURL(s.livePort(0))))
	}
	// One line gives a token to sign in with; who it is of decides what they may.
	tour = append(tour, "kubectl -n acme create token minter    # to sign in with, at "+s.dashboardURL(s.livePort(0)))
	fmt.Fprintf(s.out, "\nready. In another terminal:\n\n%s\n\n"+
		"live API %s, test API %s, gate %s; logs in %s, addresses in %s\n"+
		"Dashboards %s (live) and %s (test): sign in as viewer or minter of acme, or as owner of globex.\n"+
		"Ctrl-C stops everything and keeps the state; `make down` removes it.\n",
		indent(strings.Join(tour, "\n")), httpURL(s.livePort(0)), httpURL(s.testPort()), httpURL(s.gatePort()),
		s.state.path("log"), s.state.path("env"), s.dashboardURL(s.livePort(0)), s.dashboardURL(s.testPort()))
}
