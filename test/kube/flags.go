package kube

import (
	"path/filepath"
	"strconv"
)

// EtcdURL is etcd's client endpoint. It speaks gRPC, and JSON through the gateway: POST /v3/kv/range, /v3/kv/txn.
func (c *Cluster) EtcdURL() string { return "http://" + Address(c.options.Ports.EtcdClient) }

func (c *Cluster) apiServerURL() string { return "https://" + Address(c.options.Ports.APIServer) }

func (c *Cluster) etcdArgs() []string {
	peer := "http://" + Address(c.options.Ports.EtcdPeer)
	args := []string{
		"--name=default",
		"--data-dir=" + filepath.Join(c.options.Dir, "etcd"),
		"--listen-client-urls=" + c.EtcdURL(),
		"--advertise-client-urls=" + c.EtcdURL(),
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
	}
	if c.options.UnsafeNoFsync {
		args = append(args, "--unsafe-no-fsync")
	}
	return args
}

func (c *Cluster) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=" + c.EtcdURL(),
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(c.options.Ports.APIServer),
		"--advertise-address=127.0.0.1",
		// A loopback address may not be an endpoint of the Service "kubernetes"; without pods nothing needs it.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file=" + c.pki.cert(apiServerName),
		"--tls-private-key-file=" + c.pki.key(apiServerName),
		"--client-ca-file=" + c.pki.cert(caName),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.pki.pub(serviceAccountName),
		"--service-account-signing-key-file=" + c.pki.key(serviceAccountName),
		// Otherwise a watch that somebody has open (kubectl get -w) keeps it from ending for a minute, and it is killed.
		"--shutdown-watch-termination-grace-period=1s",
	}
	if c.options.Issuer != nil {
		args = append(args, "--authentication-config="+c.authenticationFile())
	}
	return args
}

func (c *Cluster) controllerManagerArgs() []string {
	kubeconfig := c.kubeconfig(controllerManagerName)
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(c.options.Ports.ControllerManager),
		"--tls-cert-file=" + c.pki.cert(apiServerName),
		"--tls-private-key-file=" + c.pki.key(apiServerName),
		"--leader-elect=false",
		// With the default of 20 requests a second it takes five seconds to start its controllers.
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--root-ca-file=" + c.pki.cert(caName),
		"--service-account-private-key-file=" + c.pki.key(serviceAccountName),
	}
}
