// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	issuing "github.com/letmepost/letmepost-operator/test/pki"
)

// lifetime of the certificates. It may be long: they are valid on one machine, on loopback, and the key of their CA
// lies beside them.
const lifetime = 10 * 365 * 24 * time.Hour

// pki is a folder of PEM files: a CA, what it has signed, and the key pair of ServiceAccount tokens.
type pki string

const (
	caName                = issuing.CA
	apiServerName         = "apiserver"
	adminName             = "admin"
	controllerManagerName = "controller-manager"
	serviceAccountName    = "service-account"
)

func (p pki) cert(name string) string { return filepath.Join(string(p), name+".crt") }
func (p pki) key(name string) string  { return filepath.Join(string(p), name+".key") }
func (p pki) pub(name string) string  { return filepath.Join(string(p), name+".pub") }

// ensurePKI returns the keys and certificates under dir, and makes them if there are none. They must be the same after
// a restart: a new CA would orphan every kubeconfig, and a new ServiceAccount key every token.
func ensurePKI(dir string) (pki, error) {
	path := filepath.Join(dir, "pki")
	if _, err := os.Stat(path); err == nil {
		return pki(path), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("certificates: %w", err)
	}
	// They are made under another name, and renamed when all are there: whatever a crash leaves is not taken for a PKI.
	temp, err := os.MkdirTemp(dir, ".pki-")
	if err != nil {
		return "", fmt.Errorf("make certificates: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := generate(temp, time.Now()); err != nil {
		return "", fmt.Errorf("make certificates: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("make certificates: %w", err)
	}
	return pki(path), nil
}

// generate fills a folder. The apiserver's addresses are those of loopback and of the Service "kubernetes", which is
// the first address of the range of Services.
func generate(folder string, now time.Time) error {
	ca, err := issuing.NewAuthority(folder, "letmepost-dev-ca", now, lifetime)
	if err != nil {
		return err
	}
	return errors.Join(
		ca.Server(apiServerName, "kube-apiserver", []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
		ca.Client(adminName, "admin", "system:masters"),
		ca.Client(controllerManagerName, "kube-controller-manager", "system:masters"),
		issuing.NewKeyPair(folder, serviceAccountName),
	)
}
