// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/use"
)

// A rotation is three steps: mint a key that may do what the old one may, have its users take the new one, and revoke
// the old one. Nothing of it is in a session: the new key says which one it takes the place of (v1alpha1.LabelRotates),
// so that the page stands where the keys do, on whatever replica and for whoever looks.

// rotateScreens lead through it.
func (d *Dashboard) rotateScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/keys/{name}/rotate", Show: d.rotation},
		{Method: http.MethodPost, Path: "/keys/{name}/rotate", OfPage: true, Show: d.mintSuccessor},
	}
}

// rotationPath is the page of a key's rotation. It says of which organization that is: whoever comes back to it may
// have opened another one since, where there is no such key, which would be told as the rotation's end.
func rotationPath(name, organization string) string {
	return "/keys/" + url.PathEscape(name) + "/rotate?" + url.Values{organizationField: {organization}}.Encode()
}

// rotateData is how a rotation stands. Of its form, what the old key says is not asked.
type rotateData struct {
	mintData
	Gone       bool // there is no such key: it was revoked, or never there
	Old        *v1alpha1.ApiKey
	Deleting   bool // the old key is being revoked
	Successors []successor

	Watched   bool // the use of the old key is known here
	Elsewhere bool // it is known at the other environment's dashboard
	// Of the old key; zero unless Watched.
	use.Series
	Silent string // for how long it was not used; "": never used
}

// Step is the one that is to be done: 1, 2, or 3 once the old key is being revoked.
func (d *rotateData) Step() int {
	switch {
	case d.Deleting:
		return 3
	case len(d.Successors) > 0:
		return 2
	}
	return 1
}

// successor is a key that takes the place of the old one.
type successor struct {
	Name      string
	CreatedAt time.Time
	Served    bool
	Why       string // it is not
	Unsure    bool   // whoever it was shown to has not said that they have it
	UsedAt    time.Time
}

// maxSuccessors is how many are shown. There is one, unless two people were at it.
const maxSuccessors = 10

// rotation shows how the rotation of a key stands.
func (d *Dashboard) rotation(r *request) (view, error) {
	query := r.http.URL.Query()
	said := query.Has(organizationField)
	if said && !r.isOpen(query) {
		return view{}, errOtherOrganization
	}
	k, err := r.person.Cluster.Key(r.Context(), r.Organization().Name, r.http.PathValue("name"))
	if said && apierrors.IsNotFound(err) {
		data := &rotateData{Gone: true}
		data.Name = r.http.PathValue("name")
		return view{Page: "rotate", Title: "rotate.title", Data: data, Status: http.StatusNotFound}, nil
	}
	if err != nil {
		return view{}, err // of an address without an organization, the key may be in another one
	}
	if !said { // the page loads itself again, and does not notice when another one is opened
		return goTo(rotationPath(k.Name, r.Organization().ID))
	}
	// The old key's own ways are what the form begins with: whoever wants others chooses them.
	f := mintForm{Name: successorName(k.Name), Expiry: never, Way: intoCluster}
	if k.Spec.SecretHash != "" {
		f.Way = once // the way that the old one came
	}
	if lifetime(k) > 0 {
		f.Expiry = same
	}
	return d.rotateView(r, k, f, d.checks(), mintData{}, 0)
}

// rotateView finds the keys that take the place of old, and shows the step that is due: f is for the first one alone.
// Which step that is follows from the keys each time, so that nothing has to be kept of a rotation.
func (d *Dashboard) rotateView(
	r *request, old *v1alpha1.ApiKey, f mintForm, c *checks, form mintData, status int,
) (view, error) {
	data := &rotateData{Old: old, Deleting: old.DeletionTimestamp != nil}
	// By the UID: what takes the place of an earlier key of this name is nothing to this one.
	keys, err := r.person.Cluster.KeysLabeled(
		r.Context(), old.Namespace, v1alpha1.LabelRotates, string(old.UID), maxSuccessors,
	)
	// Who may not list keys may still rotate one, and is shown the first step.
	if err != nil && !apierrors.IsForbidden(err) {
		return view{}, err
	}
	for i := range keys {
		if keys[i].DeletionTimestamp == nil { // otherwise somebody has thought better of it, and step 1 is to be done again
			data.Successors = append(data.Successors, successorOf(&keys[i]))
		}
	}
	if data.Step() == 1 {
		if form, err = d.formOf(r, &f, form); err != nil {
			return view{}, err
		}
		form.Same = int(math.Round(lifetime(old).Hours() / 24))
	} else {
		d.watch(r, data)
	}
	form.mintForm, form.checks = f, c
	data.mintData = form
	return view{Page: "rotate", Title: "rotate.title", Data: data, Status: status}, nil
}

// successorOf reads how far a new key is. Whether it is served, the controller's condition says and not this
// replica's memory, in which a new key may be missing for a moment.
func successorOf(k *v1alpha1.ApiKey) successor {
	s := successor{Name: k.Name, CreatedAt: k.CreationTimestamp.Time, Unsure: k.Labels[v1alpha1.LabelShownTo] != ""}
	if ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		s.Served, s.Why = ready.Status == metav1.ConditionTrue, ready.Message
	}
	return s
}

// watch says when the old key was used last, and where, and its successors. Without an answer it says that it is not
// known: nobody is to revoke a key for a database that is away. Of the other environment's keys, only its own
// dashboard knows.
func (d *Dashboard) watch(r *request, data *rotateData) {
	if string(data.Old.Spec.Environment) != string(d.config.Environment) {
		data.Elsewhere = true
		return
	}
	if d.config.Use == nil {
		return
	}
	series, err := d.config.Use.Of(r.Context(), r.Caller(), string(data.Old.UID))
	if err != nil {
		d.config.Logger.Warn("Can't tell what a key was used for", "requestId", r.id, "error", err)
		return
	}
	data.Watched, data.Series = true, series
	if !series.LastUsedAt.IsZero() {
		data.Silent = d.silence(r.now.Sub(series.LastUsedAt))
	}
	ids := map[string]int{}
	for _, k := range d.config.Directory.Keys(r.Caller()) {
		if i := slices.IndexFunc(data.Successors, func(s successor) bool { return s.Name == k.Name() }); i >= 0 {
			ids[string(k.ID())] = i
		}
	}
	// What fails here is only left out: whether the old key may go is decided by its own use, which is known by now.
	for id, i := range ids {
		if used, err := d.config.Use.LastUsed(r.Context(), r.Caller(), id); err == nil {
			data.Successors[i].UsedAt = used[id]
		}
	}
}

// silence is how long nothing was heard, in words. It is rounded down, so that nobody takes a key for silent for
// longer than it is. Below two minutes it says that the key is in use: what is known is to the minute, and what other
// replicas see comes within one more.
func (d *Dashboard) silence(since time.Duration) string {
	switch minutes := int(since / time.Minute); {
	case minutes < 2:
		return d.pages.text("rotate.silentNot")
	case minutes < 120:
		return d.pages.text("rotate.silentMinutes", minutes)
	case minutes < 48*60:
		return d.pages.text("rotate.silentHours", minutes/60)
	default:
		return d.pages.text("rotate.silentDays", minutes/60/24)
	}
}

// mintSuccessor makes a key that may do what the old one may, whatever else a form says.
func (d *Dashboard) mintSuccessor(r *request) (view, error) {
	old, err := r.person.Cluster.Key(r.Context(), r.Organization().Name, r.http.PathValue("name"))
	switch {
	case err != nil:
		return view{}, err
	case r.form.Get("uid") != string(old.UID): // it may do more than the one that the person has seen
		return view{}, errMadeAgain
	}
	c := d.checks()
	f := c.readMintForm(r.form)
	// checks.spec says this of a new key. It is not called here, because it reads what a rotation takes from the old key.
	if f.Name == "" {
		c.say("name", "mint.nameWrong")
	}
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: old.Namespace, Name: f.Name, Labels: map[string]string{v1alpha1.LabelRotates: string(old.UID)},
		},
		// Of the old key as it is now, and nothing of the form: that could ask for anything. A field that ApiKeySpec gains
		// has to be added, or a key loses it when it is rotated.
		Spec: v1alpha1.ApiKeySpec{
			Environment: old.Spec.Environment, ProfileRef: old.Spec.ProfileRef, Scopes: old.Spec.Scopes,
			Claims: old.Spec.Claims, RateLimit: old.Spec.RateLimit, SecretName: c.secretName(&f),
		},
	}
	// As long again, from now on: the day at which the old one ends may be tomorrow.
	if f.Expiry == same && lifetime(old) > 0 {
		k.Spec.ExpiresAt = &metav1.Time{Time: r.now.UTC().Truncate(time.Second).Add(lifetime(old))}
	} else {
		k.Spec.ExpiresAt = c.expiresAt(&f, r.now)
	}
	if f.Way == intoCluster { // otherwise there is no Secret, and the schema refuses what one would look like
		k.Spec.SecretTemplate = old.Spec.SecretTemplate
	}
	return d.make(r, &minting{
		form: f, checks: c, key: k, rotates: old.Name,
		again: func(status int, said, yaml string) (view, error) {
			return d.rotateView(r, old, f, c, mintData{Said: said, YAML: yaml}, status)
		},
	})
}

// lifetime is how long a key was asked to last; 0: for ever. A Profile may have made it less; it would do so of the
// new key, too.
func lifetime(k *v1alpha1.ApiKey) time.Duration {
	if k.Spec.ExpiresAt == nil {
		return 0
	}
	return max(0, k.Spec.ExpiresAt.Sub(k.CreationTimestamp.Time))
}

// successorName is shop-2 for shop, and shop-3 for that.
func successorName(name string) string {
	base, n := name, 2
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		if last, err := strconv.Atoi(name[i+1:]); err == nil && last > 1 && last < math.MaxInt32 && name[i+1] != '+' {
			base, n = name[:i], last+1
		}
	}
	suffix := "-" + strconv.Itoa(n)
	// A name that was cut may end with a dot, behind which no part of a name may begin with the suffix's dash.
	base = strings.TrimRight(base[:min(len(base), longest["name"]-len(suffix))], "-.")
	return base + suffix
}
