// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509/pkix"
	"errors"
	"net"
	"time"

	"github.com/letmepost/letmepost-operator/test/pki"
)

// lifetime of the certificates, which are made anew for each run.
const lifetime = 24 * time.Hour

// users of the apiserver, by the name of their kubeconfig. Kubernetes' default RBAC knows all of them.
var users = map[string]pkix.Name{
	"admin":        {CommonName: "admin", Organization: []string{"system:masters"}},
	"kubelet-user": {CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
	"scheduler":    {CommonName: "system:kube-scheduler"},
	"kube-proxy":   {CommonName: "system:kube-proxy"},
}

// makePKI makes a CA, a certificate for each server and each user, and the key pair of ServiceAccount tokens.
func (s settings) makePKI() error {
	ca, err := pki.NewAuthority(s.pki(""), "letmepost-node-ca", time.Now(), lifetime)
	if err != nil {
		return err
	}
	loopback, node := net.IPv4(127, 0, 0, 1), net.ParseIP(nodeIP)
	errs := []error{
		ca.Server("apiserver", "kube-apiserver", []net.IP{loopback, node, net.ParseIP(apiServiceIP)},
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
		ca.Server("kubelet", nodeName, []net.IP{loopback, node}, nodeName),
		pki.NewKeyPair(s.pki(""), "service-account"),
	}
	for name, user := range users {
		errs = append(errs, ca.Client(name, user.CommonName, user.Organization...))
	}
	return errors.Join(errs...)
}
