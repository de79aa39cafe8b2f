// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// played is what a gate takes for an apiserver: it lists so many keys in pages, of which none ever changes, has no
// profiles, and takes any Lease. A real one with a million keys has gigabytes in memory and in etcd, and the gate sees
// of it what it sees here: lists, page by page, of objects as the controller leaves them.
type played struct {
	*httptest.Server
	keys   int
	format key.Format
}

// playedVersion is the resourceVersion of everything: nothing ever changes.
const playedVersion = "1000"

func play(keys int) (*played, error) {
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		return nil, err
	}
	p := &played{keys: keys, format: format}
	p.Server = httptest.NewServer(p)
	return p, nil
}

// kubeconfig writes one that leads here.
func (p *played) kubeconfig(file string) error {
	return os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: played, cluster: {server: %q}}]
contexts: [{name: played, context: {cluster: played, user: played}}]
users: [{name: played, user: {}}]
current-context: played
`, p.URL), 0o600)
}

// ServeHTTP answers what a gate asks.
func (p *played) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	resource := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	query := r.URL.Query()
	switch {
	case strings.Contains(r.URL.Path, "/leases"):
		p.lease(w, r)
	case query.Get("watch") != "":
		p.watch(w, r, resource)
	case resource == "apikeys":
		limit, _ := strconv.Atoi(query.Get("limit"))
		first, _ := strconv.Atoi(query.Get("continue"))
		p.page(w, first, max(limit, 1))
	default:
		_, _ = fmt.Fprintf(w, `{"kind":"ProfileList","apiVersion":%q,"metadata":{"resourceVersion":%q},"items":[]}`,
			v1alpha1.GroupVersion, playedVersion)
	}
}

// lease answers with what it is sent, as far as a replica looks at the answer.
func (p *played) lease(w http.ResponseWriter, r *http.Request) {
	lease := map[string]any{}
	if r.Body != nil {
		_ = json.NewDecoder(r.Body).Decode(&lease) // none of a deletion
	}
	about, _ := lease["metadata"].(map[string]any)
	if about == nil {
		about = map[string]any{}
	}
	about["resourceVersion"], about["name"], about["uid"] = playedVersion, "played", "played"
	lease["metadata"], lease["kind"], lease["apiVersion"] = about, "Lease", "coordination.k8s.io/v1"
	_ = json.NewEncoder(w).Encode(lease)
}

// watch says every few seconds that nothing has changed.
func (p *played) watch(w http.ResponseWriter, r *http.Request, resource string) {
	kind := map[string]string{"apikeys": "ApiKey", "profiles": "Profile"}[resource]
	every := time.NewTicker(5 * time.Second)
	defer every.Stop()
	for {
		_, _ = fmt.Fprintf(w,
			`{"type":"BOOKMARK","object":{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":%q}}}`+"\n",
			kind, v1alpha1.GroupVersion, playedVersion)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-every.C:
		case <-r.Context().Done():
			return
		}
	}
}

// page is one of the list. The same key is made for the same place each time.
func (p *played) page(w http.ResponseWriter, first, limit int) {
	list := &v1alpha1.ApiKeyList{
		TypeMeta: metav1.TypeMeta{Kind: "ApiKeyList", APIVersion: v1alpha1.GroupVersion.String()},
		ListMeta: metav1.ListMeta{ResourceVersion: playedVersion},
	}
	for i := first; i < min(first+limit, p.keys); i++ {
		random := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)})
		plaintext, err := p.format.Mint(random, key.Live)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		k := authntest.Resource(p.format, i, plaintext)
		k.Namespace = fmt.Sprintf("organization-%d", i/keysAnOrganization)
		k.Status.OrganizationID = fmt.Sprintf("ffffffff-0000-4000-8000-%012x", i/keysAnOrganization)
		k.ResourceVersion, k.Finalizers = playedVersion, []string{v1alpha1.FinalizerRevocation}
		k.Labels = map[string]string{"app.kubernetes.io/name": "website", "app.kubernetes.io/part-of": "shop"}
		k.Status.Conditions = []metav1.Condition{
			{
				Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonActive,
				LastTransitionTime: k.CreationTimestamp,
			},
			{
				Type: v1alpha1.ConditionSecretAvailable, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSecretCreated,
				Message: secretAvailable(k.Name), LastTransitionTime: k.CreationTimestamp,
			},
		}
		list.Items = append(list.Items, *k)
	}
	if next := first + limit; next < p.keys {
		list.Continue = strconv.Itoa(next)
	}
	_ = json.NewEncoder(w).Encode(list)
}
