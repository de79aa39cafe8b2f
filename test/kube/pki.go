package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime of the certificates: they live on one machine, on loopback, next to their own CA key.
const lifetime = 10 * 365 * 24 * time.Hour

// pki is a folder of PEM files: a CA, what it has signed, and the key that signs ServiceAccount tokens.
type pki string

const (
	caName                = "ca"
	apiServerName         = "apiserver"
	adminName             = "admin"
	controllerManagerName = "controller-manager"
	serviceAccountName    = "service-account"
)

func (p pki) cert(name string) string { return filepath.Join(string(p), name+".crt") }
func (p pki) key(name string) string  { return filepath.Join(string(p), name+".key") }
func (p pki) pub(name string) string  { return filepath.Join(string(p), name+".pub") }

// ensurePKI returns the keys and certificates under dir, making them when there are none. They must be the same
// after a restart: a new CA would orphan every kubeconfig, a new ServiceAccount key every token.
func ensurePKI(dir string) (pki, error) {
	path := filepath.Join(dir, "pki")
	if _, err := os.Stat(path); err == nil {
		return pki(path), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("certificates: %w", err)
	}
	// Made under another name and renamed when complete, so that a folder called "pki" is always whole.
	temp, err := os.MkdirTemp(dir, ".pki-")
	if err != nil {
		return "", fmt.Errorf("make certificates: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := pki(temp).generate(time.Now()); err != nil {
		return "", fmt.Errorf("make certificates: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("make certificates: %w", err)
	}
	return pki(path), nil
}

func (p pki) generate(now time.Time) error {
	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "letmepost-dev-ca"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	caKey, err := p.issue(caName, ca, ca, nil, now)
	if err != nil {
		return err
	}
	leaves := map[string]*x509.Certificate{
		apiServerName: {
			Subject:     pkix.Name{CommonName: "kube-apiserver"},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
		},
		// Members of system:masters pass every RBAC check.
		adminName:             client("admin", "system:masters"),
		controllerManagerName: client("kube-controller-manager", "system:masters"),
	}
	for name, template := range leaves {
		template.KeyUsage = x509.KeyUsageDigitalSignature
		if _, err := p.issue(name, template, ca, caKey, now); err != nil {
			return err
		}
	}
	return p.serviceAccountKeys()
}

func client(user, group string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: []string{group}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// issue makes a key, completes the template, signs it (by itself when caKey is nil) and writes both.
func (p pki) issue(
	name string,
	template, ca *x509.Certificate,
	caKey *ecdsa.PrivateKey,
	now time.Time,
) (*ecdsa.PrivateKey, error) {
	key, err := p.newKey(name)
	if err != nil {
		return nil, err
	}
	if caKey == nil {
		caKey = key
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number of %s: %w", name, err)
	}
	template.SerialNumber = serial
	template.NotBefore = now.Add(-time.Hour) // for clocks that are set back a little
	template.NotAfter = now.Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name, err)
	}
	return key, writePEM(p.cert(name), "CERTIFICATE", der)
}

func (p pki) newKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	return key, writePEM(p.key(name), "EC PRIVATE KEY", der)
}

func (p pki) serviceAccountKeys() error {
	key, err := p.newKey(serviceAccountName)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("public key of %s: %w", serviceAccountName, err)
	}
	return writePEM(p.pub(serviceAccountName), "PUBLIC KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
