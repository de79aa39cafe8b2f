// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// lastUsed asks an API, with one key, when another one was used last; nil: never, as far as it knows. It can be polled.
func lastUsed(ctx context.Context, api *server, asking, name string) func() (*time.Time, error) {
	type key struct {
		Name       string
		LastUsedAt *time.Time
	}
	return func() (*time.Time, error) {
		list, err := fetch[struct{ Data []key }](ctx, api.url, asking, "/v1/api-keys")
		for _, k := range list.Data {
			if k.Name == name {
				return k.LastUsedAt, err
			}
		}
		return nil, err
	}
}

var _ = Describe("When a key was used last", func() {
	It("is known to every replica, and to those that come after one that is killed or ends", func(ctx SpecContext) {
		startController(ctx)
		shared := onPostgres()
		start := func() *server { return startAPI(ctx, "live", append([]string{}, shared...)...) }
		a, b := start(), start()
		namespace := newNamespace(ctx)
		asking := mint(ctx, namespace, "asking")
		used := map[string]string{}
		for _, name := range []string{"early", "late", "idle"} {
			used[name] = mint(ctx, namespace, name)
		}
		for _, api := range []*server{a, b} {
			Eventually(ctx, api.whoami(ctx, asking), patience, interval).Should(Equal(http.StatusOK))
		}

		Eventually(ctx, a.whoami(ctx, used["early"]), patience, interval).Should(Equal(http.StatusOK))
		Eventually(ctx, lastUsed(ctx, b, asking, "early"), patience, interval).Should(
			HaveValue(BeTemporally("~", time.Now(), 2*patience)), "the other replica learns of it")
		a.Kill() // what it has written stays
		Eventually(ctx, b.whoami(ctx, used["late"]), patience, interval).Should(Equal(http.StatusOK))
		Expect(b.Stop(ctx)).To(Succeed()) // what it has not written yet, it writes now

		c := start()
		for _, name := range []string{"early", "late"} {
			Expect(lastUsed(ctx, c, asking, name)()).To(HaveValue(BeTemporally("~", time.Now(), 2*patience)), name)
		}
		Expect(lastUsed(ctx, c, asking, "idle")()).To(BeNil())
	}, SpecTimeout(4*patience))
})
