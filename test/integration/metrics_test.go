// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/tracing/tracingtest"
	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("What operators see", func() {
	It("is what docs/observability.md says: metrics, audit lines and spans, and no key in any of them", func(ctx SpecContext) {
		collector := tracingtest.Start(GinkgoTB())
		traced := []string{"--otlp-endpoint", collector.URL, "--trace-sample-ratio", "1"}
		controller := startController(ctx, append(traced, "--log-level", "error", "--leader-elect=true")...)
		api := startAPI(ctx, "test", append(append(onSQLite(), traced...), "--log-level", "error", "--access-log", "none")...)
		// With what only some have configured: their metrics are in the table, too.
		live := launchAPIWith([]string{"LMP_LINKEDIN_CLIENT_SECRET=any"}, "live", append(onSQLite(), "--linkedin-client-id", "app", "--github-secret-scanning")...)
		live.waitReady(ctx)
		d := newDesk(ctx, api)
		leaked := d.mint(ctx, api, "leaked", nil)
		for _, call := range []call{
			d.writing("now", time.Time{}), jsonCall(http.MethodGet, "/v1/posts", nil), jsonCall(http.MethodGet, "/nowhere/"+d.key, nil),
			jsonCall("BREW", "/v1/whoami", nil), jsonCall(http.MethodPost, "/v1/api-keys", map[string]any{}),
		} {
			_, err := call.send(ctx, api.url, d.key)
			Expect(err).NotTo(HaveOccurred())
		}
		later := d.queueSoon(ctx, api, d.key, "later")
		for _, credentials := range []string{"", "Bearer x", "Bearer " + newKey(key.Live), "Bearer " + newKey(key.Test)} {
			Expect(decided(ctx, api.status(ctx, "/v1/whoami", credentials))).To(Equal(http.StatusUnauthorized))
		}
		deleteNow(ctx, d.namespace, "leaked")
		Expect(decided(ctx, api.whoami(ctx, leaked))).To(Equal(http.StatusUnauthorized))
		Eventually(ctx, d.read(ctx, api, later), patience, interval).Should(HaveField("Status", "published"))

		By("metrics")
		sources := map[string][]*server{"controller": {controller}, "api": {api, live}}
		table := metricsTable()
		for process, all := range sources {
			exposed := map[string]*dto.MetricFamily{}
			Eventually(ctx, func() (missing []string) { // what was done just now may not be counted yet
				for _, s := range slices.Backward(all) { // of what both have, that of the first, which has done more
					maps.Copy(exposed, families(s.scrape(ctx)))
				}
				for name, row := range table {
					if exposed[name] == nil && (row.process == process || row.process == "both") {
						missing = append(missing, name)
					}
				}
				return missing
			}, patience, interval).Should(BeEmpty(), "they are in the table, and the %s does not expose them", process)
			for name, family := range exposed {
				row, ok := table[name]
				if !ok {
					Expect(name).NotTo(HavePrefix("lmp_"), "the table lacks it")
					continue
				}
				Expect(row.process).To(Or(Equal(process), Equal("both")), "%s is exposed by the %s", name, process)
				Expect(row.wrong(family)).To(BeEmpty(), name)
			}
		}

		By("audit lines")
		// Of what is over, a line may still be on its way into the log.
		said := func(s *server) func() []string { return func() []string { return events(s.logText()) } }
		Eventually(ctx, said(controller), patience, interval).Should(
			ContainElements("key.minted leaked", "key.minted writer", "key.revoked leaked"))
		Eventually(ctx, said(api), patience, interval).Should(ContainElements("key.refused leaked", "request.refused missing",
			"request.refused malformed", "request.refused wrong_environment", "request.refused unknown", "request.refused key_management"))

		By("spans")
		names := func() (all []string) {
			for _, s := range collector.Spans() {
				all = append(all, s.Service+" "+s.Name)
			}
			return all
		}
		for _, want := range []string{
			"letmepost-api POST /v1/posts", "letmepost-api store transaction", "letmepost-api store read", "letmepost-api publish attempt",
			"letmepost-api scheduled post", "letmepost-controller reconcile ApiKey", "letmepost-controller mint",
			"letmepost-controller reconcile revocation", "letmepost-controller ask the replicas", "letmepost-controller confirm the revocation",
		} {
			Eventually(ctx, names, patience, interval).Should(ContainElement(want))
		}
		told := append(collector.Raw(), controller.scrape(ctx)+api.scrape(ctx)+controller.logText()+api.logText()...)
		Expect(newNeedles(d.key, leaked).in(told)).To(BeEmpty())
		for _, plaintext := range []string{d.key, leaked} {
			digest := key.DigestOf(plaintext)
			for _, half := range [][]byte{digest[:16], digest[16:]} {
				Expect(string(told)).NotTo(ContainSubstring(hex.EncodeToString(half)), "a hash")
			}
		}
	}, SpecTimeout(3*patience))
})

// events are the audit lines of a log, each as its event and what it is about: a key's name, or the class of a refusal.
func events(log string) (found []string) {
	line := regexp.MustCompile(`"logger":"audit".*"event":"([a-z.]+)".*?(?:"refusal":"(\w+)"|"key":"[^"/]*/([^"]*)")`)
	for _, m := range line.FindAllStringSubmatch(log, -1) {
		found = append(found, m[1]+" "+m[2]+m[3])
	}
	return found
}

// metricRow is a row of the table in docs/observability.md.
type metricRow struct {
	kind, process string
	labels        map[string]string // what the table says of their values
}

var (
	rowPattern   = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| [^|]+ \\| (\\w+) \\| ([^|]*) ?\\| [^|]+ \\|$")
	valuePattern = regexp.MustCompile("`([^`]*)`")
)

func metricsTable() map[string]metricRow {
	GinkgoHelper()
	doc, err := os.ReadFile(kube.Path("docs/observability.md"))
	Expect(err).NotTo(HaveOccurred())
	table := map[string]metricRow{}
	for _, m := range rowPattern.FindAllStringSubmatch(string(doc), -1) {
		row := metricRow{kind: m[2], process: m[3], labels: map[string]string{}}
		for label := range strings.SplitSeq(m[4], "<br>") {
			if name, values, ok := strings.Cut(strings.TrimSpace(label), ": "); ok {
				row.labels[strings.Trim(name, "`")] = values
			}
		}
		table[m[1]] = row
	}
	_, section, _ := strings.Cut(string(doc), "\n## Metrics\n")
	section, _, _ = strings.Cut(section, "\n## ")
	Expect(table).To(HaveLen(strings.Count(section, "\n| `")), "every row of the table is read")
	return table
}

// Sets of values that the table names instead of listing them.
var valueSets = map[string]*regexp.Regexp{
	"a route":        regexp.MustCompile(`^/(v1/[a-z0-9/{}.-]+|(dashboard|docs)(/[a-z0-9/{}._-]*)?|llms\.txt|healthz|readyz)$`),
	"an HTTP method": regexp.MustCompile(`^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$`),
	"a status code":  regexp.MustCompile(`^[1-5]\d\d$`),
	"the apiserver":  regexp.MustCompile(`^127\.0\.0\.1:\d+$`),
	"a number":       regexp.MustCompile(`^-?\d+$`),
}

// wrong says in what a family of metrics differs from its row.
func (row metricRow) wrong(family *dto.MetricFamily) (found []string) {
	if kind := strings.ToLower(family.GetType().String()); kind != row.kind {
		found = append(found, "it is a "+kind)
	}
	for _, m := range family.Metric {
		if len(m.Label) != len(row.labels) {
			found = append(found, fmt.Sprintf("its labels are %v, and in the table %v", m.Label, row.labels))
		}
		for _, l := range m.Label {
			if !allowed(row.labels[l.GetName()], l.GetValue()) {
				found = append(found, fmt.Sprintf("%s=%q is not in the table", l.GetName(), l.GetValue()))
			}
		}
	}
	return found
}

// allowed tells whether a value is one that the table lists, or of a set that it names.
func allowed(listed, value string) bool {
	for name, set := range valueSets {
		if strings.Contains(listed, name) && set.MatchString(value) {
			return true
		}
	}
	return slices.ContainsFunc(valuePattern.FindAllStringSubmatch(listed, -1), func(m []string) bool { return m[1] == value })
}

func families(text string) map[string]*dto.MetricFamily {
	GinkgoHelper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	found, err := parser.TextToMetricFamilies(strings.NewReader(text))
	Expect(err).NotTo(HaveOccurred())
	return found
}
