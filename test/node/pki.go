// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// lifetime of the certificates, which are made anew for each run.
const lifetime = 24 * time.Hour

// issuer signs certificates, and writes each with its key: pki/NAME.crt and pki/NAME.key.
type issuer struct {
	settings
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

// makePKI makes a CA, a certificate for each server and each user, and the key pair of ServiceAccount tokens.
func (s settings) makePKI() error {
	ca := &issuer{settings: s, cert: &x509.Certificate{
		Subject:               pkix.Name{CommonName: "letmepost-node-ca"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}}
	if err := ca.issue("ca", ca.cert); err != nil {
		return err
	}
	servers := map[string]*x509.Certificate{
		"apiserver": server(
			"kube-apiserver",
			apiServiceIP,
			"localhost",
			"kubernetes",
			"kubernetes.default",
			"kubernetes.default.svc",
		),
		"kubelet": server(nodeName, nodeIP, nodeName),
	}
	for name, template := range servers {
		if err := ca.issue(name, template); err != nil {
			return err
		}
	}
	for name, subject := range users {
		template := &x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if err := ca.issue(name, template); err != nil {
			return err
		}
	}
	key, err := ca.newKey("service-account")
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("public key of ServiceAccount tokens: %w", err)
	}
	return ca.write("service-account.pub", "PUBLIC KEY", der)
}

// users of the apiserver, by the name of their kubeconfig. Kubernetes' default RBAC knows all of them.
var users = map[string]pkix.Name{
	"admin":        {CommonName: "admin", Organization: []string{"system:masters"}},
	"kubelet-user": {CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
	"scheduler":    {CommonName: "system:kube-scheduler"},
	"kube-proxy":   {CommonName: "system:kube-proxy"},
}

func server(name, ip string, dnsNames ...string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    dnsNames,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(nodeIP), net.ParseIP(ip)},
	}
}

// issue makes a key, completes the template and signs it. The first that it signs is the CA's own.
func (i *issuer) issue(name string, template *x509.Certificate) error {
	key, err := i.newKey(name)
	if err != nil {
		return err
	}
	if i.key == nil {
		i.key = key
	}
	now := time.Now()
	i.serial++
	template.SerialNumber = big.NewInt(i.serial)
	template.KeyUsage |= x509.KeyUsageDigitalSignature
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, &key.PublicKey, i.key)
	if err != nil {
		return fmt.Errorf("sign %s: %w", name, err)
	}
	return i.write(name+".crt", "CERTIFICATE", der)
}

func (i *issuer) newKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	return key, i.write(name+".key", "EC PRIVATE KEY", der)
}

func (i *issuer) write(name, kind string, der []byte) error {
	if err := os.WriteFile(i.pki(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
