// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
)

var _ = Describe("An API with TLS", func() {
	It("follows its certificate, and drains without an error for anybody", func(ctx SpecContext) {
		startController(ctx)
		folder := GinkgoT().TempDir()
		writeCertificate(folder, 1)
		certFile, keyFile := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
		api := launchAPI("live", "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--drain-delay", "8s", "--access-log", "none")
		api.url = strings.Replace(api.url, "http://", "https://", 1)
		probe := strings.TrimSuffix(api.metrics, "/metrics") + "/readyz" // is plain HTTP
		ready := func() (int, error) { status, _, err := get(ctx, probe, ""); return status, err }
		Eventually(ctx, ready, patience, interval).Should(Equal(http.StatusOK))
		key := mint(ctx, newNamespace(ctx), "caller")

		By("a new certificate, under load")
		l := startLoad(ctx, api.url, key)
		Expect(serialOf(ctx, api.url)).To(BeEquivalentTo(1))
		writeCertificate(folder, 2)
		Eventually(ctx, func() (int64, error) { return serialOf(ctx, api.url) }, patience, interval).Should(BeEquivalentTo(2))
		refused := func() int { return strings.Count(api.logText(), "the last one stays") }
		before := refused() // a certificate and a key that do not fit are read where one is written and the other is not
		Expect(os.WriteFile(certFile, []byte("broken"), 0o600)).To(Succeed())
		Eventually(ctx, refused, patience, interval).Should(BeNumerically(">", before))
		Expect(serialOf(ctx, api.url)).To(BeEquivalentTo(2))

		By("SIGTERM, under load")
		Eventually(ctx, l.answered.Load, patience, interval).Should(BeNumerically(">", 500))
		Expect(api.Signal(syscall.SIGTERM)).To(Succeed())
		Eventually(ctx, ready, patience, interval).Should(Equal(http.StatusServiceUnavailable))
		l.elsewhere.Store(true)
		Eventually(ctx, api.Done(), patience).Should(BeClosed())
		Expect(api.Err()).NotTo(HaveOccurred(), "an orderly stop is no error")
		Expect(l.group.Wait()).To(Succeed())
		_, after, found := strings.Cut(api.logText(), `"msg":"draining"`)
		Expect(found).To(BeTrue())
		Expect(after).NotTo(Or(ContainSubstring(`"level":"WARN"`), ContainSubstring(`"level":"ERROR"`)))
	}, SpecTimeout(2*patience))
})

// insecure trusts whoever comes: what is tested is which certificate that is.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// writeCertificate makes a certificate and its key.
func writeCertificate(folder string, serial int64) {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	Expect(err).NotTo(HaveOccurred())
	private, err := x509.MarshalPKCS8PrivateKey(key)
	Expect(err).NotTo(HaveOccurred())
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: private}} {
		Expect(os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600)).To(Succeed())
	}
}

// serialOf is the serial number of the certificate that a new connection gets.
func serialOf(ctx context.Context, url string) (int64, error) {
	conn, err := (&tls.Dialer{Config: insecure()}).DialContext(ctx, "tcp", strings.TrimPrefix(url, "https://"))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// load is callers that keep their connections open and POST, which nobody may send twice.
type load struct {
	group     errgroup.Group
	answered  atomic.Int64
	elsewhere atomic.Bool // a load balancer sends new connections to others
}

var errElsewhere = errors.New("this connection goes to another replica")

// startLoad begins. Each caller ends when it would open a connection to another replica; whatever goes wrong before is
// the group's error.
func startLoad(ctx context.Context, url, key string) *load {
	l := &load{}
	for i := range 8 {
		transport := &http.Transport{TLSClientConfig: insecure(), ForceAttemptHTTP2: i%2 == 0}
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if l.elsewhere.Load() {
				return nil, errElsewhere
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		client := &http.Client{Transport: transport, Timeout: patience}
		l.group.Go(func() error {
			defer transport.CloseIdleConnections()
			for {
				err := postNothing(ctx, client, url+"/v1/posts", key)
				if errors.Is(err, errElsewhere) {
					return nil
				}
				if err != nil {
					return err
				}
				l.answered.Add(1)
			}
		})
	}
	return l
}

func postNothing(ctx context.Context, client *http.Client, url, key string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.NopCloser(strings.NewReader("{}")))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode/100 != 4 || response.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("status %d for a post without anything", response.StatusCode)
	}
	return nil
}
