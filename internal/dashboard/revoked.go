// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// revokedData is what has become of some revocations.
type revokedData struct {
	Rows      []barrier
	Confirmed int
	Waiting   bool   // the page is to be loaded again
	Path      string // by which it is, where no script runs
}

// barrier is how far one revocation is. Neither Confirmed nor Waiting: it was not revoked, or nobody can know whether
// every replica refuses it. Link is "" for a key that is gone.
type barrier struct {
	Name, Link string
	Confirmed  bool
	Waiting    bool
	Class      string // of the badge
	Text       string // key of a text
	// Counted tells that the controller has said whom it waits for.
	Counted           bool
	Refused, Replicas int
	Awaited           []string // names of replicas; the last one may say how many more there are
	Said              string   // whatever else it has said
}

// revocations shows how far they are, read anew with the person's credential each time.
func (d *Dashboard) revocations(r *request) (view, error) {
	query := r.http.URL.Query()
	refs := parseRefs(query["key"])
	switch {
	case len(refs) == 0:
		return goTo("/keys")
	case !r.isOpen(query): // where they are not, which would be told as confirmed
		return view{}, errOtherOrganization
	}
	data := revokedData{Rows: make([]barrier, len(refs)), Path: r.revokedPath(refs)}
	failures := make([]error, len(refs))
	// Some side by side: whoever waits for the page asks for as many as a page of keys has boxes.
	forEach(len(refs), func(i int) { data.Rows[i], failures[i] = r.barrierOf(refs[i]) })
	for i, err := range failures {
		if err != nil {
			return view{}, err
		}
		data.Waiting = data.Waiting || data.Rows[i].Waiting
		if data.Rows[i].Confirmed {
			data.Confirmed++
		}
	}
	return view{Page: "revoked", Title: "revoked.title", Data: data}, nil
}

// barrierOf reads how far the revocation of a key is. That its ApiKey is gone is the confirmation: the controller
// lets it go when every replica refuses the key. So is that another one has its name: names are free again only when
// their object is gone.
func (r *request) barrierOf(ref keyRef) (barrier, error) {
	b := barrier{Name: ref.Name}
	k, err := r.person.Cluster.Key(r.Context(), r.Organization().Name, ref.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return b, err
	}
	if err != nil || string(k.UID) != ref.ID {
		b.Confirmed, b.Class, b.Text = true, "good", "revoked.confirmed"
		return b, nil
	}
	b.Link = Base + "/keys/" + ref.Name
	if k.DeletionTimestamp.IsZero() {
		b.Class, b.Text = "bad", "revoked.not"
		return b, nil
	}
	b.held(k)
	return b, nil
}

// held says why the ApiKey of a deleted key is still there. FinalizerRevocation is the controller's to take off, once
// every replica refuses the key. Where somebody else has done it, the controller says Unconfirmed, and what it says
// is believed.
func (b *barrier) held(k *v1alpha1.ApiKey) {
	if !slices.Contains(k.Finalizers, v1alpha1.FinalizerRevocation) { // somebody else's holds it
		b.Confirmed, b.Class, b.Text = true, "good", "revoked.confirmed"
		ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			return
		}
		// That the finalizer is gone confirms nothing if somebody has taken it off.
		if b.Said = ready.Message; ready.Reason == v1alpha1.ReasonUnconfirmed {
			b.Confirmed, b.Class, b.Text = false, "bad", "revoked.unconfirmed"
		}
		return
	}
	b.Waiting, b.Class, b.Text = true, "warn", "revoked.asked"
	c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionRevoking)
	if c == nil {
		return
	}
	b.Text = "revoked.waiting"
	var names string
	if b.Refused, b.Replicas, names, b.Counted = revocation.Progress(c.Message); !b.Counted {
		b.Said = c.Message
		return
	}
	b.Awaited = strings.Split(names, ", ")
}
