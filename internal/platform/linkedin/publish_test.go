// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
	played "github.com/letmepost/letmepost-operator/test/linkedin"
)

const everything = `a \ | { } @ [ ] ( ) < > # * _ ~ b`

// TestPublish: only the text of a post is markup. Readers see everything as it was written.
func TestPublish(t *testing.T) {
	w := newWorld(t)
	p := publication(platform.Content{Text: everything + " #go", FirstComment: everything, Media: images(everything)})
	r := as[platform.Published](t, w.send(t, p)).Receipt
	post := w.only(t)
	if post.Text != everything+" #go" || !slices.Equal(post.Tags, []string{"go"}) || r.URI != post.URN {
		t.Errorf("the post is %+v, and its receipt %+v", post, r)
	}
	if len(post.Images) != 1 || post.Images[0].AltText != everything {
		t.Errorf("the images are %+v", post.Images)
	}
	comments := w.server.Comments()
	if len(comments) != 1 || comments[0].Text != everything || comments[0].On != post.URN {
		t.Errorf("the comments are %+v", comments)
	}
	contains(t, "the comment's URI", r.FirstCommentURI, "urn:li:comment:("+post.URN)
	if len(r.Warnings) != 0 {
		t.Errorf("there are warnings: %+v", r.Warnings)
	}
}

func TestImagesAreWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.server.Looks = 2
	as[platform.Published](t, w.send(t, publication(platform.Content{Text: "three", Media: images("a", "b", "c")})))
	var alts []string
	for _, i := range w.only(t).Images {
		alts = append(alts, i.AltText)
	}
	if !slices.Equal(alts, []string{"a", "b", "c"}) {
		t.Errorf("the images are %v", alts)
	}

	w.server.Looks = 1000
	o := as[platform.NotTaken](t, w.send(t, publication(platform.Content{Text: "stuck", Media: images("d")})))
	if o.Failure.Rule != "linkedin.image" || o.NotBefore.IsZero() {
		t.Errorf("an image that stays in processing: %+v", o)
	}
	w.server.Looks, w.server.Broken = 0, 5
	r := as[platform.Rejected](t, w.send(t, publication(platform.Content{Text: "broken", Media: images("e")})))
	contains(t, "the message", r.Failure.Message, "medium 1")
	w.only(t)
}

// TestOutcomes: what becomes of a post by what LinkedIn answers to a first attempt.
func TestOutcomes(t *testing.T) {
	now := time.Date(2026, 11, 28, 15, 4, 5, 0, time.FixedZone("", 3600))
	midnight := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	say := func(status int, body string) played.Fault {
		return played.Fault{On: "/rest/posts", Status: status, Body: body}
	}
	throttled := say(429, `{"status":429,"message":"Resource level throttle limit reached"}`)
	patient := throttled
	patient.Header = http.Header{"Retry-After": {"90"}}
	for _, tc := range []struct {
		reason     string
		fault      played.Fault
		want       platform.Outcome // its type
		code, rule string
		notBefore  time.Time
	}{
		{
			"revoked", say(401, `{"status":401,"serviceErrorCode":65601,"code":"REVOKED_ACCESS_TOKEN"}`),
			platform.Rejected{},
			platform.CodeAuthFailed, "linkedin.token",
			time.Time{},
		},
		{
			"a product is missing", say(403, `{"status":403,"serviceErrorCode":100,"code":"ACCESS_DENIED"}`),
			platform.Rejected{},
			platform.CodeRejected, "linkedin.access_denied",
			time.Time{},
		},
		{
			"not valid", say(422, `{"status":422,"errorDetails":{"inputErrors":[{"code":"X","description":"too odd"}]}}`),
			platform.Rejected{},
			platform.CodeRejected, "linkedin.rejected",
			time.Time{},
		},
		{
			"said before", say(422, `{"status":422,"code":"DUPLICATE_POST","message":"Content is a duplicate of urn:li:share:1"}`),
			platform.Rejected{},
			platform.CodeRejected, "linkedin.duplicate",
			time.Time{},
		},
		{
			"said before, in details", say(422,
				`{"errorDetails":{"inputErrors":[{"code":"A"},{"code":"DUPLICATE_POST","description":"of urn:li:share:1"}]}}`),
			platform.Rejected{},
			platform.CodeRejected, "linkedin.duplicate",
			time.Time{},
		},
		{
			"the version's sunset", say(426, `{"status":426,"code":"NONEXISTENT_VERSION"}`),
			platform.NotTaken{},
			platform.CodeUnavailable, "linkedin.version.sunset", now.Add(time.Hour),
		},
		{
			"too many, and no word of when", throttled,
			platform.NotTaken{},
			platform.CodeRateLimited, "linkedin.rate_limited", midnight,
		},
		{
			"too many, and when", patient,
			platform.NotTaken{},
			platform.CodeRateLimited, "linkedin.rate_limited", now.Add(90 * time.Second),
		},
		{
			"an error of its own", say(500, `oops`),
			platform.OutcomeUnknown{},
			platform.CodeUnavailable, "publish.outcome_unknown",
			time.Time{},
		},
		{
			"an error of what is in front", say(504, `<html>`),
			platform.OutcomeUnknown{},
			platform.CodeUnavailable, "publish.outcome_unknown",
			time.Time{},
		},
		{
			"the connection breaks", say(0, ""),
			platform.OutcomeUnknown{},
			platform.CodeUnavailable, "publish.outcome_unknown",
			time.Time{},
		},
		{
			"no id", say(201, ""),
			platform.OutcomeUnknown{},
			platform.CodeUnavailable, "publish.outcome_unknown",
			time.Time{},
		},
		{
			"an error of its own, before the post",
			played.Fault{On: "/rest/images", Status: 503},
			platform.NotTaken{},
			platform.CodeUnavailable, "linkedin.unavailable", now.Add(30 * time.Second),
		},
		{
			"10 MB before the post",
			played.Fault{On: "/rest/images", Status: 200, Body: strings.Repeat("x", 10<<20)},
			platform.NotTaken{},
			platform.CodeUnavailable, "linkedin.unavailable", now.Add(30 * time.Second),
		},
		{
			"no address to upload to",
			played.Fault{On: "/rest/images", Status: 200, Body: `{"value":{"image":"urn:li:image:1",
			"uploadUrl":"http://example.com/"}}`},
			platform.NotTaken{},
			platform.CodeUnavailable, "linkedin.unavailable", now.Add(30 * time.Second),
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			w := newWorld(t, func(c *linkedin.Config) { c.Clock = clocktesting.NewFakePassiveClock(now) })
			w.server.Fail(tc.fault)
			var failure platform.Failure
			var notBefore time.Time
			switch o := w.send(t, publication(platform.Content{Text: "hello", Media: images("a")})).(type) {
			case platform.Rejected:
				failure = o.Failure
				as[platform.Rejected](t, tc.want)
			case platform.NotTaken:
				failure, notBefore = o.Failure, o.NotBefore
				as[platform.NotTaken](t, tc.want)
			case platform.OutcomeUnknown:
				failure = o.Failure
				as[platform.OutcomeUnknown](t, tc.want)
			default:
				t.Fatalf("%T", o)
			}
			if failure.Code != tc.code || failure.Rule != tc.rule || !notBefore.Equal(tc.notBefore) {
				t.Errorf("%+v, not before %s", failure, notBefore)
			}
			if failure.Message == "" || failure.Remediation == "" {
				t.Errorf("it does not say what to do: %+v", failure)
			}
		})
	}
}

// TestOldVersion: the server itself refuses it.
func TestOldVersion(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, func(c *linkedin.Config) {
		c.Version, c.Logger = "202306", slog.New(slog.NewTextHandler(&log, nil))
	})
	o := as[platform.NotTaken](t, w.send(t, publication(platform.Content{Text: "hello"})))
	if o.Failure.Rule != "linkedin.version.sunset" {
		t.Errorf("%+v", o.Failure)
	}
	contains(t, "the log", log.String(), "--linkedin-version")
	if waits := w.Waits; waits == nil || waits.Rule != o.Failure.Rule {
		t.Errorf("nothing lets it go: %+v", waits)
	} else {
		contains(t, "the failure", o.Failure.Message, waits.Setting)
		contains(t, "the setting", waits.Setting, "202306")
	}
}

func TestUnreachable(t *testing.T) {
	w := newWorld(t, func(c *linkedin.Config) { c.APIURL = "http://127.0.0.1:1" })
	o := as[platform.NotTaken](t, w.send(t, publication(platform.Content{Text: "hello"})))
	if o.Failure.Code != platform.CodeUnavailable || o.NotBefore.IsZero() {
		t.Errorf("%+v", o)
	}
}

// TestMediumIsGone: what goes wrong here is not told to the author.
func TestMediumIsGone(t *testing.T) {
	w := newWorld(t)
	p := publication(platform.Content{Media: images("a")})
	p.Content.Media[0].Open = failing("bucket-of-somebody")
	o := as[platform.NotTaken](t, w.send(t, p))
	if o.Failure.Code != platform.CodeInternalError || strings.Contains(o.Failure.Message, "bucket") {
		t.Errorf("%+v", o.Failure)
	}
}

// TestURNsAreNotCut: what a duplicate is one of is found however much is said before it.
func TestURNsAreNotCut(t *testing.T) {
	said := strings.Repeat("a", 290) + " urn:li:share:1234567890"
	w := newWorld(t)
	w.server.Fail(played.Fault{On: "/rest/posts", Status: 422, Body: `{"code":"DUPLICATE_POST","message":"` + said + `"}`})
	if r := as[platform.Published](t, w.ask(t, publication(platform.Content{Text: "again"}), nil)).Receipt; r.URI != "urn:li:share:1234567890" {
		t.Errorf("it is %q", r.URI)
	}
}

// TestRenewal: a token that is not taken is renewed once, where it can be.
func TestRenewal(t *testing.T) {
	w := newWorld(t)
	old := platform.Secrets{platform.SecretAccessToken: "old", platform.SecretRefreshToken: "r"}
	by := &credentials{secrets: old, next: platform.Secrets{platform.SecretAccessToken: token, platform.SecretRefreshToken: "r"}}
	p := publication(platform.Content{Text: "renewed", Media: images("a", "b", "c", "d", "e")})
	p.Credentials = by
	as[platform.Published](t, w.send(t, p))
	if by.renewed != 1 {
		t.Errorf("renewed %d times", by.renewed)
	}

	by = &credentials{secrets: old, err: &platform.Failure{Code: platform.CodeAuthFailed, Message: "gone"}}
	p.Credentials, p.Content.Text = by, "not renewed"
	if r := as[platform.Rejected](t, w.send(t, p)); r.Failure.Code != platform.CodeAuthFailed {
		t.Errorf("%+v", r)
	}
	by = &credentials{secrets: platform.Secrets{platform.SecretAccessToken: "old"}}
	p.Credentials = by
	if r := as[platform.Rejected](t, w.send(t, p)); r.Failure.Code != platform.CodeAuthFailed || by.renewed != 0 {
		t.Errorf("without a refresh token: %+v, renewed %d times", r, by.renewed)
	}
}

// TestRenewalAtUpload: a token may end between two requests, also where the second goes to another host, and while
// others of the same post are under way.
func TestRenewalAtUpload(t *testing.T) {
	w := newWorld(t)
	w.server.Fail(played.Fault{On: "/upload", Status: 401})
	secrets := platform.Secrets{platform.SecretAccessToken: token, platform.SecretRefreshToken: "r"}
	by := &credentials{secrets: secrets, next: maps.Clone(secrets)}
	p := publication(platform.Content{Text: "renewed", Media: images("a", "b", "c", "d", "e")})
	p.Credentials = by
	as[platform.Published](t, w.send(t, p))
	if by.renewed != 1 {
		t.Errorf("renewed %d times", by.renewed)
	}
}

// TestCommentFails: the post is published whatever becomes of its comment.
func TestCommentFails(t *testing.T) {
	for reason, tc := range map[string]struct {
		fault played.Fault
		says  string
	}{
		"refused":                        {played.Fault{Status: 403, Body: `{"status":403}`}, "is not"},
		"too many":                       {played.Fault{Status: 429}, "is not"},
		"lost":                           {played.Fault{Written: true}, "did not say"},
		"an error":                       {played.Fault{Status: 500}, "did not say"},
		"revoked":                        {played.Fault{Status: 401}, "is not"},
		"of no sense":                    {played.Fault{Status: 201, Body: "what?"}, "did not say"},
		"refused, and the post is named": {played.Fault{Status: 422, Body: `{"message":"no comments on urn:li:share:1"}`}, "no comments on"},
		"sunset of it":                   {played.Fault{Status: 426}, "is not"},
	} {
		w := newWorld(t)
		tc.fault.On = "/comments"
		w.server.Fail(tc.fault)
		r := as[platform.Published](t, w.send(t, publication(platform.Content{Text: "hello", FirstComment: "first"}))).Receipt
		if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Message, tc.says) {
			t.Errorf("%s: %+v", reason, r.Warnings)
		}
		if n := len(w.server.Comments()); n > 1 {
			t.Errorf("%s: %d comments", reason, n)
		}
	}
}

func TestVideosAreRefused(t *testing.T) {
	w := newWorld(t)
	f := w.Publisher.Preflight(platform.Content{Media: []platform.Media{{Kind: platform.Video, ContentType: "video/mp4"}}})
	if f == nil || f.Code != platform.CodePreflightFailed || f.Rule != "linkedin.media.video_unsupported" {
		t.Errorf("%+v", f)
	}
}

func TestNoSecretGoesWhereItShouldNot(t *testing.T) {
	for _, text := range []string{"http://api.linkedin.com", "https://api.linkedin.com/x", "api.linkedin.com", ""} {
		c := linkedin.Config{APIURL: text, Clock: clock.RealClock{}, Guard: outbound.NewGuard(), Logger: slog.New(slog.DiscardHandler)}
		if _, err := linkedin.New(c); (err == nil) != (text == "") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func failing(why string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return nil, errors.New(why) }
}
