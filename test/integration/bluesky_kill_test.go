// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/pds"
)

var _ = Describe("A live API that is killed while a real server of Bluesky's protocol does not answer", func() {
	It("has the post there once when that server answers again, and keeps what opens the account to itself", func(ctx SpecContext) {
		home, err := pds.Start(context.WithoutCancel(ctx), pds.Options{})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(home.Stop)
		owner, err := home.NewAccount(ctx)
		Expect(err).NotTo(HaveOccurred())
		keyset := filepath.Join(GinkgoT().TempDir(), "keyset.json")
		keys, err := vault.NewKeyset()
		Expect(err).NotTo(HaveOccurred())
		Expect(vault.CreateFile(keyset, keys, nil)).To(Succeed())
		startController(ctx)
		storage := onPostgres()
		flags := append(slices.Clone(storage), "--vault-keyset", keyset, "--bluesky-plc-url", home.PLCURL,
			"--outbound-allow", hostOf(home.URL), "--outbound-allow", hostOf(home.PLCURL))
		other := startAPI(ctx, "live", flags...) // first, so that it leads the queue, and no other leader has to be found
		doomed := startAPI(ctx, "live", flags...)
		k := apiKey(newNamespace(ctx), "writer")
		k.Spec.Environment = v1alpha1.EnvironmentLive
		d := desk{namespace: k.Namespace, key: minted(ctx, create(ctx, k))}
		for _, api := range []*server{other, doomed} {
			Eventually(ctx, api.whoami(ctx, d.key), patience, interval).Should(Equal(http.StatusOK))
		}
		a, err := jsonCall(http.MethodPost, "/v1/accounts/connect/bluesky/complete", map[string]string{
			"identifier": owner.Handle, "appPassword": owner.AppPassword, "pdsUrl": home.URL,
		}).send(ctx, other.url, d.key)
		Expect(err).NotTo(HaveOccurred())
		var account struct{ ID string }
		Expect(a.into(&account)).To(Succeed())
		d.accounts = []string{account.ID}

		By("a process is killed once the server has what it was sent, and has not looked at it")
		Expect(home.Pause()).To(Succeed())
		sending := d.writing("Is it there?", time.Time{})
		go func() { _, _ = sending.send(ctx, doomed.url, d.key) }() // it gets no answer
		Eventually(ctx, unread(home.URL), patience, interval).Should(BeTrue())
		doomed.end()
		Expect(home.Resume()).To(Succeed())
		Eventually(ctx, owner.Posts, patience, interval).Should(HaveLen(1))

		posts, err := fetchAll[postView](ctx, other.url, d.key, "/v1/posts")
		Expect(err).NotTo(HaveOccurred())
		Expect(posts).To(HaveLen(1))
		Eventually(ctx, d.read(ctx, other, posts[0].ID), patience, interval).Should(And(HaveField("Status", published),
			HaveField("Attempts", HaveExactElements(HaveField("Succeeded", false), HaveField("Succeeded", true)))))
		there, err := owner.Posts(ctx)
		Expect(err).NotTo(HaveOccurred())
		found, err := d.read(ctx, other, posts[0].ID)()
		Expect(err).NotTo(HaveOccurred())
		Expect(there).To(HaveExactElements(HaveField("URI", found.PlatformURI)))

		By("and what opens the account is nowhere but sealed: not in a row of any table, of jobs among them")
		secrets := secretsOf(ctx, databaseOf(storage), keys, account.ID)
		Expect(secrets).To(ContainElement(owner.AppPassword), "what is hunted for")
		places := append(dumpPostgres(ctx, databaseOf(storage)), append(files(storage[1]), haystack(ctx, other)...)...)
		Expect(slices.DeleteFunc(hunt(homeless(secrets...), places), func(where string) bool {
			return strings.Contains(where, looksLikeKey) // the canaries of another spec
		})).To(BeEmpty())
	}, SpecTimeout(3*patience))
})

// unread tells whether a server on this machine has been sent something by somebody that it has not read yet, as the
// kernel has it.
func unread(address string) func() (bool, error) {
	GinkgoHelper()
	u, err := url.Parse(address)
	Expect(err).NotTo(HaveOccurred())
	var port int
	_, err = fmt.Sscan(u.Port(), &port)
	Expect(err).NotTo(HaveOccurred())
	local := fmt.Sprintf(":%04X", port)
	return func() (bool, error) {
		for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			table, err := os.ReadFile(file)
			if err != nil {
				return false, err
			}
			// Of a connection that is established: its own address, the other one, 01, and what waits in its two queues.
			for line := range strings.Lines(string(table)) {
				f := strings.Fields(line)
				if len(f) > 4 && strings.HasSuffix(f[1], local) && f[3] == "01" && !strings.HasSuffix(f[4], ":00000000") {
					return true, nil
				}
			}
		}
		return false, nil
	}
}
