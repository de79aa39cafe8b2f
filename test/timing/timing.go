// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package timing says where the time of a suite of specs goes, so that whoever wants tests to be faster knows where to
// look.
package timing

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// most is how many specs of a suite are listed.
const most = 12

// Report lets the slowest specs of a suite be written to bin/log/times/NAME when it is over: seconds, and the spec's
// name, slowest first. Call it where the suite declares its specs. What goes wrong is the suite's failure.
func Report(name string) bool {
	return ginkgo.ReportAfterSuite("where the time goes", func(report ginkgo.Report) {
		path := kube.Path(filepath.Join("bin/log/times", name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			ginkgo.Fail(err.Error())
		}
		if err := os.WriteFile(path, []byte(table(name, report.RunTime, report.SpecReports)), 0o644); err != nil {
			ginkgo.Fail(err.Error())
		}
	})
}

func table(name string, whole time.Duration, specs types.SpecReports) string {
	specs = slices.Clone(specs)
	slices.SortStableFunc(specs, func(a, b types.SpecReport) int { return cmp.Compare(b.RunTime, a.RunTime) })
	var text strings.Builder
	fmt.Fprintf(&text, "%6.0f s  %s: %d specs\n", whole.Seconds(), name, len(specs))
	for _, spec := range specs[:min(most, len(specs))] {
		fmt.Fprintf(&text, "%6.0f s      %s\n", spec.RunTime.Seconds(), cmp.Or(spec.FullText(), spec.LeafNodeType.String()))
	}
	return text.String()
}
