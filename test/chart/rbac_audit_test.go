// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// leaderLease is the one object that a rule names.
const leaderLease = "letmepost-controller"

// use is a request of a process: VERB RESOURCE[/SUBRESOURCE][.GROUP], and where.
type use struct {
	what  string
	where place
}

// auditEvent is what matters here of an audit.k8s.io/v1 Event.
type auditEvent struct {
	Verb       string
	RequestURI string
	User       struct{ Username string }
	ObjectRef  *struct { // nil: a request about no resource
		Resource, Subresource, APIGroup, Namespace, Name string
	}
	ResponseStatus struct { // of a watch that goes on: none
		Code    int
		Message string
	}
}

// auditEnd is where the audit log ends now.
func auditEnd() int64 {
	GinkgoHelper()
	info, err := os.Stat(auditFile)
	Expect(err).NotTo(HaveOccurred())
	return info.Size()
}

// asked is what an account has asked for since a point of the audit log, and those requests that were refused.
func asked(name string, since int64) (uses map[use]bool, forbidden []string) {
	GinkgoHelper()
	file, err := os.Open(auditFile)
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	_, err = file.Seek(since, 0)
	Expect(err).NotTo(HaveOccurred())
	uses = map[use]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event auditEvent
		Expect(json.Unmarshal(lines.Bytes(), &event)).To(Succeed())
		if event.User.Username != account(name).user || event.ObjectRef == nil {
			continue // another's; or discovery, which everybody may do
		}
		if event.ResponseStatus.Code == http.StatusForbidden {
			forbidden = append(forbidden, fmt.Sprintf("%s %s: %s", event.Verb, event.RequestURI, event.ResponseStatus.Message))
			continue
		}
		uses[useOf(event)] = true
	}
	Expect(lines.Err()).NotTo(HaveOccurred())
	return uses, forbidden
}

func useOf(event auditEvent) use {
	object := event.ObjectRef
	resource := object.Resource
	if object.Subresource != "" {
		resource += "/" + object.Subresource
	}
	resource = strings.TrimSuffix(resource+"."+object.APIGroup, ".")
	u := use{event.Verb + " " + resource, place{object.Namespace, anything}}
	// "create" can't be narrowed to a name.
	if object.Resource == "leases" && object.Name == leaderLease && event.Verb != "create" {
		u.where.name = leaderLease
	}
	return u
}

// deserved is what of a process's uses has to be allowed at a place, and nothing beside: sorted, with what is
// everybody's. In the release's namespace is the process's own business. All else is the business of organizations,
// which is to be allowed either in all namespaces alike, or where it was used only.
func deserved(uses map[use]bool, where place, everywhere bool) []string {
	all := map[string]bool{}
	for _, what := range everybody {
		all[what] = true
	}
	for u := range uses {
		switch {
		case u.where.namespace == where.namespace && (u.where.name == anything || u.where.name == where.name),
			u.where.namespace != systemNamespace && everywhere:
			all[u.what] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// everybody is what Kubernetes gives to every ServiceAccount: to ask who and what it is itself (system:basic-user), and
// to read the public certificates of signers (system:cluster-trust-bundle-discovery).
var everybody = []string{
	"get clustertrustbundles.certificates.k8s.io",
	"list clustertrustbundles.certificates.k8s.io",
	"watch clustertrustbundles.certificates.k8s.io",
	"create selfsubjectaccessreviews.authorization.k8s.io",
	"create selfsubjectrulesreviews.authorization.k8s.io",
	"create selfsubjectreviews.authentication.k8s.io",
}
