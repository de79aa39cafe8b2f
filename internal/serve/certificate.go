// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// rereadEvery is how often the files of a Certificate are looked at. A kubelet takes longer to bring a new Secret.
const rereadEvery = 5 * time.Second

// Certificate is a TLS certificate that follows its files. Connections keep the one that they were made with.
//
// It reads the files again and again instead of being told by inotify, as controller-runtime's certwatcher is: inotify
// instances are few (128 a user and node by default, and the pods of a node share them), and the process would not
// start without one. And it takes in a chain that has changed behind the same leaf.
type Certificate struct {
	certFile, keyFile string
	logger            *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	// Of Run alone.
	cert, key []byte // as they were last read, good or not
}

// LoadCertificate reads a certificate (with those that lead to its authority) and its private key, in PEM.
func LoadCertificate(certFile, keyFile string, logger *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	if _, err := c.read(); err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	return c, nil
}

// Run takes in what the files become, until ctx ends. While they hold no certificate with its key, the last one stays.
// Of nil, which is plain HTTP, it has nothing to do.
func (c *Certificate) Run(ctx context.Context) {
	if c == nil {
		return
	}
	ticker := time.NewTicker(rereadEvery)
	defer ticker.Stop()
	complaint := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		switch changed, err := c.read(); {
		case err != nil && err.Error() != complaint:
			complaint = err.Error()
			c.logger.Error(
				"the new TLS certificate is not taken, the last one stays",
				"error",
				complaint,
				"notAfter",
				c.current.Load().Leaf.NotAfter,
			)
		case err != nil: // it has been said
		case changed:
			complaint = ""
			c.logger.Info(
				"new TLS certificate",
				"serial",
				c.current.Load().Leaf.SerialNumber.Text(16),
				"notAfter",
				c.current.Load().Leaf.NotAfter,
			)
		default:
			complaint = ""
		}
	}
}

// read takes the files in if they have changed. No error holds anything of the key.
func (c *Certificate) read() (changed bool, err error) {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return false, err
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return false, err
	}
	// A Secret's volume changes as a whole, but it may have done so between the two.
	if again, err := os.ReadFile(c.certFile); err != nil || !bytes.Equal(again, cert) {
		return false, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		c.cert, c.key = nil, nil
		return false, fmt.Errorf("%s with %s: %w", c.certFile, c.keyFile, err)
	}
	if bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return false, nil
	}
	c.cert, c.key = cert, key
	c.current.Store(&pair)
	return true, nil
}

// config is what the API is served with. HTTP/2 is offered: the requests of a connection are cut one by one there too.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}
