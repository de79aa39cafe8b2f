// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/session"
)

// How much of what others have written a page shows.
const (
	maxPods        = 500 // that are looked at
	maxPodsShown   = 50
	maxEvents      = 500 // that are looked at
	maxEventsShown = 50
	maxManagers    = 20
	maxManifest    = 32 << 10 // in bytes
)

// keyData is one key. Times that are zero: it was never so, or of Used, that is not known here.
type keyData struct {
	Name, ID, Ref            string
	State                    keyState
	Environment, Hint        string
	Profile, ProfileID       string
	Scopes                   []string
	Claims                   map[string]v1alpha1.ClaimValue
	AllScopes, Brought       bool   // Brought: by its hash; the key was made elsewhere
	Secret                   string // "": nothing is minted for it
	Rate                     *v1alpha1.RateLimit
	Created, Minted, Expires time.Time
	Wanted                   time.Time // to expire; zero, or what the Profile has made of it is Expires
	Used                     time.Time
	Use                      useShown
	// Cancels: what it has scheduled is canceled when it is revoked. MayRevoke: the person may, or that is not known.
	Deleting, Cancels bool
	MayRevoke         bool
	Git               *gitOwner
	Conditions        []metav1.Condition
	Managers          []manager
	EarlierManagers   int // are not shown
	Events            happenings
	Pods              whereUsed
	Manifest          string
	ManifestCut       bool // there is more of it
}

// manager is who has written what of the object. Part is the key of a text: the object, or its status.
type manager struct {
	Name, Operation, Part string
	At                    time.Time
}

// happenings are the events of a key, the latest first. Forbidden and Failed say why there are none.
type happenings struct {
	Forbidden, Failed bool
	List              []happening
	Earlier           int  // are not shown
	Partly            bool // there are more than were looked at, of any time
}

type happening struct {
	At                          time.Time
	Warning                     bool
	Reason, Message, Controller string
}

// whereUsed is who has the key's Secret in hand. Forbidden and Failed say why nothing is known.
type whereUsed struct {
	Forbidden, Failed bool
	List              []podUse
	More              int  // are not shown
	Partly            bool // there are more Pods than were looked at
}

// key shows one key, as the apiserver has it and as this replica goes by it. It is asked for, and not taken from
// memory: what an ApiKey says of who has written it, and one that is not minted, no index has.
func (d *Dashboard) key(r *request) (view, error) {
	k, err := r.person.Cluster.Key(r.Context(), r.Organization().Name, r.http.PathValue("name"))
	if err != nil {
		return view{}, err
	}
	data := d.keyData(r, k)
	// A fourth request would make everybody wait who comes by a link. Who is not known not to have the right is told by
	// the page behind the button.
	allowed, known := r.person.Cluster.Offered(session.Right{
		Verb: "delete", Resource: "apikeys", Namespace: r.Organization().Name,
	})
	data.MayRevoke = allowed || !known
	var asking sync.WaitGroup // what follows is asked of the apiserver at once, and not one after the other
	// Each writes one field of its own, so that neither takes a lock, and fails by itself: the page is shown without
	// what can't be had.
	asking.Go(func() { data.Events = r.eventsOf(k) })
	asking.Go(func() { data.Pods = r.podsWith(k.SecretName()) })
	asking.Wait()
	return view{Page: "key", Title: "key.title", Data: data}, nil
}

// keyData reads an ApiKey, with what is known of it here. It asks the apiserver for nothing more.
func (d *Dashboard) keyData(r *request, k *v1alpha1.ApiKey) *keyData {
	data := &keyData{
		Name: k.Name, ID: string(k.UID), Ref: refOf(k.Name, string(k.UID)), State: d.stateOf(r, k),
		Environment: string(k.Spec.Environment), Hint: k.Status.Hint, Claims: k.Spec.Claims, ProfileID: k.Status.ProfileID,
		AllScopes: caller.ScopesOf(k.Spec.Scopes) == caller.AllScopes, Brought: k.Spec.SecretHash != "",
		Secret: k.SecretName(), Rate: k.Spec.RateLimit, Created: k.CreationTimestamp.Time,
		Minted: timeOf(k.Status.MintedAt), Expires: timeOf(k.Status.ExpiresAt), Wanted: timeOf(k.Spec.ExpiresAt),
		Deleting: !k.DeletionTimestamp.IsZero(), Cancels: v1alpha1.CancelsScheduled(k.Annotations),
		Git: gitOwnerOf(&k.ObjectMeta), Conditions: k.Status.Conditions,
	}
	data.Managers, data.EarlierManagers = managersOf(k)
	data.Manifest, data.ManifestCut = wholeOf(k)
	if k.Spec.ProfileRef != nil {
		data.Profile = k.Spec.ProfileRef.Name
	}
	for _, s := range k.Spec.Scopes {
		data.Scopes = append(data.Scopes, string(s))
	}
	// Until it is minted, nobody has compared what is wanted with the longest life that its Profile gives.
	if k.Status.MintedAt == nil {
		data.Expires = data.Wanted
	}
	d.addUseOf(r, k, data)
	return data
}

// stateOf says how an ApiKey stands. This replica's own idea comes first: it is what requests are decided by. Of a key
// that it does not know, the controller says why.
func (d *Dashboard) stateOf(r *request, k *v1alpha1.ApiKey) keyState {
	if !k.DeletionTimestamp.IsZero() {
		s := stateOf("")
		if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionRevoking); c != nil {
			s.Said = c.Message
		}
		return s
	}
	if known := d.knownKey(r, k); known != nil {
		return stateOf(known.State(r.now).Reason)
	}
	s := stateOf(v1alpha1.ReasonPending)
	if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		s.Said = c.Message
		if c.Status == metav1.ConditionFalse {
			s.Class = "bad"
		}
	}
	return s
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// managersOf are who has written the object, the first one first. If there are very many, the earliest are left out.
func managersOf(k *v1alpha1.ApiKey) (all []manager, earlier int) {
	for _, m := range k.ManagedFields {
		part := "key.partObject"
		if m.Subresource != "" {
			part = "key.partStatus"
		}
		all = append(all, manager{m.Manager, string(m.Operation), part, timeOf(m.Time)})
	}
	slices.SortStableFunc(all, func(a, b manager) int { return a.At.Compare(b.At) })
	earlier = max(0, len(all)-maxManagers)
	return all[earlier:], earlier
}

// wholeOf is the object as kubectl shows it, without what stands elsewhere on the page, or is only for programs. cut
// tells that only its first lines are returned, each of them whole: half a value would pass for another one.
func wholeOf(k *v1alpha1.ApiKey) (text string, cut bool) {
	k = k.DeepCopy()
	// The client takes it off whatever it decodes, and without it this is no manifest.
	k.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ApiKey"}
	k.ManagedFields = nil
	// kubectl apply has put all of the object into it once more.
	delete(k.Annotations, corev1.LastAppliedConfigAnnotation)
	whole, err := yaml.Marshal(k)
	if err != nil {
		return "", false
	}
	if len(whole) <= maxManifest {
		return string(whole), false
	}
	return string(whole[:bytes.LastIndexByte(whole[:maxManifest], '\n')+1]), true
}

// eventsOf are the latest of what the cluster says has happened to an ApiKey. Many are looked at: which of them are the
// latest, only their times say (session.Cluster.Events).
func (r *request) eventsOf(k *v1alpha1.ApiKey) (h happenings) {
	events, err := r.person.Cluster.Events(r.Context(), k.Namespace, k.UID, maxEvents+1) // one more tells that there are
	if err != nil {
		h.Forbidden = apierrors.IsForbidden(err)
		h.Failed = !h.Forbidden
		return h
	}
	h.Partly = len(events) > maxEvents
	for i := range events[:min(len(events), maxEvents)] {
		e := &events[i]
		// Which of its times an event has depends on the API group by which it was written; one that is repeated has its last
		// time in the series.
		at := cmp.Or(e.EventTime.Time, e.LastTimestamp.Time, e.CreationTimestamp.Time)
		if e.Series != nil {
			at = e.Series.LastObservedTime.Time
		}
		by := cmp.Or(e.ReportingController, e.Source.Component)
		h.List = append(h.List, happening{at, e.Type == corev1.EventTypeWarning, e.Reason, e.Message, by})
	}
	slices.SortStableFunc(h.List, func(a, b happening) int { return b.At.Compare(a.At) })
	h.Earlier = max(0, len(h.List)-maxEventsShown)
	h.List = h.List[:len(h.List)-h.Earlier]
	return h
}

// podsWith are the Pods that have a Secret in hand, as far as the person may see Pods. They are looked through here:
// the apiserver can't pick Pods by the Secrets that they name.
func (r *request) podsWith(secret string) (w whereUsed) {
	if secret == "" {
		return w
	}
	pods, err := r.person.Cluster.Pods(r.Context(), r.Organization().Name, maxPods+1) // one more tells that there are
	if err != nil {
		w.Forbidden = apierrors.IsForbidden(err)
		w.Failed = !w.Forbidden
		return w
	}
	w.Partly = len(pods) > maxPods
	for i := range pods[:min(len(pods), maxPods)] {
		reads := usesOf(&pods[i], secret)
		switch {
		case len(reads) == 0:
		case len(w.List) == maxPodsShown:
			w.More++
		default:
			p := &pods[i]
			w.List = append(w.List, podUse{p.Name, string(p.Status.Phase), ownerOf(p), reads[:min(len(reads), maxPodsShown)]})
		}
	}
	return w
}
