// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("Operations: make up", func() {
	It("shows what docs/operations.md and docs/gitops.md say, from finding a leaked key to its 401", func(ctx SpecContext) {
		dev := newDev()
		dev.up(ctx)
		for _, page := range []string{"docs/operations.md", "docs/gitops.md"} {
			steps := tourOf(page, wholePage)
			if page == "docs/gitops.md" { // that section has a test of its own, with a Secret that was left behind
				elsewhere := tourOf(page, "Secrets that were left behind")
				steps = slices.DeleteFunc(steps, func(s step) bool { return slices.Contains(elsewhere, s) })
			}
			Expect(checkTour(steps, dev.bash(ctx, script(steps)))).To(Succeed(), page)
		}
		dev.down()
	}, SpecTimeout(4*patience))
})
