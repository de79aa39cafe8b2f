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

	"github.com/letmepost/letmepost-operator/internal/retry"
)

// Certificate is a TLS certificate that follows its files. Connections keep the one that they were made with.
//
// It reads the files again and again. controller-runtime's certwatcher, which does the same job, has inotify tell it;
// but inotify instances are few (by default 128 for each user of a node, and all pods share them), and without one the
// process would not start. Unlike certwatcher, it also notices a chain that has changed behind the same leaf.
type Certificate struct {
	certFile, keyFile string
	logger            *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	// What the files held at the last look, to notice a change by; nil if that was no pair. Once Run runs, they are its
	// own.
	cert, key []byte
}

// LoadCertificate reads a certificate (with those that lead to its authority) and its private key, in PEM. The files
// have to be good now: a process that has never had a certificate has nothing to go on with.
func LoadCertificate(certFile, keyFile string, logger *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	if _, err := c.read(); err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	return c, nil
}

// Run takes in what the files become, until ctx ends. While they hold no certificate with its key, the last one stays
// in use. A nil Certificate, which is plain HTTP, has nothing to take in.
func (c *Certificate) Run(ctx context.Context) {
	if c == nil {
		return
	}
	ticker := time.NewTicker(rereadEvery)
	defer ticker.Stop()
	var broken retry.Complaint // said once for each way of being broken: files stay so until somebody mends them
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-ticker.C:
		}
		changed, err := c.read()
		leaf := c.current.Load().Leaf
		if err != nil {
			if broken.Due(err.Error(), now) {
				c.logger.Error("the new TLS certificate is not taken, the last one stays",
					"error", err.Error(), "notAfter", leaf.NotAfter)
			}
			continue
		}
		broken.Clear()
		if changed {
			c.logger.Info("new TLS certificate", "serial", leaf.SerialNumber.Text(16), "notAfter", leaf.NotAfter)
		}
	}
}

// read takes the files in if they have changed. No error holds anything of the key, because errors are logged.
func (c *Certificate) read() (changed bool, err error) {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return false, err
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return false, err
	}
	// A Secret's volume changes all of its files at once, but perhaps between the two reads: a new key with an old
	// certificate is no pair. If the certificate has changed since it was read, the next look finds both.
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

// Config is what the API is served with; nil: no TLS. net/http adds HTTP/2 to it: there, too, a request can be cut off
// without its connection, so that a revoked key takes nobody else's requests with it.
func (c *Certificate) Config() *tls.Config {
	if c == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}
