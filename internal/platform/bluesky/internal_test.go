// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

func crcOf(b []byte) []byte { return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)) }

// TestKeys: a key is a TID, always the same for a post, and another for each other post, part and try.
func TestKeys(t *testing.T) {
	const id = "0199d3c2-3b5e-7c11-9f1e-0123456789ab"
	if a, b := keyOf(id, partPost, 0), keyOf(id, partPost, 0); a != b {
		t.Errorf("%s and %s", a, b)
	}
	tid, err := syntax.ParseTID(keyOf(id, partPost, 0))
	parsed := uuid.MustParse(id)
	seconds, nanos := parsed.Time().UnixTime()
	if d := tid.Time().Sub(time.Unix(seconds, nanos)); err != nil || d < 0 || d > time.Millisecond {
		t.Errorf("%s is %v later than its post, error %v", tid, d, err)
	}
	if post, comment := keyOf(id, partPost, 0), keyOf(id, partComment, 0); comment <= post {
		t.Errorf("the comment %s sorts before its post %s", comment, post)
	}
	seen, twice := map[string]string{}, 0
	for i := range 2000 {
		for _, id := range []string{uuid.Must(uuid.NewV7()).String(), uuid.NewString(), fmt.Sprintf("post-%d", i)} {
			for try := range maxTries {
				key := keyOf(id, partPost, try)
				if _, err := syntax.ParseTID(key); err != nil {
					t.Fatalf("%q: %v", id, err)
				}
				if other, ok := seen[key]; ok && other != id {
					twice++
				}
				seen[key] = id
			}
		}
	}
	// Those of one millisecond share a million keys: it happens, and put copes with it.
	if twice > 50 {
		t.Errorf("%d keys are those of two posts", twice)
	}
}

// TestKeysStay: those of posts that went out yesterday must be found tomorrow.
func TestKeysStay(t *testing.T) {
	for id, want := range map[string]string{
		"0199d3c2-3b5e-7c11-9f1e-0123456789ab": "3m2wgrfjtvicc",
		"post":                                 "3koz72meqy3za",
	} {
		if got := keyOf(id, partPost, 0); got != want {
			t.Errorf("%s has the key %s, and had %s", id, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		status int
		name   string
		want   verdict
	}{
		{400, "ExpiredToken", strange},
		{400, "InvalidToken", strange},
		{401, "AuthMissing", strange},
		{401, "", strange},
		{401, "AccountTakedown", strange},
		{403, "AccountNotFound", strange},
		{400, "RepoDeactivated", strange},
		{429, "RateLimitExceeded", slowDown},
		{429, "", slowDown},
		{400, "RateLimitExceeded", slowDown},
		{400, "InvalidRequest", saysNo},
		{400, "BlobTooLarge", saysNo},
		{403, "Forbidden", saysNo},
		{413, "", saysNo},
		{404, "", away},
		{400, "", away},
		{408, "RequestTimeout", away},
		{500, "InternalServerError", away},
		{502, "", away},
		{502, "UpstreamFailure", away},
		{503, "NotEnoughResources", away},
		{302, "", away},
		{0, "", away},
	} {
		if got := judge(&serverError{status: c.status, name: c.name}); got != c.want {
			t.Errorf("%d %s is %d, want %d", c.status, c.name, got, c.want)
		}
	}
	if judge(nil) != noError || judge(fmt.Errorf("wrapped: %w", &serverError{name: "ExpiredToken"})) != strange {
		t.Error("nil, or a wrapped one")
	}
}

// TestUnknown: an attempt that took too long says so.
func TestUnknown(t *testing.T) {
	for rule, cause := range map[string]error{"publish.timeout": context.DeadlineExceeded, "publish.outcome_unknown": context.Canceled} {
		var e ended
		if err := new(delivery).unknown(&serverError{sent: true, cause: cause}); !errors.As(err, &e) {
			t.Fatal(err)
		}
		if o, ok := e.outcome.(platform.OutcomeUnknown); !ok || o.Failure.Rule != rule {
			t.Errorf("%v: %+v", cause, e.outcome)
		}
	}
}

// TestTold: a second look that was kept from sending anything knows nothing of a post that may be there.
func TestTold(t *testing.T) {
	later := time.Unix(1_800_000_000, 0)
	why := platform.Failure{Code: platform.CodeRateLimited}
	not := platform.NotTaken{Failure: why, NotBefore: later}
	for again, want := range map[bool]platform.Outcome{
		false: not, true: platform.OutcomeUnknown{Failure: why, NotBefore: later},
	} {
		if diff := cmp.Diff(want, (&delivery{again: again}).told(not)); diff != "" {
			t.Errorf("again %v (-want +got):\n%s", again, diff)
		}
	}
	// A refusal of a second look that comes as far as this is of the record itself, which the server has seen: all others
	// are unseen's.
	if got := (&delivery{again: true}).told(platform.Rejected{}); fmt.Sprintf("%T", got) != "platform.Rejected" {
		t.Errorf("%T", got)
	}
}

// TestUnseen: what is refused before the server has seen the record says nothing to a second look. A post whose account
// is to be connected again is held for that (package publish), which goes by its refusal.
func TestUnseen(t *testing.T) {
	for _, tc := range []struct {
		again bool
		code  string
		want  string
	}{
		{false, platform.CodeRejected, "platform.Rejected"},
		{true, platform.CodeRejected, "platform.OutcomeUnknown"},
		{true, platform.CodeAuthFailed, "platform.Rejected"},
	} {
		var e ended
		err := (&delivery{again: tc.again}).unseen(rejected(&platform.Failure{Code: tc.code}))
		if !errors.As(err, &e) || e.Error() != tc.want {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

// TestWarningsFirst: what is missing is told before what was only changed.
func TestWarningsFirst(t *testing.T) {
	d := new(delivery)
	d.warn("image.reencoded", "smaller")
	d.warn(firstComment, "not there")
	if len(d.warnings) != 2 || d.warnings[0].Message != "not there" {
		t.Errorf("%+v", d.warnings)
	}
}

// TestManyWarnings: what is the same is said once, and whatever is left out of the receipt, what is missing is not.
func TestManyWarnings(t *testing.T) {
	d := new(delivery)
	for i := range 40 {
		d.warn("mention", fmt.Sprintf("@%d.test was not found", i%20))
	}
	d.warn(firstComment, "not there")
	got := platform.Receipt{Warnings: d.warnings}.Bounded().Warnings
	if len(d.warnings) != 21 || got[0].Message != "not there" || !strings.Contains(got[len(got)-1].Message, "left out") {
		t.Errorf("%d warnings, kept %+v", len(d.warnings), got)
	}
}

// TestDecodedSizes: a frame is a JPEG's alone.
func TestDecodedSizes(t *testing.T) {
	for format, want := range map[string]int64{"webp": 200, "jpeg": 2000} {
		h := &head{format: format, config: image.Config{Width: 10, Height: 10, ColorModel: color.YCbCrModel}}
		if got := h.decodedSize(); got != want {
			t.Errorf("%s: %d, want %d", format, got, want)
		}
	}
}

// TestJPEGFrames: what a JPEG takes in memory depends on how its colours are stored, and on whether it is progressive.
func TestJPEGFrames(t *testing.T) {
	header := func(marker byte, samplings ...byte) []byte {
		b := []byte{0xff, 0xd8, 0xff, 0xe1, 0, 4, 'x', 'x', 0xff, marker, 0, byte(8 + 3*len(samplings)), 8, 0, 1, 0, 1, byte(len(samplings))}
		for i, s := range samplings {
			b = append(b, byte(i), s, 0)
		}
		return b
	}
	for reason, tc := range map[string]struct {
		b    []byte
		want int64 // bytes for a hundred pixels
	}{
		"baseline 4:2:0":     {header(0xc0, 0x22, 0x11, 0x11), 150},
		"baseline 4:4:4":     {header(0xc0, 0x11, 0x11, 0x11), 300},
		"progressive 4:2:0":  {header(0xc2, 0x22, 0x11, 0x11), 750},
		"progressive 4:4:4":  {header(0xc2, 0x11, 0x11, 0x11), 1500},
		"progressive grey":   {header(0xc2, 0x11), 500},
		"nothing was found":  {[]byte{0xff, 0xd8, 0xff, 0xda, 0, 2}, 2000},
		"cut":                {header(0xc2, 0x22, 0x11, 0x11)[:20], 2000},
		"no JPEG":            {[]byte("GIF89a"), 2000},
		"samplings of zero":  {header(0xc2, 0, 0, 0), 2000},
		"components of none": {header(0xc0), 2000},
	} {
		if got := jpegFrameIn(bytes.NewReader(tc.b)).size(100); got != tc.want {
			t.Errorf("%s: %d, want %d", reason, got, tc.want)
		}
	}
}

func TestAskAgain(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		reset, after string
		want         time.Duration
	}{
		{"1800000300", "", 300 * time.Second},
		{"1800000300", "5", 300 * time.Second},
		{"", "5", 5 * time.Second},
		{"", "", time.Minute},
		{"300", "", time.Minute},         // a delta would be in 1970
		{"1799999999", "", time.Minute},  // over already
		{"1900000000", "", time.Minute},  // years
		{"soon", "-5", time.Minute},      // nonsense
		{"", "99999999999", time.Minute}, // nonsense
		{"1800086400", "", 24 * time.Hour},
	} {
		h := http.Header{}
		h.Set("RateLimit-Reset", c.reset)
		h.Set("Retry-After", c.after)
		if got := askAgain(h, now).Sub(now); got != c.want {
			t.Errorf("%q, %q: in %v, want %v", c.reset, c.after, got, c.want)
		}
	}
}

func TestIdentifiers(t *testing.T) {
	for text, want := range map[string]string{
		"alice": "alice.bsky.social", "@Alice.Example.com": "alice.example.com", "did:plc:abc": "did:plc:abc",
		"https://bsky.app/profile/alice.example.com/": "alice.example.com", "a@b.com": "a@b.com", " alice.test\n": "alice.test",
		"": "", "@": "", "a b": "", "alice.localhost": "", "did:": "", "-a.com": "", "a..com": "",
	} {
		got, err := parseIdentifier(text)
		if got.text() != want || (err == nil) != (want != "") {
			t.Errorf("%q is %+v, error %v", text, got, err)
		}
	}
}
