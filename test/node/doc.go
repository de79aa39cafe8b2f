// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command node runs one command beside a real Kubernetes node of its own: etcd, the control plane, kubelet, kube-proxy,
// containerd and CoreDNS, with pods that are real containers.
//
//	node [-image [NAME=]FILE.tar]... [-image NAME=BINARY]... [-logs DIR] -- COMMAND ARG...
//	go test -exec "bin/node -image $PWD/bin/images/api.tar --" ./test/e2e
//
// The node and the command live in namespaces of their own (mount, pid, network, hostname, IPC, cgroup). The machine's
// network, its sysctls and its /var/lib see nothing of them, and when the command ends, or the launcher is told to, pid
// 1 of the namespace ends and the kernel takes everything with it: there is no list of things to stop.
//
// Three processes make a node:
//
//	launch  on the machine: checks, makes the state directory and the cgroups, and removes both at the end
//	enter   pid 1 of the namespaces: joins the cgroups, reaps orphans, ends when the next one does
//	run     pid 2: mounts, network, certificates, the cluster, and the command
//
// The command finds in its environment:
//
//	KUBECONFIG  an administrator's; kubectl, ctr and helm are on the PATH
//	NODE_IP     the node's address: what the command listens on there, pods can reach
//	NODE_LOGS   a folder with NAME.log of each process, audit.log of the apiserver, and pods/ with the logs of containers
//
// A PersistentVolumeClaim binds to one of sixteen folders (the default StorageClass "local"). There is no registry and
// no way out to any other network: the images are those that were given.
package main
