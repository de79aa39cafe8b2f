// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"errors"
	"log/slog"

	"github.com/spf13/pflag"
)

// CertificateFlags are the flags of TLS: names of files. A key on the command line would show in the list of processes.
// And a Secret that is mounted is renewed in its files.
type CertificateFlags struct{ certificate, key string }

// Add adds the flags. The default is plain HTTP: in most clusters an Ingress or a mesh ends TLS, and a process with a
// certificate of its own making would help nobody.
func (f *CertificateFlags) Add(flags *pflag.FlagSet) {
	flags.StringVar(&f.certificate, "tls-cert-file", "",
		"PEM file of the certificate, and of those that lead to its authority, that the API is served with over HTTPS. "+
			"It is read again when it changes. Default: HTTP. Metrics and probes are HTTP always.")
	flags.StringVar(&f.key, "tls-key-file", "", "PEM file of the certificate's private key.")
}

// Check refuses half of a pair: with one file forgotten, the process would serve keys over plain HTTP.
func (f *CertificateFlags) Check() error {
	if (f.certificate == "") != (f.key == "") {
		return errors.New("--tls-cert-file and --tls-key-file: want both, or none")
	}
	return nil
}

// Load returns the certificate; nil: there is to be none. It is called before anything is connected to, so that a wrong
// file is the first thing to be told. Files that can't be read end the process now; when they change later, the last
// good ones stay in use.
func (f *CertificateFlags) Load(logger *slog.Logger) (*Certificate, error) {
	if f.certificate == "" {
		return nil, nil
	}
	return LoadCertificate(f.certificate, f.key, logger)
}
