// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
)

// state is a thing in a state that could make a difference to whoever touches it.
type state struct{ what, id string }

// states are things of an estate, of each kind in every state that there is for long, and what else its things are
// called.
func (e *estate) states(t *testing.T) map[kind][]state {
	t.Helper()
	f := e.api
	free, busy, gone := f.connect(t, e.key), f.connect(t, e.key), f.connect(t, e.key)
	orphan := f.schedule(t, e.key, gone, "")
	f.remove(t, e.key, "/v1/accounts/"+gone)
	unused, needed, shown, removed := f.upload(t, e.key), f.upload(t, e.key), f.upload(t, e.key), f.upload(t, e.key)
	f.remove(t, e.key, "/v1/media/"+removed)
	with := func(id string) string { return `,"media":[{"kind":"image","mediaId":"` + id + `"}]` }
	canceled := f.schedule(t, e.key, busy, "")
	f.remove(t, e.key, "/v1/posts/"+canceled)
	at := func(text, more string) batch {
		return ok[batch](t, f, publication(e.key, targetOf(busy, ""), `,"text":"`+text+`"`+more))
	}
	published := at("hello", with(shown))
	all := map[kind][]state{
		aAccount: {{"an account", free}, {"one with posts", busy}, {"one that was disconnected", gone}},
		aMedium: {
			{"a file", unused},
			{"one that a queued post needs", needed},
			{"one that was published", shown},
			{"one that was deleted", removed},
		},
		aPost: {
			{"a queued post", f.schedule(t, e.key, busy, with(needed))},
			{"a canceled one", canceled},
			{"one without an account", orphan},
			{"a published one", published.Results[0].PostID},
			{"a failed one", at("sandbox:unavailable", "").Results[0].PostID},
			{"a rejected one", at("sandbox:rejected", "").Results[0].PostID},
			{"a batch", published.ID},
		},
	}
	if id, ok := e.things[aProfile]; ok {
		all[aProfile] = []state{{"a profile", id}, {"its slug", e.slug}}
	}
	return all
}

func (f *fixture) remove(t *testing.T, key, target string) {
	t.Helper()
	checkStatus(t, target, f.send(sent{method: http.MethodDelete, target: target, key: key}), http.StatusOK)
}

// twist is a way to send a request that names something, and what is answered to it. make makes the plain request.
type twist struct {
	name   string
	spends bool // what it names may be gone or changed afterwards
	send   func(o *onlooker, n naming, make func(id string) sent, id string) []response
}

// onlooker is somebody who sends requests to find out what there is that they do not reach.
type onlooker struct {
	t *testing.T
	keyholder
	narrow string  // a key of the same profile that may do nothing but to read posts
	other  *estate // whose things they are after, and who may have used an Idempotency-Key before
}

// see sends requests one after another.
func (o *onlooker) see(requests ...sent) (all []response) {
	o.t.Helper()
	for _, r := range requests {
		response := seen(o.t, o.api.send(r))
		response.Body = anyRequestID.ReplaceAllString(response.Body, `"requestId":"ID"`) // an answer that is given again has the first's
		all = append(all, response)
	}
	return all
}

var anyRequestID = regexp.MustCompile(`"requestId":"[^"]*"`)

// Each request under an Idempotency-Key gets one of its own, so that nothing is answered for another's sake.
var onceOnly atomic.Int64

func fresh() string { return fmt.Sprint("fresh-", onceOnly.Add(1)) }

func once(r sent, key string) sent { return r.with("Idempotency-Key", key) }

// twists are what somebody would try. Each is sent for what never was and for what is another's, and the answers are
// compared to the byte.
var twists = []twist{
	{"plainly, and again", false, func(o *onlooker, _ naming, make func(string) sent, id string) []response {
		return o.see(make(id), make(id))
	}},
	{"with an Idempotency-Key, and again", false, func(o *onlooker, _ naming, make func(string) sent, id string) []response {
		key := fresh()
		return o.see(once(make(id), key), once(make(id), key))
	}},
	{"with an Idempotency-Key of somebody who reaches it", true, func(o *onlooker, n naming, make func(string) sent, id string) []response {
		key, theirs := fresh(), make(id)
		theirs.key = o.other.key
		if n.route.Changes() { // and has been answered
			o.api.send(once(theirs, key))
		}
		return o.see(once(make(id), key), once(make(id), key))
	}},
	{"under the Idempotency-Key of a request for something else", false, func(o *onlooker, n naming, make func(string) sent, id string) []response {
		key := fresh()
		return o.see(once(make("x"), key), once(make(id), key))
	}},
	{"with a key that may not", false, func(o *onlooker, _ naming, make func(string) sent, id string) []response {
		r := make(id)
		r.key = o.narrow
		return o.see(r)
	}},
	{"with parameters", false, func(o *onlooker, _ naming, make func(string) sent, id string) (all []response) {
		for _, query := range []string{"nope=1", "limit=0", "profileId=x", "cursor=x"} {
			r := make(id)
			r.target += map[bool]string{true: "&", false: "?"}[strings.Contains(r.target, "?")] + query
			all = append(all, o.see(r)...)
		}
		return all
	}},
	{"with headers", false, func(o *onlooker, _ naming, make func(string) sent, id string) (all []response) {
		for _, headers := range []map[string]string{
			{"Range": "bytes=0-0", "If-None-Match": "*", "If-Match": `"x"`, "If-Modified-Since": "Mon, 02 Jan 2006 15:04:05 GMT"},
			{"Accept": "text/html", "Accept-Encoding": "gzip"},
			{"Content-Type": "text/plain"},
			{"Content-Encoding": "gzip"},
		} {
			r := make(id)
			for name, value := range headers {
				r = r.with(name, value)
			}
			all = append(all, o.see(r)...)
		}
		return all
	}},
	{"with a body that is wrong", false, func(o *onlooker, n naming, make func(string) sent, id string) (all []response) {
		r := make(id)
		if n.where == "path" {
			for _, body := range []string{`{`, `{}`, `{"nope":1}`, `{"text":1}`, `{"text":"","media":[]}`} {
				r.body = body
				all = append(all, o.see(r)...)
			}
			return all
		}
		for _, more := range []string{`,"nope":1}`, `,"text":1}`, `,"text":"` + strings.Repeat("x", 70_000) + `"}`, `,"targets":[]}`, `,`, ``} {
			r.body = strings.TrimSuffix(make(id).body, "}") + more
			all = append(all, o.see(r)...)
		}
		return all
	}},
	{"by all methods", false, func(o *onlooker, n naming, make func(string) sent, id string) (all []response) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if r := make(id); n.where == "path" || method == n.route.Method {
				r.method = method
				all = append(all, o.see(r)...)
			}
		}
		return all
	}},
	{"spelled otherwise", false, func(o *onlooker, n naming, make func(string) sent, id string) []response {
		all := o.see(make(strings.ToUpper(id)), make(id+"x"), make(id[:len(id)-1]))
		if n.where == "path" {
			return append(all, o.see(make(fmt.Sprintf("%%%02x", id[0])+id[1:]), make(id+"/"), make("%20"+id), make(id+"%00"), make("./"+id))...)
		}
		return append(all, o.see(make(" "+id), make(id+"\x00"), make(id+","+id))...)
	}},
}

// TestNoOracle: however somebody with a pinned key asks, what is another's is answered as what never was: the status,
// the body and the headers, but for the request's id. The table is every way of every route to name a thing (namings),
// by everything of others in all its states, by all twists. It is on one engine, for the time that it takes: statements
// have one text for both, and TestScopingTable is on both.
func TestNoOracle(t *testing.T) {
	holder := crowd(t)[0]
	o := &onlooker{t: t, keyholder: holder}
	o.narrow = holder.api.newKey(t, authntest.PinnedTo(holder.own.profile), authntest.Scoped(v1alpha1.ScopePostsRead))
	foreign := slices.DeleteFunc(slices.Clone(holder.foreign), func(e *estate) bool { return e.api != holder.api })
	theirs := map[*estate]map[kind][]state{}
	for _, e := range foreign {
		theirs[e] = e.states(t)
	}
	compared, telling := 0, 0
	for _, n := range namings(t) {
		if n.kind == aCursor || n.kind == aKey {
			continue // TestCursorsOfOthers, TestKeysCannotManageKeys
		}
		make := func(id string) sent { return o.naming(t, n, id) }
		for _, twist := range twists {
			o.other = foreign[0]
			never := twist.send(o, n, make, neverWas[n.kind])
			if own := twist.send(o, n, make, holder.own.things[n.kind]); !cmp.Equal(never, own) {
				telling++
			}
			if n.route.Changes() {
				holder.own.renew(t)
			}
			for _, e := range foreign {
				o.other = e
				for _, s := range theirs[e][n.kind] {
					compared++
					if diff := cmp.Diff(never, twist.send(o, n, make, s.id)); diff != "" {
						t.Errorf("%v, %s: %s of %s differs from what never was:\n%s", n, twist.name, s.what, e.name, diff)
					}
				}
				if twist.spends && n.route.Changes() {
					theirs[e] = e.states(t)
				}
			}
		}
	}
	// Of what is one's own, most twists tell.
	if compared < 2000 || telling < 150 {
		t.Errorf("%d comparisons, and %d of the own things differ: the table has holes", compared, telling)
	}
}

// What somebody has already, others may have as well: that it is the same account, file or Idempotency-Key, nobody
// learns who can't see both.
func TestWhatOthersHaveTooTellsNothing(t *testing.T) { onBoth(t, whatOthersHaveTooTellsNothing) }

func whatOthersHaveTooTellsNothing(t *testing.T) {
	t.Helper()
	holder := crowd(t)[0]
	mine := holder.own.things[aAccount]
	made := regexp.MustCompile(`(med_\w{22}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(did:)?sandbox[_:]\w+|\b[0-9a-f]{64}\b|(old|new)-\d{6}\.test)`)
	look := func(r sent) response {
		t.Helper()
		answer := seen(t, holder.api.send(r))
		answer.Body = made.ReplaceAllString(anyRequestID.ReplaceAllString(answer.Body, `"requestId":"ID"`), "SOME")
		if answer.Status/100 != 2 {
			t.Errorf("%s %s: %d %s", r.method, r.target, answer.Status, answer.Body)
		}
		return answer
	}
	connecting := func(key, platform, identifier string) sent {
		in := map[string]string{"identifier": identifier}
		if platform == "bluesky" {
			in["appPassword"] = "hunter2"
		}
		return sent{method: http.MethodPost, target: "/v1/accounts/connect/" + platform + "/complete", key: key, body: jsonOf(in)}
	}
	for i, e := range holder.foreign {
		old, key := fmt.Sprintf("old-%06d.test", i), fresh()
		unheard := func() string { return fmt.Sprintf("new-%06d.test", identifiers.Add(1)) }
		for _, platform := range []string{"bluesky", "linkedin"} {
			ok[account](t, e.api, connecting(e.key, platform, old))
			if diff := cmp.Diff(look(connecting(holder.key, platform, unheard())), look(connecting(holder.key, platform, old))); diff != "" {
				t.Errorf("an account of %s that %s has connected (-nobody +they):\n%s", platform, e.name, diff)
			}
		}
		ok[medium](t, e.api, uploadOf(e.key, picture(t, 40+i)))
		if diff := cmp.Diff(look(uploadOf(holder.key, picture(t, 60+i))), look(uploadOf(holder.key, picture(t, 40+i)))); diff != "" {
			t.Errorf("a file that %s has uploaded (-nobody +they):\n%s", e.name, diff)
		}
		for _, request := range []func(key, account string) sent{
			func(key, account string) sent { return publication(key, targetOf(account, ""), `,"text":"hello"`) },
			func(key, _ string) sent { return uploadOf(key, picture(t, 3)) },
			func(key, _ string) sent { return connecting(key, "bluesky", unheard()) },
		} {
			ok[any](t, e.api, once(request(e.key, e.things[aAccount]), key))
			want := look(once(request(holder.key, mine), fresh()))
			if diff := cmp.Diff(want, look(once(request(holder.key, mine), key))); diff != "" {
				t.Errorf("under an Idempotency-Key of %s (-of nobody's):\n%s", e.name, diff)
			}
		}
	}
}
