// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/session"
)

// mintScreens make keys. No ApiKey can be called "-". One is made by one request of the person's to the apiserver,
// which is asked once: it checks and creates in one go, and the name being unique is what keeps a form from making two.
func (d *Dashboard) mintScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/keys/-/new", Show: d.mintForm},
		{Method: http.MethodPost, Path: "/keys/-/new", OfPage: true, Show: d.mint},
		{Method: http.MethodGet, Path: "/keys/{name}/secret", Show: d.keySecret},
		{Method: http.MethodPost, Path: "/keys/{name}/have-it", Show: d.haveIt},
	}
}

// mintData is what the form shows.
type mintData struct {
	mintForm
	*checks
	Said     string // by the apiserver, of the key as a whole
	Stale    bool   // the form that was sent is no good any more
	YAML     string
	MayNot   string // why the person may not mint; "": they may, or it is not known
	Profiles []*caller.Profile
	AllKnown bool // Profiles are all there are; otherwise the person may not see them
	Pending  pendingKeys
	Today    string // in UTC
	Same     int    // days that the key lasts which is rotated; 0: it is not said
}

// Back is for the template.
func (*mintData) Back() string { return "/keys/-/new" }

// AllScopes is for the template.
func (*mintData) AllScopes() []v1alpha1.Scope { return v1alpha1.Scopes[:] }

// Expiries is for the template.
func (*mintData) Expiries() any { return expiries }

// minting is one form that mints, as it was sent.
type minting struct {
	form   mintForm
	checks *checks
	key    *v1alpha1.ApiKey // what is asked for, and once it is made, what was made
	// again shows the form with what was typed, what is wrong with it, and what the apiserver says.
	again func(status int, said, yaml string) (view, error)
	// rotates is the name of the key whose place this one takes; "": none.
	rotates string
}

// mintForm shows the form, with what a link may have filled in.
func (d *Dashboard) mintForm(r *request) (view, error) {
	c := d.checks()
	f := c.readMintForm(r.http.URL.Query())
	if f.Environment == "" {
		f.Environment = string(d.config.Environment)
	}
	f.Expiry, f.Window, f.Way = expiries[1].Value, "1m", once
	// All are ticked: an ApiKey that names no scopes has them all, and so this is what it would be without this field.
	for _, s := range v1alpha1.Scopes {
		f.Scopes = append(f.Scopes, string(s))
	}
	// With new checks: what a link has that is too long is cut, and nobody is told that they have typed it wrongly.
	return d.mintView(r, f, d.checks(), mintData{}, 0)
}

// mintView shows the form. Whatever is refused comes back here (minting.again), with what was typed.
func (d *Dashboard) mintView(r *request, f mintForm, c *checks, data mintData, status int) (view, error) {
	// First, because it may give f another id, and data gets a copy of f.
	data, err := d.formOf(r, &f, data)
	if err != nil {
		return view{}, err
	}
	data.mintForm, data.checks = f, c
	data.Profiles, data.AllKnown = d.profilesOf(r)
	if data.Pending, err = r.pendingKeys(); err != nil {
		return view{}, err
	}
	return view{Page: "mint", Title: "mint.title", Data: &data, Status: status}, nil
}

// formOf completes what every form that mints shows. It gets a new id where it has none that may be sent. That the
// person may not mint is only told: the button is off, and the apiserver decides whatever is sent.
func (d *Dashboard) formOf(r *request, f *mintForm, data mintData) (mintData, error) {
	if !isForm(f.ID, r.now) {
		data.Stale = r.http.Method == http.MethodPost
		id, err := newForm(d.config.Random, r.now)
		if err != nil {
			return data, err
		}
		f.ID = id
	}
	data.Today = r.now.UTC().Format(time.DateOnly)
	// Whether it is done, the apiserver decides.
	may, err := r.offers("create", "apikeys")
	if err == nil && !may {
		data.MayNot = d.pages.mayNot(session.Right{Verb: "create", Resource: "apikeys", Namespace: r.Organization().Name})
	}
	return data, err
}

// profilesOf are those that the index knows, if the person may see which there are. If they may not, or that can't be
// told, any name can be typed: whether there is such a Profile, the controller finds out.
func (d *Dashboard) profilesOf(r *request) (all []*caller.Profile, known bool) {
	// Never nil where they are known: to checks.spec, nil says that the person may not see which there are.
	all = append([]*caller.Profile{}, d.config.Directory.Profiles(r.Caller())...) // the index's own slice is shared
	may := r.can
	if len(all) == 0 { // there is nothing to be shown, and the answer is known from what else the form offers
		may = r.offers
	}
	if known, err := may("list", "profiles"); err != nil || !known {
		return nil, false
	}
	slices.SortFunc(all, func(a, b *caller.Profile) int { return strings.Compare(a.Name, b.Name) })
	return all, true
}

// mint makes the key that a form asks for, or shows it as YAML.
func (d *Dashboard) mint(r *request) (view, error) {
	c := d.checks()
	f := c.readMintForm(r.form)
	profiles, _ := d.profilesOf(r)
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Organization().Name, Name: f.Name},
		Spec:       c.spec(&f, profiles, r.now),
	}
	return d.make(r, &minting{form: f, checks: c, key: k, again: func(status int, said, yaml string) (view, error) {
		return d.mintView(r, f, c, mintData{Said: said, YAML: yaml}, status)
	}})
}

// make does what a form that mints asks for. A form whose id is no good comes first: whether it was sent before can't
// be told of it.
func (d *Dashboard) make(r *request, m *minting) (view, error) {
	switch {
	case !isForm(m.form.ID, r.now):
		return m.again(http.StatusConflict, "", "")
	// Before what is wrong with it: a form that has made its key is told so, also if its date is over by now.
	case slices.Contains(r.usedForms(), m.form.ID):
		return d.sentAgain(r, m)
	case len(m.checks.Wrong) > 0:
		return m.again(http.StatusUnprocessableEntity, "", "")
	case r.form.Get("do") == "yaml":
		return d.asYAML(r, m)
	}
	plaintext, err := d.create(r, m)
	switch {
	case apierrors.IsAlreadyExists(err):
		return d.sentAgain(r, m)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err):
		return m.refused(err)
	case err != nil:
		return view{}, err
	}
	// Only now: a form that was refused has made nothing, and may be sent again.
	r.useForm(m.form.ID)
	if m.form.Way == intoCluster {
		return m.goToSecret()
	}
	return d.shownOnce(r, m, plaintext)
}

// goToSecret is where whoever has minted into the cluster goes on.
func (m *minting) goToSecret() (view, error) {
	to := "/keys/" + m.key.Name + "/secret"
	if m.rotates != "" {
		to += "?rotates=" + url.QueryEscape(m.rotates)
	}
	return goTo(to)
}

// create makes the ApiKey. plaintext is that of the key if it is to be shown; it is in this process' memory for as long
// as the answer is being written.
//
// An error does not say that there is no key: the apiserver may have made it before the connection broke. One that
// was to be shown has its label then, and is listed for the person (pendingKeys).
func (d *Dashboard) create(r *request, m *minting) (plaintext string, err error) {
	k := m.key.DeepCopy()
	metav1.SetMetaDataAnnotation(&k.ObjectMeta, v1alpha1.AnnotationForm, m.form.ID)
	if m.form.Way == once {
		if plaintext, err = d.config.KeyFormat.Mint(d.config.Random, key.Environment(k.Spec.Environment)); err != nil {
			return "", err
		}
		// Hash and label are in the one request that creates it: whenever the process dies, either there is no key, or the
		// key says that nobody may have seen it.
		k.Spec.SecretHash = key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(k.Namespace)).String()
		metav1.SetMetaDataLabel(&k.ObjectMeta, v1alpha1.LabelShownTo, shownTo(r.person.Username))
	}
	made, err := r.person.Cluster.CreateKey(r.Context(), k, false)
	if err != nil {
		return "", err
	}
	// The page needs its UID: by that, the person says that they have the key.
	m.key = made
	return plaintext, nil
}

// refused shows the form again, with what the apiserver says of it. What is about no field stands above the form
// (mintData.Said).
func (m *minting) refused(err error) (view, error) {
	status := http.StatusUnprocessableEntity
	if apierrors.IsForbidden(err) {
		status = http.StatusForbidden
	}
	wrong := wrongFields(err, fieldsOfKeys)
	said := wrong[""]
	delete(wrong, "")
	maps.Copy(m.checks.Wrong, wrong)
	return m.again(status, said, "")
}

// sentAgain is for a form that was used, or whose name is taken: which of the two, the key itself says.
func (d *Dashboard) sentAgain(r *request, m *minting) (view, error) {
	k, err := r.person.Cluster.Key(r.Context(), r.Organization().Name, m.key.Name)
	switch {
	case err == nil && k.Annotations[v1alpha1.AnnotationForm] == m.form.ID:
		r.useForm(m.form.ID)
		if k.Spec.SecretHash == "" {
			return m.goToSecret() // nobody was shown anything, and nothing is lost
		}
		return shownAlready(k, m.rotates)
	case slices.Contains(r.usedForms(), m.form.ID):
		return shownAlready(nil, m.rotates)
	// Who may create keys and not get them is only told that the name is taken, as the apiserver has said.
	case err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
		return view{}, err
	case err == nil && m.rotates != "" && k.DeletionTimestamp == nil &&
		k.Labels[v1alpha1.LabelRotates] == m.key.Labels[v1alpha1.LabelRotates]:
		return told(rotationPath(m.rotates, r.Organization().ID), "notice.rotated") // somebody else was faster
	}
	m.checks.say("name", "mint.nameTaken")
	return m.again(http.StatusConflict, "", "")
}

// asYAML shows what would be created, for Git, after the apiserver has checked it. It has no key in it: one minted into
// the cluster needs none, and one that is to be shown comes with its YAML when it is.
func (d *Dashboard) asYAML(r *request, m *minting) (view, error) {
	_, err := r.person.Cluster.CreateKey(r.Context(), m.key, true)
	switch {
	case apierrors.IsAlreadyExists(err):
		m.checks.say("name", "mint.nameTaken")
		return m.again(http.StatusConflict, "", "")
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err):
		return m.refused(err)
	case err != nil:
		return view{}, err
	}
	text, err := manifestOf(m.key)
	if err != nil {
		return view{}, err
	}
	return m.again(http.StatusOK, "", text)
}

// shownTo stands for a person in a label, which takes no username. It is half of the hash, as a label's value has at
// most 63 characters, and all of it in hexadecimal digits would be 64.
func shownTo(username string) string {
	sum := sha256.Sum256([]byte(username))
	return hex.EncodeToString(sum[:16])
}
