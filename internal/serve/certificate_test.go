// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/letmepost/letmepost-operator/test/testlog"
)

// secure is the base URL of an API with a certificate.
func (p *process) secure() string { return strings.Replace(p.api, "http://", "https://", 1) }

// logBuffer is a log with the logger that writes it.
type logBuffer struct{ testlog.Buffer }

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// issuer is a certificate authority.
type issuer struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	return &issuer{key: key, certificate: certificate}
}

// issued is a certificate for localhost, as a Secret's volume holds it: the files are links to a folder that is put in
// place as a whole.
type issued struct {
	issuer *issuer
	dir    string
}

func (i *issuer) issue(t *testing.T, serial int64) issued {
	t.Helper()
	x := issued{i, t.TempDir()}
	x.write(t, i.pair(t, serial))
	for _, name := range []string{"tls.crt", "tls.key"} {
		must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(x.dir, name)))
	}
	return x
}

// pair makes certificate and key, in PEM.
func (i *issuer) pair(t *testing.T, serial int64) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, i.certificate, &key.PublicKey, i.key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// write does what a kubelet does: a new folder, and a rename of the link to it.
func (x issued) write(t *testing.T, files map[string][]byte) {
	t.Helper()
	folder, err := os.MkdirTemp(x.dir, "..") //nolint:usetesting // it is beside the others, as in a Secret's volume
	must(t, err)
	for name, content := range files {
		must(t, os.WriteFile(filepath.Join(folder, name), content, 0o600))
	}
	next := filepath.Join(x.dir, "..data_tmp")
	must(t, os.Symlink(filepath.Base(folder), next))
	must(t, os.Rename(next, filepath.Join(x.dir, "..data")))
}

func (x issued) files() (certFile, keyFile string) {
	return filepath.Join(x.dir, "tls.crt"), filepath.Join(x.dir, "tls.key")
}

func (x issued) load(t *testing.T) *Certificate {
	t.Helper()
	certFile, keyFile := x.files()
	c, err := LoadCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	must(t, err)
	return c
}

// trusted is what a caller needs.
func (x issued) trusted() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(x.issuer.certificate)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCertificateIsReplaced while a caller has a connection open: that one goes on with the old certificate, the next
// one has the new certificate.
func TestCertificateIsReplaced(t *testing.T) {
	authority := newIssuer(t)
	x := authority.issue(t, 1)
	certificate := x.load(t)
	p := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
		func(o *Options) { o.Certificate = certificate })
	serial := func(client *http.Client) int64 {
		t.Helper()
		response, err := client.Get(p.secure())
		must(t, err)
		response.Body.Close()
		if response.StatusCode != http.StatusTeapot || response.TLS.Version < tls.VersionTLS12 {
			t.Errorf("status %d, TLS %x", response.StatusCode, response.TLS.Version)
		}
		return response.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	transport := &http.Transport{TLSClientConfig: x.trusted()}
	defer transport.CloseIdleConnections()
	open := &http.Client{Transport: transport}
	if got := serial(open); got != 1 {
		t.Fatalf("the certificate has serial %d", got)
	}
	x.write(t, authority.pair(t, 2))
	changed, err := certificate.read()
	if must(t, err); !changed {
		t.Fatal("the new files are not noticed")
	}
	if got := serial(open); got != 1 {
		t.Errorf("the connection that was open was replaced by one with serial %d", got)
	}
	if got := serial(&http.Client{Transport: &http.Transport{TLSClientConfig: x.trusted(), DisableKeepAlives: true}}); got != 2 {
		t.Errorf("a new connection has serial %d", got)
	}
	if changed, err := certificate.read(); changed || err != nil {
		t.Errorf("the same files are taken for new ones: %t, %v", changed, err)
	}
}

// TestBrokenCertificate keeps the last good one, says so once, and takes the next good one.
func TestBrokenCertificate(t *testing.T) {
	authority := newIssuer(t)
	x := authority.issue(t, 1)
	first, second := authority.pair(t, 2), authority.pair(t, 3)
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		certFile, keyFile := x.files()
		c, err := LoadCertificate(certFile, keyFile, log.logger())
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go c.Run(ctx)
		wait := func(want int64) {
			t.Helper()
			time.Sleep(3*rereadEvery + 1)
			synctest.Wait()
			if got := c.current.Load().Leaf.SerialNumber.Int64(); got != want {
				t.Errorf("serial %d, want %d", got, want)
			}
		}
		x.write(t, map[string][]byte{"tls.crt": first["tls.crt"], "tls.key": second["tls.key"]})
		wait(1)
		x.write(t, map[string][]byte{"tls.crt": first["tls.crt"]})
		wait(1)
		x.write(t, map[string][]byte{"tls.crt": []byte("no PEM"), "tls.key": first["tls.key"]})
		wait(1)
		if n := strings.Count(log.String(), "is not taken, the last one stays"); n != 3 {
			t.Errorf("it complains %d times of three kinds of broken files:\n%s", n, &log)
		}
		x.write(t, second)
		wait(3)
		if n := strings.Count(log.String(), `"new TLS certificate","serial":"3"`); n != 1 {
			t.Errorf("it says %d times that there is a new one:\n%s", n, &log)
		}
		if strings.Contains(log.String(), "PRIVATE") {
			t.Error("the key is in the log")
		}
	})
	if _, err := LoadCertificate(filepath.Join(t.TempDir(), "none"), "", slog.Default()); err == nil || !strings.HasPrefix(err.Error(), "TLS certificate: ") {
		t.Errorf("error %v", err)
	}
}
