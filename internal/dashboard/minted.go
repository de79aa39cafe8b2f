// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/outbound"
)

// A key that is shown once may never have been seen: the process may die before it has answered, or the connection
// may break. So such a key has a label until the person says that they have it; those that still have it are listed
// for that person, and to revoke them is the step that is offered.

// mintedData is the one answer that has the key in it.
type mintedData struct {
	Key          *v1alpha1.ApiKey
	Plaintext    string
	Curl         string
	CreateSecret string
	YAML         string // with the hash, which may be in Git
	Rotates      string
}

// shownOnce shows the key. What it returns must go nowhere but into the answer.
func (d *Dashboard) shownOnce(r *request, m *minting, plaintext string) (view, error) {
	text, err := manifestOf(m.key)
	if err != nil {
		return view{}, err
	}
	base := d.baseURL(r, key.Environment(m.key.Spec.Environment))
	return view{Page: "minted", Title: "minted.title", Status: http.StatusCreated, Data: mintedData{
		Key: m.key, Plaintext: plaintext, YAML: text, Rotates: m.rotates,
		// Keys and names have no character that means something to a shell, and an address may have.
		Curl: "curl --header 'Authorization: Bearer " + plaintext + "' " + shell(base+"/v1/whoami"),
		CreateSecret: strings.Join([]string{
			"kubectl create secret generic " + m.key.Name + " --namespace " + m.key.Namespace,
			"  --from-literal=" + v1alpha1.SecretKeyAPIKey + "=" + plaintext,
			"  --from-literal=" + v1alpha1.SecretKeyBaseURL + "=" + shell(base),
		}, " \\\n"),
	}}, nil
}

// shownAlreadyData is for a form that was sent again.
type shownAlreadyData struct {
	Key     *v1alpha1.ApiKey // nil: it is gone
	Rotates string
}

// shownAlready neither shows the key again nor makes another one: whoever does not have it revokes it, and starts
// anew. k is nil if it is gone.
func shownAlready(k *v1alpha1.ApiKey, rotates string) (view, error) {
	return view{
		Page: "shownalready", Title: "shownalready.title", Status: http.StatusConflict, Data: shownAlreadyData{k, rotates},
	}, nil
}

// baseURL is where the API of an environment is, as far as this process knows; else something to put it in place of.
func (d *Dashboard) baseURL(r *request, e key.Environment) string {
	switch other := strings.TrimSuffix(strings.TrimSuffix(d.config.OtherURL, "/"), Base); {
	case e == d.config.Environment && d.config.PublicURL != "":
		return strings.TrimSuffix(d.config.PublicURL, "/")
	case e == d.config.Environment:
		return scheme(r.http) + "://" + r.http.Host
	case other != "":
		return other
	}
	return "https://ADDRESS-OF-THE-" + strings.ToUpper(string(e)) + "-API"
}

// scheme is how the person has come here. Nobody signs in by plain HTTP but on the machine itself.
func scheme(r *http.Request) string {
	if r.TLS == nil && outbound.IsLoopback(hostOf(r)) {
		return "http"
	}
	return "https"
}

// shell quotes a word for a shell.
func shell(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// manifest is an ApiKey as it is written down, in the order in which people read it. v1alpha1.ApiKey would be written
// in the order of the alphabet, and with a status.
//
// This YAML package knows nothing of JSON's tags. Without a tag of its own, it calls a field by its name in small
// letters: that of two words needs one.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name, Namespace string
		Labels          map[string]string `yaml:",omitempty"`
	}
	Spec struct {
		Environment string
		ProfileRef  *v1alpha1.ProfileReference `yaml:"profileRef,omitempty"`
		Scopes      []string                   `yaml:",flow"`
		Claims      map[string]string          `yaml:",omitempty"`
		SecretName  string                     `yaml:"secretName,omitempty"`
		Template    *manifestTemplate          `yaml:"secretTemplate,omitempty"`
		SecretHash  string                     `yaml:"secretHash,omitempty"`
		ExpiresAt   string                     `yaml:"expiresAt,omitempty"`
		RateLimit   *manifestRate              `yaml:"rateLimit,omitempty"`
	}
}

type manifestRate struct {
	Requests int32
	Window   string
}

type manifestTemplate struct {
	Labels      map[string]v1alpha1.LabelValue      `yaml:",omitempty"`
	Annotations map[string]v1alpha1.AnnotationValue `yaml:",omitempty"`
}

// manifestOf writes down what is asked for by an ApiKey, for Git. A field that ApiKeySpec gains has to be added to
// manifest and here, or what is applied makes a key that may do something else than the one on the page.
func manifestOf(k *v1alpha1.ApiKey) (string, error) {
	m := manifest{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ApiKey"}
	m.Metadata.Name, m.Metadata.Namespace = k.Name, k.Namespace
	// By this label a rotation finds its new key, also one that is applied from Git. The others are notes of this
	// dashboard about one minting.
	if of := k.Labels[v1alpha1.LabelRotates]; of != "" {
		m.Metadata.Labels = map[string]string{v1alpha1.LabelRotates: of}
	}
	m.Spec.Environment, m.Spec.ProfileRef = string(k.Spec.Environment), k.Spec.ProfileRef
	m.Spec.SecretName, m.Spec.SecretHash = k.Spec.SecretName, k.Spec.SecretHash
	for _, s := range k.Spec.Scopes {
		m.Spec.Scopes = append(m.Spec.Scopes, string(s))
	}
	for name, text := range k.Spec.Claims {
		if m.Spec.Claims == nil {
			m.Spec.Claims = map[string]string{}
		}
		m.Spec.Claims[name] = string(text)
	}
	if k.Spec.ExpiresAt != nil {
		m.Spec.ExpiresAt = k.Spec.ExpiresAt.UTC().Format(time.RFC3339)
	}
	if t := k.Spec.SecretTemplate; t != nil {
		m.Spec.Template = &manifestTemplate{t.Labels, t.Annotations}
	}
	if l := k.Spec.RateLimit; l != nil {
		m.Spec.RateLimit = &manifestRate{l.Requests, l.Window.Duration.String()}
	}
	text, err := yaml.Marshal(m)
	return string(text), err
}

// keySecretData is where a key's Secret is, and how an app takes it. State is the condition Ready, nil before the
// controller has looked at the key. While Pending, the page is loaded again by itself.
type keySecretData struct {
	Key     *v1alpha1.ApiKey
	Secret  string // "": the key was brought by its hash
	State   *metav1.Condition
	Pending bool
	Served  bool
	Rotates string // the name of the key whose place this one takes; "": none that is known
}

// keySecret says where a key's Secret is. It is where whoever has minted into the cluster goes on, and it may be
// loaded as often as one likes: there is no key on it. A key that is brought by its hash has none, which is told as
// well.
func (d *Dashboard) keySecret(r *request) (view, error) {
	k, err := r.person.Cluster.Key(r.Context(), r.Organization().Name, r.http.PathValue("name"))
	if err != nil {
		return view{}, err
	}
	data := keySecretData{
		Key: k, Secret: k.SecretName(), State: meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady),
		Rotates: rotating(r.http.URL.Query().Get("rotates")),
	}
	data.Served = data.State != nil && data.State.Status == metav1.ConditionTrue
	data.Pending = data.State == nil || data.State.Reason == v1alpha1.ReasonPending
	if data.Pending {
		// It is a moment's matter; without a script, too.
		r.writer.Header().Set("Refresh", "2; url="+hereAgain(*r.http.URL))
	}
	return view{Page: "keysecret", Title: "keysecret.title", Data: data}, nil
}

// rotating is the name of a key to go back to the rotation of; "" for what can be none.
func rotating(name string) string {
	if len(name) > longest["name"] {
		return ""
	}
	return name
}

// haveIt takes note that the person has the key that they were shown: that one, by its UID, and no other that was made
// under its name since.
func (d *Dashboard) haveIt(r *request) (view, error) {
	name, id := r.http.PathValue("name"), types.UID(r.form.Get("uid"))
	if id == "" { // the apiserver would take it for whatever key has the name
		return view{}, errBadForm
	}
	err := r.person.Cluster.UnlabelKey(r.Context(), r.Organization().Name, name, id, v1alpha1.LabelShownTo)
	if err != nil {
		return view{}, err
	}
	return told(next(r.form.Get("next")), "notice.haveIt")
}

// pendingKey is one that somebody was shown, and has not said that they have it.
type pendingKey struct {
	Name, ID     string
	Organization string // its id
	CreatedAt    time.Time
}

// pendingKeys are those of a person, the newest first.
type pendingKeys struct {
	List []pendingKey
	More int // are not shown
}

// How many of them are listed, and how many are looked at: they come by their names, and not by their age.
const maxPending, maxPendingSeen = 20, 200

// pendingKeys are those of the person, as far as they may see them. Who may not list keys may still mint, and so it is
// no error.
func (r *request) pendingKeys() (pendingKeys, error) {
	keys, err := r.person.Cluster.KeysLabeled(
		r.Context(), r.Organization().Name, v1alpha1.LabelShownTo, shownTo(r.person.Username), maxPendingSeen,
	)
	if apierrors.IsForbidden(err) {
		return pendingKeys{}, nil
	}
	return r.pendingAmong(keys), err
}

// pendingAmong are those of the person among some keys. One that is being deleted is none any more: there is nothing
// left to do about it.
func (r *request) pendingAmong(keys []v1alpha1.ApiKey) (pending pendingKeys) {
	person := shownTo(r.person.Username)
	for i := range keys {
		k := &keys[i]
		if k.DeletionTimestamp == nil && k.Labels[v1alpha1.LabelShownTo] == person {
			pending.List = append(pending.List, pendingKey{k.Name, string(k.UID), r.Organization().ID, k.CreationTimestamp.Time})
		}
	}
	slices.SortStableFunc(pending.List, func(a, b pendingKey) int { return b.CreatedAt.Compare(a.CreatedAt) })
	pending.More = max(0, len(pending.List)-maxPending)
	pending.List = pending.List[:len(pending.List)-pending.More]
	return pending
}
