// Package kube runs a real Kubernetes control plane as plain processes: etcd, kube-apiserver and, when asked
// for, kube-controller-manager, built from published Go modules by hack/controlplane.
//
// `make up` and every control-plane test stand on the same Start, so what a test proves is what a person runs.
// Everything listens on 127.0.0.1, all state lives in one directory, and no process outlives its launcher.
package kube
