// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// postData is what the page of one post shows.
type postData struct {
	store.Post
	Profile  string
	Maker    maker
	Attempts []attemptRow // the last one first
	Once     string       // id of the form
	// Cancelable and Retryable say what can be done to the post as it is. Denied is the right for it that the person
	// lacks; "": they have it.
	Cancelable, Retryable bool
	Denied                string
	// Refused is why what somebody wanted could not be done; nil: nobody did.
	Refused *problem.Problem
}

// attemptRow is an attempt, with what the platform said as text.
type attemptRow struct {
	store.Attempt
	Said string
}

// maker is who made a post. One of the three is set.
type maker struct {
	Key    string // name of the ApiKey; ""
	Person string // ""
	Other  string // what is left of a key that is gone: its UID
}

// post shows one post. That the person may see it is asked in postView, which is also the answer to forms.
func (d *Dashboard) post(r *request) (view, error) { return d.postView(r, nil, 0) }

// postView shows a post as it is now. With refused, it is the answer to a form that came too late, under a status
// that says so.
func (d *Dashboard) postView(r *request, refused *problem.Problem, status int) (view, error) {
	if err := r.may("get", "posts"); err != nil {
		return view{}, err
	}
	of := r.rows()
	p, err := of.Post(r.Context(), r.http.PathValue("id"))
	if err != nil {
		return view{}, err
	}
	attempts, err := of.Attempts(r.Context(), p.ID)
	if err != nil {
		return view{}, err
	}
	data := postData{
		Post: p, Refused: refused, Once: d.config.NewRequestID(),
		Profile: profileName(d.config.Directory.Profiles(r.Caller()), p.ProfileID),
		Maker:   d.makerOf(r, p.MadeBy),
	}
	slices.Reverse(attempts) // the last one is what people look for
	for _, a := range attempts {
		row := attemptRow{Attempt: a}
		if a.Failure != nil {
			row.Said = saidBy(a.Failure.PlatformResponse)
		}
		data.Attempts = append(data.Attempts, row)
	}
	// The rights are those that cancelPost and retryPost ask for.
	verb := ""
	switch p.Status {
	case store.Queued:
		data.Cancelable, verb = true, "delete"
	case store.Failed, store.Rejected, store.Canceled:
		if p.AccountID != "" { // without an account it can only fail
			data.Retryable, verb = true, "create"
		}
	}
	if verb != "" {
		switch allowed, err := r.offers(verb, "posts"); {
		case err != nil:
			return view{}, err
		case !allowed:
			data.Denied = verb + " posts.letmepost.dev"
		}
	}
	return view{Page: "post", Title: "post.title", Data: data, Status: status}, nil
}

// makerOf reads what a row has of who made it. See caller.Actor.Ref.
func (d *Dashboard) makerOf(r *request, ref string) maker {
	if name, ok := strings.CutPrefix(ref, "person:"); ok {
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		return maker{Person: name}
	}
	keys := d.config.Directory.Keys(r.Caller())
	if i := slices.IndexFunc(keys, func(k *authn.Key) bool { return string(k.ID()) == ref }); i >= 0 {
		return maker{Key: keys[i].Name()}
	}
	return maker{Other: ref}
}

// maxSaid is how much of what a platform said is shown. In bytes, after it is laid out.
const maxSaid = 8 << 10

// saidBy is what a platform said, to be read. What is no JSON is shown as it came.
func saidBy(response json.RawMessage) string {
	if len(response) == 0 {
		return ""
	}
	var b bytes.Buffer
	if json.Indent(&b, response, "", "  ") != nil {
		b.Reset()
		b.Write(response)
	}
	if said := strings.ToValidUTF8(b.String(), "�"); len(said) > maxSaid {
		return strings.ToValidUTF8(said[:maxSaid], "") + "\n…"
	}
	return strings.ToValidUTF8(b.String(), "�")
}

// cancelPost takes a post out of the queue. If its platform may have it already, that is found out first. The right
// is that to delete posts, as RBAC knows no verb for it.
func (d *Dashboard) cancelPost(r *request) (view, error) {
	return d.changePost(r, "delete", "notice.postCanceled", func(id string, op *write.Operation) error {
		_, err := d.config.Posting.Cancel(r.Context(), r.Caller(), op, id, done)
		return err
	})
}

// retryPost queues a post again, and whoever does it counts as its maker from then on: so it takes the right to
// create posts.
func (d *Dashboard) retryPost(r *request) (view, error) {
	return d.changePost(r, "create", "notice.postRetried", func(id string, op *write.Operation) error {
		at, err := d.timeIn(r.form.Get("at"))
		if err != nil {
			return err
		}
		_, err = d.config.Posting.Retry(r.Context(), r.Caller(), op, id, at, done)
		return err
	})
}

// timeIn is the time of a field for it, in UTC; nil: it is empty. Browsers add seconds where there are some. A field
// of the type datetime-local knows no zone: its label says which it is.
func (d *Dashboard) timeIn(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no time is what somebody wants
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			return &at, nil
		}
	}
	return nil, problem.NewInvalid("scheduledAt", d.pages.text("post.noTime"), d.pages.text("post.noTimeNext"))
}

// changePost does something to a post, if the person may, and shows it afterwards. What its state does not allow is
// told on its page, as it is by now: somebody else, or its time, was faster.
func (d *Dashboard) changePost(
	r *request, verb, notice string, do func(id string, op *write.Operation) error,
) (view, error) {
	if err := r.may(verb, "posts"); err != nil {
		return view{}, err
	}
	id := r.http.PathValue("id")
	err := r.change(func(op *write.Operation) error { return do(id, op) })
	var refused *problem.Problem
	switch {
	case errors.As(err, &refused) && refused.Kind == problem.Conflict:
		return d.postView(r, refused, http.StatusConflict)
	case err != nil:
		return view{}, err
	}
	return told("/posts/"+url.PathEscape(id), notice)
}
