// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// refusals are all that the apiserver said no to while the specs ran.
var refusals struct {
	sync.Mutex
	causes []metav1.StatusCause
}

func remember(err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return
	}
	refusals.Lock()
	defer refusals.Unlock()
	refusals.causes = append(refusals.causes, status.Status().Details.Causes...)
}

// A rule that refused nothing in a whole run is a rule without a test.
var _ = ReportAfterSuite("every rule of the schema has refused something", func(report Report) {
	passed := func(s SpecReport) bool { return s.State == types.SpecStatePassed || s.LeafNodeType != types.NodeTypeIt }
	if slices.ContainsFunc(report.SpecReports, func(s SpecReport) bool { return !passed(s) }) {
		return // not a whole run
	}
	var idle []string
	for name, crd := range definitions(GinkgoTB()) {
		walk("", schemaOf(crd), func(path string, s *schema) {
			for _, rule := range rulesOf(path, s) {
				if !slices.ContainsFunc(refusals.causes, rule.refused) {
					idle = append(idle, name+": "+rule.String())
				}
			}
		})
	}
	if len(idle) > 0 {
		Fail("no spec has a manifest that is refused by\n  " + strings.Join(idle, "\n  "))
	}
})

// rule is one thing that a schema demands, and how the apiserver says that it was not met.
type rule struct {
	path string
	says string // a regular expression
}

func (r rule) String() string { return r.path + ": " + r.says }

// refused tells whether cause is this rule's.
func (r rule) refused(cause metav1.StatusCause) bool {
	path := regexp.QuoteMeta(r.path)
	if path == "" {
		path = "(<nil>)?" // the whole object
	}
	path = strings.ReplaceAll(path, regexp.QuoteMeta(anyItem), `\[\d+\]`)
	path = strings.ReplaceAll(path, regexp.QuoteMeta(anyKey), `(\.[^.]+|\[[^]]+\])`) // the latter where a rule in CEL says so
	return regexp.MustCompile("^"+path+"$").MatchString(cause.Field) && regexp.MustCompile(r.says).MatchString(cause.Message)
}

// rulesOf lists what s demands. In status, which the controller alone writes, that is the rules in CEL.
func rulesOf(path string, s *schema) []rule {
	var rules []rule
	add := func(demanded bool, at, says string) {
		if demanded {
			rules = append(rules, rule{path: at, says: says})
		}
	}
	for _, validation := range s.XValidations {
		add(true, path, regexp.QuoteMeta(validation.Message))
	}
	if path != "spec" && !strings.HasPrefix(path, "spec.") {
		return rules
	}
	add(len(s.Enum) > 0, path, "Unsupported value")
	add(s.Pattern != "", path, "should match")
	add(s.MinLength != nil, path, "should be at least .* chars long")
	add(s.MaxLength != nil, path, "Too long")
	add(s.Minimum != nil, path, "greater than or equal to")
	add(s.Maximum != nil, path, "less than or equal to")
	add(s.MinItems != nil, path, "should have at least")
	add(s.MaxItems != nil, path, "Too many")
	add(s.MinProperties != nil, path, "should have at least")
	add(s.MaxProperties != nil, path, "Too many")
	add(s.XListType != nil && *s.XListType == "set", path+anyItem, "Duplicate value")
	for _, name := range s.Required {
		add(true, fmt.Sprintf("%s.%s", path, name), "Required value")
	}
	return rules
}
