// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki issues the certificates of a control plane for tests, as PEM files of one folder: NAME.crt and NAME.key.
// Who gets one is for the control planes to say (test/kube, test/node).
package pki

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
	"path/filepath"
	"time"
)

// CA is the name of the authority's own files.
const CA = "ca"

// earlier is by how much certificates are valid before they were made, for clocks that are set back a little.
const earlier = time.Hour

// Authority signs certificates, and writes each with its key into its folder.
type Authority struct {
	folder              string
	notBefore, notAfter time.Time
	certificate         *x509.Certificate
	key                 *ecdsa.PrivateKey
}

// NewAuthority makes an authority and writes its own certificate, ca.crt, with its key. All that it signs is valid for
// lifetime, counted from now. The folder must exist.
func NewAuthority(folder, commonName string, now time.Time, lifetime time.Duration) (*Authority, error) {
	a := &Authority{folder: folder, notBefore: now.Add(-earlier), notAfter: now.Add(lifetime)}
	a.certificate = &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	var err error
	if a.key, err = newKey(folder, CA); err != nil {
		return nil, err
	}
	return a, a.sign(CA, a.certificate, a.key)
}

// Server issues a certificate for a server that is reached at these addresses and names.
func (a *Authority) Server(name, commonName string, ips []net.IP, dnsNames ...string) error {
	return a.issue(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    dnsNames,
		IPAddresses: ips,
	})
}

// Client issues a certificate for a user of the apiserver. It takes the common name for the user's and each
// organization for a group; members of system:masters pass every RBAC check.
func (a *Authority) Client(name, user string, groups ...string) error {
	return a.issue(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// issue makes a key, and signs a certificate for it.
func (a *Authority) issue(name string, template *x509.Certificate) error {
	key, err := newKey(a.folder, name)
	if err != nil {
		return err
	}
	return a.sign(name, template, key)
}

// sign completes the template, signs it for key and writes it.
func (a *Authority) sign(name string, template *x509.Certificate, key *ecdsa.PrivateKey) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fmt.Errorf("serial number of %s: %w", name, err)
	}
	template.SerialNumber = serial
	template.KeyUsage |= x509.KeyUsageDigitalSignature
	template.NotBefore, template.NotAfter = a.notBefore, a.notAfter
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("sign %s: %w", name, err)
	}
	return writePEM(a.folder, name+".crt", "CERTIFICATE", der)
}

// NewKeyPair makes a key pair without a certificate, NAME.key and NAME.pub, such as the one that signs the tokens of
// ServiceAccounts.
func NewKeyPair(folder, name string) error {
	key, err := newKey(folder, name)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("public key of %s: %w", name, err)
	}
	return writePEM(folder, name+".pub", "PUBLIC KEY", der)
}

// newKey makes a key and writes it. P-256 is what every part of Kubernetes takes, and is made in no time; RSA is not.
func newKey(folder, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	return key, writePEM(folder, name+".key", "EC PRIVATE KEY", der)
}

func writePEM(folder, name, kind string, der []byte) error {
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
