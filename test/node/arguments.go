// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "path/filepath"

// arguments of a process of the node. One that is not named here has none.
func (s settings) arguments(name string) []string {
	return map[string][]string{
		"etcd": {
			"--name=node",
			"--data-dir=" + s.file("etcd"),
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=node=http://127.0.0.1:2380",
			"--unsafe-no-fsync", // what is in it ends with this run
			"--log-level=warn",
		},
		"containerd":     {"--config=" + s.config("containerd.toml")},
		"kube-apiserver": s.apiserverArguments(),
		"kube-controller-manager": {
			"--kubeconfig=" + s.config("admin.kubeconfig"),
			"--leader-elect=false",
			// With the default of 20 requests a second it takes five seconds to start its controllers.
			"--kube-api-qps=500", "--kube-api-burst=1000",
			"--service-account-private-key-file=" + s.pki("service-account.key"),
			"--root-ca-file=" + s.pki("ca.crt"),
			"--cluster-signing-cert-file=" + s.pki("ca.crt"), "--cluster-signing-key-file=" + s.pki("ca.key"),
			"--flex-volume-plugin-dir=" + s.file("plugins"), // it makes the folder, by default below /usr
		},
		"kube-scheduler": {
			"--kubeconfig=" + s.config("scheduler.kubeconfig"),
			"--authentication-kubeconfig=" + s.config("admin.kubeconfig"),
			"--authorization-kubeconfig=" + s.config("admin.kubeconfig"),
			"--leader-elect=false",
		},
		"kubelet": {
			"--config=" + s.config("kubelet.yaml"),
			"--kubeconfig=" + s.config("kubelet-user.kubeconfig"),
			"--hostname-override=" + nodeName, "--node-ip=" + nodeIP,
			"--root-dir=" + s.file("kubelet"),
			"--v=2",
		},
		"kube-proxy": {"--config=" + s.config("kube-proxy.yaml")},
		"coredns":    {"-conf", s.config("Corefile")},
	}[name]
}

func (s settings) apiserverArguments() []string {
	return []string{
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", "--secure-port=6443", "--advertise-address=" + nodeIP,
		"--service-cluster-ip-range=" + serviceRange,
		"--tls-cert-file=" + s.pki("apiserver.crt"), "--tls-private-key-file=" + s.pki("apiserver.key"),
		"--client-ca-file=" + s.pki("ca.crt"),
		"--authorization-mode=Node,RBAC",
		// To what is on by default, such as PodSecurity, this adds that a kubelet writes its own node and pods only.
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", // it is for PodSecurity to say no
		"--kubelet-client-certificate=" + s.pki("admin.crt"), "--kubelet-client-key=" + s.pki("admin.key"),
		"--kubelet-certificate-authority=" + s.pki("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + s.pki("service-account.pub"),
		"--service-account-signing-key-file=" + s.pki("service-account.key"),
		"--audit-policy-file=" + s.config("audit.yaml"),
		"--audit-log-path=" + filepath.Join(s.Logs, "audit.log"),
	}
}
