// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("What opens an account", func() {
	DescribeTable("is nowhere but sealed in the database, while the vault's key is exchanged under running replicas, and neither are the keys",
		func(ctx SpecContext, storage func() []string) {
			startController(ctx)
			keyset := filepath.Join(GinkgoT().TempDir(), "keyset.json")
			flags := storage()
			database := databaseOf(flags)
			vaultCommand(ctx, "init", keyset)
			homes := homeless()
			addKeys(homes, keyset)
			args := append(flags, "--vault-keyset", keyset, "--log-level", "debug", "--access-log", "all")
			replicas := []*server{startAPI(ctx, "live", args...), startAPI(ctx, "live", args...)}

			namespace := newNamespace(ctx)
			plaintext := mint(ctx, namespace, "writer")
			homes[plaintext] = namespace + "/writer"
			account := connectSealed(ctx, namespace, database, keyset, homes)
			answers := place{name: "answers"}
			ask := func() {
				for _, api := range replicas {
					Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
					for _, c := range []call{
						jsonCall(http.MethodGet, "/v1/accounts", nil), jsonCall(http.MethodGet, "/v1/posts", nil),
						jsonCall(http.MethodPost, "/v1/posts", map[string]any{
							"targets": []any{map[string]any{"accountId": account}}, "text": "later", "scheduledAt": time.Now().Add(time.Hour).UTC(),
						}).once(uuid.NewString()),
					} {
						a, err := c.send(ctx, api.url, plaintext)
						Expect(err).NotTo(HaveOccurred())
						answers.text = append(answers.text, a.body...)
					}
				}
			}
			ask()
			Expect(string(answers.text)).To(ContainSubstring(account), "the account, at least, is told of")

			By("exchanging the key")
			vaultCommand(ctx, "add", keyset)
			addKeys(homes, keyset)
			insist(ctx, "promote", keyset, "--database-url", database)
			vaultCommand(ctx, "reseal", keyset, "--database-url", database)
			insist(ctx, "retire", keyset, "--database-url", database)
			ask()
			Expect(vaultCommand(ctx, "status", keyset, "--database-url", database)).To(MatchRegexp(`primary +3 +2 of 2 processes`))

			places := append(files(flags[1]), answers)
			if len(flags) > 2 {
				places = append(places, dumpPostgres(ctx, database)...)
			}
			found := slices.DeleteFunc(hunt(homes, append(places, haystack(ctx, replicas...)...)), func(where string) bool {
				return strings.Contains(where, looksLikeKey) // the canaries of another spec
			})
			Expect(found).To(BeEmpty())
		},
		Entry("on SQLite", SpecTimeout(4*patience), onSQLite),
		Entry("on PostgreSQL", SpecTimeout(4*patience), onPostgres),
	)
})

// databaseOf is the live database of an API with such flags.
func databaseOf(flags []string) string {
	if len(flags) > 2 {
		return flags[3]
	}
	return "sqlite:" + filepath.Join(flags[1], "live.db")
}

// vaultCommand runs `api vault`, which must succeed.
func vaultCommand(ctx context.Context, args ...string) string {
	GinkgoHelper()
	out, err := exec.CommandContext(ctx, kube.Path("bin/api"), append([]string{"vault"}, args...)...).CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
	return string(out)
}

// insist runs `api vault` until it is not refused any more: replicas look at their file every so often.
func insist(ctx SpecContext, args ...string) {
	GinkgoHelper()
	Eventually(ctx, func() error {
		out, err := exec.CommandContext(ctx, kube.Path("bin/api"), append([]string{"vault"}, args...)...).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "refused: ") {
			return StopTrying(string(out))
		}
		return err
	}, patience, interval).Should(Succeed())
}

// addKeys adds the keys of a keyset to what must be nowhere, as they stand in its file and as they would be printed.
func addKeys(homes map[string]string, keyset string) {
	GinkgoHelper()
	text, err := os.ReadFile(keyset)
	Expect(err).NotTo(HaveOccurred())
	var stored struct {
		Key []struct {
			KeyData struct{ Value string } `json:"keyData"`
		} `json:"key"`
	}
	Expect(json.Unmarshal(text, &stored)).To(Succeed())
	Expect(stored.Key).NotTo(BeEmpty())
	for _, k := range stored.Key {
		raw, err := base64.StdEncoding.DecodeString(k.KeyData.Value)
		Expect(err).NotTo(HaveOccurred())
		Expect(len(raw)).To(BeNumerically(">", 32))
		homes[k.KeyData.Value], homes[hex.EncodeToString(raw[len(raw)-32:])] = "", ""
	}
}

// secretsOf opens what a database has sealed for an account, but for what its platform calls public.
func secretsOf(ctx SpecContext, database string, keys *vault.Keyset, account string) (secrets []string) {
	GinkgoHelper()
	db, err := store.Open(store.Options{
		URL: database, Environment: key.Live, Clock: clock.RealClock{}, NewID: uuid.NewString, Logger: slog.New(slog.DiscardHandler),
	})
	Expect(err).NotTo(HaveOccurred())
	defer db.Close()
	Expect(db.Attach(ctx)).To(Succeed())
	c, err := db.Work().Connection(ctx, account)
	Expect(err).NotTo(HaveOccurred())
	for _, s := range c.Secrets {
		text, err := vault.Fixed(keys).Open(s.Sealed, vault.Of{Organization: c.Organization, Account: account, Name: s.Name})
		Expect(err).NotTo(HaveOccurred())
		public := platform.SecretShape{Name: s.Name, Public: true}
		if !slices.ContainsFunc(catalog.All, func(p platform.Platform) bool { return slices.Contains(p.Secrets, public) }) {
			secrets = append(secrets, string(text))
		}
	}
	return secrets
}

// connectSealed gives an organization an account with secrets, sealed as the API seals them: no platform is asked.
func connectSealed(ctx SpecContext, namespace, database, keyset string, homes map[string]string) (account string) {
	GinkgoHelper()
	ns := &corev1.Namespace{}
	Expect(admin.Get(ctx, client.ObjectKey{Name: namespace}, ns)).To(Succeed())
	k, err := vault.ReadFile(keyset, nil)
	Expect(err).NotTo(HaveOccurred())
	db, err := store.Open(store.Options{
		URL: database, Environment: key.Live, Clock: clock.RealClock{}, NewID: uuid.NewString, Logger: slog.New(slog.DiscardHandler),
	})
	Expect(err).NotTo(HaveOccurred())
	defer db.Close()
	Expect(db.Attach(ctx)).To(Succeed())
	account = uuid.NewString()
	var secrets []store.SealedSecret
	for _, name := range []string{platform.SecretAppPassword, platform.SecretAccessToken, platform.SecretDPoPKey} {
		text := newPassword()
		homes[text] = ""
		sealed, err := vault.Fixed(k).Seal([]byte(text), vault.Of{Organization: string(ns.UID), Account: account, Name: name})
		Expect(err).NotTo(HaveOccurred())
		secrets = append(secrets, store.SealedSecret{Name: name, KeyID: k.Primary(), Sealed: sealed})
	}
	view := db.View(&caller.Caller{Organization: caller.Organization{ID: string(ns.UID)}, Environment: key.Live})
	Expect(view.Write(ctx, func(tx *store.Tx) error {
		a, _, err := tx.PutAccount(store.Account{
			ID: account, Platform: bluesky.Name, PlatformAccountID: "did:plc:hunted", DisplayName: "hunted.test",
			CreatedAt: time.Now(), UpdatedAt: time.Now(),
		})
		if err != nil {
			return err
		}
		return tx.PutSecrets(a.ID, secrets)
	})).To(Succeed())
	return account
}
