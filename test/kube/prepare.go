package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
)

// prepare fills in the options, makes the directories, the certificates and the kubeconfigs.
func (c *Cluster) prepare() error {
	if c.options.BinDir == "" {
		c.options.BinDir = Path("bin/k8s")
	}
	if err := c.checkPrograms(); err != nil {
		return err
	}
	if err := c.prepareDir(); err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	if err := c.choosePorts(); err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	var err error
	if c.pki, err = ensurePKI(c.options.Dir); err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	if c.ca, err = os.ReadFile(c.pki.cert(caName)); err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	if c.options.Issuer != nil {
		if err := c.writeIssuer(); err != nil {
			return fmt.Errorf("control plane: %w", err)
		}
	}
	// Rewritten at each start, since the ports may differ from the last one's.
	if _, err := c.writeCertKubeconfig(controllerManagerName); err != nil {
		return err
	}
	user, err := c.writeCertKubeconfig(adminName)
	if err != nil {
		return err
	}
	c.admin = &rest.Config{
		Host: c.apiServerURL(),
		TLSClientConfig: rest.TLSClientConfig{
			CAData: c.ca, CertData: user.ClientCertificateData, KeyData: user.ClientKeyData,
		},
		QPS: -1, // no client-side limit: the apiserver's own priority and fairness decides
	}
	return nil
}

func (c *Cluster) checkPrograms() error {
	programs := []string{Etcd, APIServer}
	if c.options.ControllerManager {
		programs = append(programs, ControllerManager)
	}
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(c.options.BinDir, program)); err != nil {
			return fmt.Errorf("the control plane is not built yet, run `make controlplane` first: %w", err)
		}
	}
	return nil
}

func (c *Cluster) prepareDir() error {
	if c.options.Dir == "" {
		dir, err := os.MkdirTemp("", "letmepost-kube-")
		if err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		c.options.Dir, c.temporary = dir, true
	}
	for _, dir := range []string{"log", "pids"} {
		if err := os.MkdirAll(filepath.Join(c.options.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	return nil
}

func (c *Cluster) choosePorts() error {
	ports := &c.options.Ports
	free, err := FreePorts(4)
	if err != nil {
		return err
	}
	for i, port := range []*int{&ports.EtcdClient, &ports.EtcdPeer, &ports.APIServer, &ports.ControllerManager} {
		if *port == 0 {
			*port = free[i]
		}
	}
	return nil
}

// Path is a path of this repository, from wherever below its root the program or test runs.
func Path(relative string) string {
	if filepath.IsAbs(relative) {
		return relative
	}
	dir, err := os.Getwd()
	if err != nil {
		return relative
	}
	for ; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(filepath.Join(dir, "PROJECT"))
		if err == nil {
			return filepath.Join(dir, relative)
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return relative
		}
	}
}
