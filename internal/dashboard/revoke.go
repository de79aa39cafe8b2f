// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// askAtOnce is how many keys of one request the apiserver is asked about at a time.
const askAtOnce = 8

// keyRef names a key and its UID, so that another one that was made under the name since is not meant.
type keyRef struct{ Name, ID string }

// refOf is how forms and addresses name a key; parseRefs reads it.
func refOf(name, id string) string { return name + "." + id }

// parseRefs reads what refOf has written: names have dots, and UIDs have none. What is none, or comes twice, is left
// out.
func parseRefs(texts []string) (refs []keyRef) {
	seen := map[keyRef]bool{}
	for _, text := range texts {
		i := strings.LastIndexByte(text, '.')
		if i < 0 || len(validation.IsDNS1123Subdomain(text[:i])) > 0 || len(validation.IsDNS1123Label(text[i+1:])) > 0 {
			continue
		}
		// No more than a page has boxes for, because each is a request to the apiserver.
		if ref := (keyRef{text[:i], text[i+1:]}); !seen[ref] && len(refs) < keysPage {
			seen[ref] = true
			refs = append(refs, ref)
		}
	}
	return refs
}

// refsQuery is how an address says which keys it is about, and of which organization they are: they are not there in
// another one, which would be told as though they were revoked.
func refsQuery(organization string, refs ...keyRef) string {
	v := url.Values{organizationField: {organization}}
	for _, ref := range refs {
		v.Add("key", refOf(ref.Name, ref.ID))
	}
	return v.Encode()
}

// reviewPath is where a key is revoked, with a look at it first.
func reviewPath(name, id, organization string) string {
	return "/keys/-/revoke?" + refsQuery(organization, keyRef{name, id})
}

// revokedPath is the page that shows what becomes of these revocations. It says all that is needed to find them, so
// that it can be left and come back to, and sent to somebody.
func (r *request) revokedPath(refs []keyRef) string {
	return "/keys/-/revoked?" + refsQuery(r.Organization().ID, refs...)
}

// target is a key that is to be revoked.
type target struct {
	Ref   keyRef
	Value string // as parseRefs reads it
	// Key is nil if it can't be revoked, or need not be: Trouble says why, and Said adds the words of whoever says so.
	Key     *v1alpha1.ApiKey
	Trouble string // key of a text
	Said    string
	Git     *gitOwner
	Hint    string
}

// revokeData is what is to be revoked, or could not be.
type revokeData struct {
	Targets []target
	Ready   int // how many can be revoked
	Cancel  bool
	// Failed tells that it was tried, and some could not be revoked; Revoked is where the others are.
	Failed  bool
	Revoked string
}

// reviewRevocation shows what is to be revoked, to be read first.
func (d *Dashboard) reviewRevocation(r *request) (view, error) {
	query := r.http.URL.Query()
	refs := parseRefs(query["key"])
	if len(refs) > 0 {
		if !r.isOpen(query) { // where they are not, and would be told to be gone
			return view{}, errOtherOrganization
		}
		// Once, and before the keys are looked at: whoever may not revoke any costs no request for each.
		if err := r.may("delete", "apikeys"); err != nil {
			return view{}, err
		}
	}
	data := revokeData{Targets: make([]target, len(refs))}
	// Each writes into its own place: so they need no lock, and stay in the order in which they were ticked.
	forEach(len(refs), func(i int) { data.Targets[i] = r.look(refs[i]) })
	for _, t := range data.Targets {
		if t.Key != nil {
			data.Ready++
		}
	}
	return view{Page: "revoke", Title: "revoke.title", Data: data}, nil
}

// forEach calls do for 0 to n-1, some at a time. do must not panic: request.run makes a page of a panic on the
// request's own goroutine only, and on any other one it ends the process.
func forEach(n int, do func(i int)) {
	var asking sync.WaitGroup
	places := make(chan struct{}, askAtOnce)
	for i := range n {
		// Before the goroutine begins, and not within it: so there are no more of them than may ask.
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			do(i)
		})
	}
	asking.Wait()
}

// look finds out whether a key is there to be revoked.
func (r *request) look(ref keyRef) target {
	t := target{Ref: ref, Value: refOf(ref.Name, ref.ID)}
	k, err := r.person.Cluster.Key(r.Context(), r.Organization().Name, ref.Name)
	switch {
	case apierrors.IsNotFound(err):
		t.Trouble = "revoke.gone"
	case err != nil:
		t.Trouble, t.Said = troubleOf(err)
	case string(k.UID) != ref.ID:
		t.Trouble = "revoke.replaced"
	case !k.DeletionTimestamp.IsZero():
		t.Trouble = "revoke.already"
	default:
		t.Key, t.Git = k, gitOwnerOf(&k.ObjectMeta)
		t.Hint = k.Status.Hint
	}
	return t
}

// troubleOf says why the apiserver has not done what it was asked for: the key of a text, and its own words. A
// conflict is the UID that does not fit: another key has the name.
func troubleOf(err error) (text, said string) {
	switch {
	case apierrors.IsForbidden(err):
		return "revoke.forbidden", wordsOf(err)
	case apierrors.IsConflict(err):
		return "revoke.replaced", ""
	case errors.As(err, new(apierrors.APIStatus)):
		return "revoke.refused", wordsOf(err)
	default:
		return "revoke.failed", ""
	}
}

// revoke revokes the keys that were read. What was done shows on a page of its own; what was not is told at once, and
// to load that again does no harm: a key is revoked once, and by its UID.
func (d *Dashboard) revoke(r *request) (view, error) {
	refs := parseRefs(r.form["key"])
	if len(refs) == 0 {
		return goTo("/keys/-/revoke")
	}
	cancel := r.form.Get("cancel") != ""
	if cancel {
		// Who may set the annotation, and not delete, would leave it behind. Nothing else is asked twice: the apiserver
		// decides.
		if err := r.may("delete", "apikeys"); err != nil {
			return view{}, err
		}
	}
	// All are tried, whatever becomes of the others: somebody revokes keys because they have leaked.
	failures := make([]error, len(refs))
	forEach(len(refs), func(i int) { failures[i] = r.revokeOne(refs[i], cancel) })

	data := revokeData{Failed: true, Cancel: cancel}
	status := 0
	var done []keyRef
	for i, err := range failures {
		if err == nil {
			done = append(done, refs[i])
			continue
		}
		if apierrors.IsUnauthorized(err) {
			return view{}, err // the credential has ended: somebody else may be sitting there
		}
		t := target{Ref: refs[i], Value: refOf(refs[i].Name, refs[i].ID)}
		t.Trouble, t.Said = troubleOf(err)
		data.Targets = append(data.Targets, t)
		// One status has to stand for all. The first one does; the page says of each key what became of it.
		if status == 0 {
			status = r.problem(err).Status
		}
	}
	if len(data.Targets) == 0 {
		if cancel {
			return told(r.revokedPath(done), "notice.revokedCanceling")
		}
		return told(r.revokedPath(done), "notice.revoked")
	}
	if len(done) > 0 {
		data.Revoked = Base + r.revokedPath(done)
	}
	return view{Page: "revoke", Title: "revoke.title", Data: data, Status: status}, nil
}

// revokeOne deletes one key, by the person's own right. One that is gone is revoked. What is to be canceled is said
// first: a key may be gone in some milliseconds.
func (r *request) revokeOne(ref keyRef, cancel bool) error {
	namespace, id := r.Organization().Name, types.UID(ref.ID)
	if cancel {
		err := r.person.Cluster.AnnotateKey(r.Context(), namespace, ref.Name, id, map[string]string{
			v1alpha1.AnnotationCancelScheduled: v1alpha1.CancelScheduled,
		})
		if err != nil {
			return ignoreNotFound(err)
		}
	}
	return ignoreNotFound(r.person.Cluster.DeleteKey(r.Context(), namespace, ref.Name, id))
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// revokeScreens are about the end of keys. "-" is no key's name.
func (d *Dashboard) revokeScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/keys/-/revoke", Show: d.reviewRevocation},
		{Method: http.MethodPost, Path: "/keys/-/revoke", OfPage: true, Show: d.revoke},
		{Method: http.MethodGet, Path: "/keys/-/revoked", Show: d.revocations},
	}
}
