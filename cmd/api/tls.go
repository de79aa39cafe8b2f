// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/letmepost/letmepost-operator/internal/serve"
)

// tlsFiles are the flags of TLS.
type tlsFiles struct{ certificate, key string }

func (f *tlsFiles) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(
		&f.certificate,
		"tls-cert-file",
		"",
		"PEM file of the certificate, and of those that lead to its authority, that the API is served with over HTTPS. It is read again when it changes. Default: HTTP. Metrics and probes are HTTP always.",
	)
	flags.StringVar(&f.key, "tls-key-file", "", "PEM file of the certificate's private key.")
}

// check takes the flags in. The error is a usageError.
func (f *tlsFiles) check() error {
	if (f.certificate == "") != (f.key == "") {
		return usageError{"--tls-cert-file and --tls-key-file: want both, or none"}
	}
	return nil
}

// load returns the certificate; nil: there is to be none.
func (f *tlsFiles) load(logger *slog.Logger) (*serve.Certificate, error) {
	if f.certificate == "" {
		return nil, nil
	}
	return serve.LoadCertificate(f.certificate, f.key, logger)
}
