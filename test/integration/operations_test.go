// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("Operations: make up", func() {
	It("shows what docs/operations.md and docs/gitops.md say, from finding a leaked key to its 401", func(ctx SpecContext) {
		dev := newDev()
		dev.up(ctx)
		for _, page := range []string{"docs/operations.md", "docs/gitops.md"} {
			steps := tourOf(page, wholePage)
			Expect(checkTour(steps, dev.bash(ctx, script(steps)))).To(Succeed(), page)
		}
		dev.down()
	}, SpecTimeout(4*patience))
})
