// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/letmepost/letmepost-operator/internal/serve"
)

// tlsFiles are the flags of TLS: names of files. A key on the command line would show in the list of processes. And a
// Secret that is mounted is renewed in its files.
type tlsFiles struct{ certificate, key string }

// addFlags adds the flags. The default is plain HTTP: in most clusters an Ingress or a mesh ends TLS, and a process
// with a certificate of its own making would help nobody.
func (f *tlsFiles) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.certificate, "tls-cert-file", "",
		"PEM file of the certificate, and of those that lead to its authority, that the API is served with over HTTPS. "+
			"It is read again when it changes. Default: HTTP. Metrics and probes are HTTP always.")
	flags.StringVar(&f.key, "tls-key-file", "", "PEM file of the certificate's private key.")
}

// check refuses half of a pair: with one file forgotten, the process would serve keys over plain HTTP. The error is a
// usageError.
func (f *tlsFiles) check() error {
	if (f.certificate == "") != (f.key == "") {
		return usageError{"--tls-cert-file and --tls-key-file: want both, or none"}
	}
	return nil
}

// load returns the certificate; nil: there is to be none. It is called before anything is connected to, so that a wrong
// file is the first thing to be told. Files that can't be read end the process now; when they change later, the last
// good ones stay in use.
func (f *tlsFiles) load(logger *slog.Logger) (*serve.Certificate, error) {
	if f.certificate == "" {
		return nil, nil
	}
	return serve.LoadCertificate(f.certificate, f.key, logger)
}
