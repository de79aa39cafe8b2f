// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// postingClient waits for answers of slow platforms, too.
var postingClient = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// call is a request of the publishing API.
type call struct {
	method, path   string
	idempotencyKey string
	contentType    string
	body           []byte
}

// jsonCall is a call with a body, or without one: nil.
func jsonCall(method, path string, body any) call {
	c := call{method: method, path: path}
	if body != nil {
		content, err := json.Marshal(body)
		if err != nil {
			panic(err) // the specs' own types
		}
		c.contentType, c.body = "application/json", content
	}
	return c
}

// once gives a call an Idempotency-Key.
func (c call) once(key string) call {
	c.idempotencyKey = key
	return c
}

// answer is what came back of a call. Its zero value is none.
type answer struct {
	status   int
	body     []byte
	replayed bool
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func (a answer) ok() bool { return a.status/100 == 2 }

// into reads the body of a success.
func (a answer) into(v any) error {
	if !a.ok() {
		return fmt.Errorf("the answer is no success: %s", a)
	}
	return json.Unmarshal(a.body, v)
}

// is tells whether an answer is an error of a code and a rule; "" stands for no rule.
func (a answer) is(status int, code, rule string) bool {
	var envelope struct {
		Error struct{ Code, Rule string }
	}
	return a.status == status && json.Unmarshal(a.body, &envelope) == nil &&
		envelope.Error.Code == code && envelope.Error.Rule == rule
}

// late tells whether a call was refused because a busy machine took so long to send it that the time which it schedules
// something for was about to come.
func (a answer) late(at time.Time) bool {
	return time.Until(at) < time.Second && a.is(http.StatusBadRequest, "validation_failed", "scheduledAt.future")
}

func (a answer) running() bool {
	return a.is(http.StatusConflict, "idempotency_conflict", "idempotency_key.in_progress")
}

func (a answer) unavailable() bool { return a.is(http.StatusServiceUnavailable, "unavailable", "") }

func (a answer) unauthenticated() bool { return a.is(http.StatusUnauthorized, "unauthenticated", "") }

// send makes a call with a key. The error says that there was no answer, or not all of it.
func (c call) send(ctx context.Context, url, key string) (answer, error) {
	return c.stream(ctx, url, key, bytes.NewReader(c.body))
}

// stream is send with a body that is still to come.
func (c call) stream(ctx context.Context, url, key string, body io.Reader) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, c.method, url+c.path, body)
	if err != nil {
		return answer{}, err
	}
	request.GetBody = nil // nothing is sent twice but by us
	request.Header.Set("Authorization", "Bearer "+key)
	if c.contentType != "" {
		request.Header.Set("Content-Type", c.contentType)
	}
	if c.idempotencyKey != "" {
		// The transport sends a request with this header again by itself, if it is there under this very name.
		request.Header["idempotency-key"] = []string{c.idempotencyKey}
	}
	response, err := postingClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{response.StatusCode, content, response.Header.Get("Idempotency-Replayed") == "true"}, nil
}

// The API's types, as far as the specs look at them.
type (
	batch struct {
		ID      string
		Status  string
		Results []struct {
			AccountID, PostID, Status, URI string
			Error                          *failure
		}
	}
	failure  struct{ Code, Rule string }
	postView struct {
		ID, AccountID, Status, Text, PlatformURI string
		ScheduledAt                              *time.Time
		Error                                    *failure
		Attempts                                 []attemptView
	}
	attemptView struct {
		FinishedAt           *time.Time
		Succeeded            bool
		ErrorCode, ErrorRule string
	}
	medium struct {
		ID, SHA256 string
		SizeBytes  int64
	}
)

// The statuses of posts.
const (
	queued     = "queued"
	publishing = "publishing"
	published  = "published"
	failed     = "failed"
	rejected   = "rejected"
	canceled   = "canceled"
)

// unknown tells whether a post's process died on the way.
func (f *failure) unknown() bool {
	return f != nil && f.Code == "internal_error" && f.Rule == "publish.outcome_unknown"
}

// fetch gets something of the API. It can be polled.
func fetch[T any](ctx context.Context, url, key, path string) (v T, err error) {
	a, err := jsonCall(http.MethodGet, path, nil).send(ctx, url, key)
	if err == nil {
		err = a.into(&v)
	}
	return v, err
}

// fetchAll gets all pages of a listing.
func fetchAll[T any](ctx context.Context, url, key, path string) (all []T, err error) {
	for cursor := ""; ; {
		page, err := fetch[struct {
			Data       []T
			NextCursor *string
		}](ctx, url, key, path+"?limit=200"+cursor)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.NextCursor == nil {
			return all, nil
		}
		cursor = "&cursor=" + *page.NextCursor
	}
}

// desk is an organization that posts: a key of the test environment, and accounts of the sandbox.
type desk struct {
	namespace string
	key       string
	accounts  []string
}

// passwords are those that accounts were connected with. They, too, must be nowhere.
var passwords struct {
	sync.Mutex
	all []string
}

// newPassword is as long as a key, so that the hunt for keys finds it in all its forms.
func newPassword() string {
	password := "app-password-" + rand.Text() + rand.Text()
	hide(password)
	return password
}

// hide adds what opens an account to what is hunted for in the end: an app password, a token, a verifier of a dozen
// characters at least.
func hide(texts ...string) {
	passwords.Lock()
	defer passwords.Unlock()
	passwords.all = append(passwords.all, texts...)
}

// newDesk makes a desk. A controller must be running.
func newDesk(ctx SpecContext, api *server) desk {
	GinkgoHelper()
	d := desk{namespace: newNamespace(ctx)}
	d.key = d.mint(ctx, api, "writer", nil)
	for i, platform := range []string{"bluesky", "bluesky", "linkedin", "linkedin"} {
		a, err := connecting(platform, fmt.Sprintf("account-%d.test", i)).once(rand.Text()).send(ctx, api.url, d.key)
		Expect(err).NotTo(HaveOccurred())
		var account struct{ ID string }
		Expect(a.into(&account)).To(Succeed())
		d.accounts = append(d.accounts, account.ID)
	}
	return d
}

// connecting is a call that connects an account.
func connecting(platform, identifier string) call {
	fields := map[string]string{"identifier": identifier}
	if platform == "bluesky" {
		fields["appPassword"] = newPassword()
	}
	return jsonCall(http.MethodPost, "/v1/accounts/connect/"+platform+"/complete", fields)
}

// mint makes another key of the desk's organization, and waits until the APIs accept it.
func (d desk) mint(ctx SpecContext, api *server, name string, rate *v1alpha1.RateLimit) string {
	GinkgoHelper()
	k := apiKey(d.namespace, name)
	k.Spec.Environment, k.Spec.RateLimit = v1alpha1.EnvironmentTest, rate
	plaintext := minted(ctx, create(ctx, k))
	if rate == nil { // else asking would use it up
		Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
	}
	return plaintext
}

// writing is a call that publishes a text with some of the desk's accounts, at once or (non-zero) later.
func (d desk) writing(text string, at time.Time, accounts ...string) call {
	return d.illustrated(text, at, nil, accounts...)
}

// illustrated is writing with images.
func (d desk) illustrated(text string, at time.Time, media []string, accounts ...string) call {
	if len(accounts) == 0 {
		accounts = d.accounts[:1]
	}
	var targets []map[string]string
	for _, id := range accounts {
		targets = append(targets, map[string]string{"accountId": id})
	}
	body := map[string]any{"targets": targets, "text": text}
	var images []map[string]string
	for _, id := range media {
		images = append(images, map[string]string{"kind": "image", "mediaId": id, "altText": "a dot"})
	}
	if len(images) > 0 {
		body["media"] = images
	}
	if !at.IsZero() {
		body["scheduledAt"] = at.UTC()
	}
	return jsonCall(http.MethodPost, "/v1/posts", body).once(rand.Text())
}

// queue schedules a post, and returns its id.
func (d desk) queue(ctx context.Context, api *server, key, text string, at time.Time) string {
	GinkgoHelper()
	a, err := d.writing(text, at).send(ctx, api.url, key)
	Expect(err).NotTo(HaveOccurred())
	return a.queued()
}

// queueSoon schedules a post for a moment from now, and returns its id.
func (d desk) queueSoon(ctx context.Context, api *server, key, text string) string {
	GinkgoHelper()
	for {
		at := time.Now().Add(2 * time.Second)
		a, err := d.writing(text, at).send(ctx, api.url, key)
		Expect(err).NotTo(HaveOccurred())
		if !a.late(at) {
			return a.queued()
		}
	}
}

// queued is the id of the one post that an answer says is queued.
func (a answer) queued() string {
	GinkgoHelper()
	var b batch
	Expect(a.into(&b)).To(Succeed())
	Expect(b.Results).To(HaveLen(1))
	Expect(b.Results[0].Status).To(Equal(queued))
	return b.Results[0].PostID
}

// read gets a post. It can be polled.
func (d desk) read(ctx context.Context, api *server, id string) func() (postView, error) {
	return func() (postView, error) { return fetch[postView](ctx, api.url, d.key, "/v1/posts/"+id) }
}

// storage is where specs keep what outlives them, to be searched for keys in the end.
func storage() string { return filepath.Join(logDir, "..", "storage") }

// onSQLite returns the flags of an API that has everything in a folder of its own, which replicas may share.
func onSQLite() []string {
	GinkgoHelper()
	Expect(os.MkdirAll(storage(), 0o700)).To(Succeed())
	dir, err := os.MkdirTemp(storage(), "*")
	Expect(err).NotTo(HaveOccurred())
	return []string{"--data-dir", dir}
}

// onPostgres is onSQLite with a database of its own in PostgreSQL.
func onPostgres() []string {
	GinkgoHelper()
	return append(onSQLite(), "--database-url", postgres.Start(GinkgoTB()))
}
