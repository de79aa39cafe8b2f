// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
)

const (
	plainChallenge   = `Bearer realm="letmepost"`
	invalidChallenge = `Bearer realm="letmepost", error="invalid_token"`
)

// refusedCase is a request that must be told the same as all others.
type refusedCase struct {
	reason    string // why the case is here
	headers   []string
	refusal   authn.Refusal
	challenge string
}

// refusedCases returns the cases and what has to be in the index for them.
func refusedCases(t *testing.T) (cases []refusedCase, objects []any) {
	t.Helper()
	gone := authntest.Profile()
	good, goodText := live(t)
	revoked, revokedText := live(t, authntest.Deleting)
	expired, expiredText := live(t, authntest.ExpiringAt(now)) // the very second
	pinned, pinnedText := live(t, authntest.PinnedTo(gone))
	duplicate, duplicateText := live(t, authntest.Duplicate)
	test, testText := authntest.Minted(t, authntest.Format(t), key.Test)
	_, unknownText := live(t)

	one := func(reason, value string, refusal authn.Refusal) refusedCase {
		return refusedCase{reason, []string{value}, refusal, invalidChallenge}
	}
	body := strings.TrimPrefix(goodText, "lmp_live_")
	cases = []refusedCase{
		{"no header", nil, authn.Missing, plainChallenge},
		one("empty header", "", authn.Malformed),
		{"two headers, both good", []string{"Bearer " + goodText, "Bearer " + goodText}, authn.Malformed, invalidChallenge},
		one("another scheme", "Basic "+goodText, authn.Malformed),
		one("no scheme", goodText, authn.Malformed),
		one("the scheme alone", "Bearer", authn.Malformed),
		one("the scheme and a space", "Bearer ", authn.Malformed),
		one("tab for the space", "Bearer\t"+goodText, authn.Malformed),
		one("tab after the key", "Bearer "+goodText+"\t", authn.Malformed),
		one("space before the scheme", " Bearer "+goodText, authn.Malformed),
		one("list of credentials", "Bearer "+goodText+", Bearer "+goodText, authn.Malformed),
		one("quoted key", `Bearer "`+goodText+`"`, authn.Malformed),
		one("1 MB of key", "Bearer lmp_live_"+strings.Repeat("a", 1_000_000), authn.Malformed),
		one("NUL inside", "Bearer "+goodText[:20]+"\x00"+goodText[21:], authn.Malformed),
		one("NUL after", "Bearer "+goodText+"\x00", authn.Malformed),
		one("non-ASCII inside", "Bearer "+goodText[:20]+"é"+goodText[22:], authn.Malformed),
		one("one character changed", "Bearer "+changed(goodText, 20), authn.Malformed),
		one("one character of the checksum changed", "Bearer "+changed(goodText, len(goodText)-1), authn.Malformed),
		one("right body, other prefix", "Bearer lmp_test_"+body, authn.Malformed),
		one("right body, prefix of another word", "Bearer abc_live_"+body, authn.Malformed),
		one("other environment's key", "Bearer "+testText, authn.WrongEnvironment),
		one("well-formed, never minted", "Bearer "+unknownText, authn.Unknown),
		one("being deleted", "Bearer "+revokedText, authn.Revoked),
		one("expires now", "Bearer "+expiredText, authn.Expired),
		one("its profile is gone", "Bearer "+pinnedText, authn.Unserved),
		one("a duplicate", "Bearer "+duplicateText, authn.Unserved),
	}
	return cases, []any{good, revoked, expired, pinned, duplicate, test}
}

func changed(s string, i int) string {
	c := byte('a')
	if s[i] == c {
		c = 'b'
	}
	return s[:i] + string(c) + s[i+1:]
}

// Every route that takes a key tells every refused caller the same, to the byte.
func TestOneRefusalForAll(t *testing.T) {
	cases, objects := refusedCases(t)
	var want *response
	f, counted := newFixture(t, objects), map[authn.Refusal]float64{}
	for i := range routes {
		if routes[i].Access == admission.Anyone {
			continue
		}
		for _, c := range cases {
			name := routes[i].Method + " " + routes[i].Path + ": " + c.reason
			counted[c.refusal]++
			got := seen(t, f.doHeaders(routes[i].Method, strings.Replace(routes[i].Path, "{id}", "some-id", 1), c.headers))

			if got.Status != http.StatusUnauthorized {
				t.Errorf("%s: status %d", name, got.Status)
			}
			if challenge := got.Headers["Www-Authenticate"]; !cmp.Equal(challenge, []string{c.challenge}) {
				t.Errorf("%s: challenge %q, want %q", name, challenge, c.challenge)
			}
			if n := f.counted(t, "lmp_authn_refusals_total", "reason", string(c.refusal)); n != counted[c.refusal] {
				t.Errorf("%s: not counted as %s", name, c.refusal)
			}
			got.Headers.Del("Www-Authenticate")
			if want == nil {
				want = &got
			}
			if diff := cmp.Diff(*want, got); diff != "" {
				t.Errorf("%s differs from the others:\n%s", name, diff)
			}
		}
	}
	golden(t, "unauthenticated.json", want.Body)
	wantHeaders := http.Header{
		"Cache-Control":          {"no-store"},
		"Content-Length":         {fmt.Sprint(len(want.Body) + len("made-00000001") - len("ID"))},
		"Content-Type":           {"application/json"},
		"X-Content-Type-Options": {"nosniff"},
		"X-Request-Id":           {"ID"},
	}
	if diff := cmp.Diff(wantHeaders, want.Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// A good key is accepted on the same fixture: the table above does not pass because nothing works.
func TestGoodKeyIsAccepted(t *testing.T) {
	k, plaintext := live(t)
	f := newFixture(t, []any{k})
	f.get(t, "/v1/whoami", plaintext)
	if w := f.doHeaders(http.MethodGet, "/v1/whoami", []string{"Bearer   " + plaintext}); w.Code != http.StatusOK {
		t.Errorf("several spaces (RFC 6750 section 2.1: 1*SP): %d", w.Code)
	}
}

// The same over a socket. What HTTP itself forbids never reaches the handler: net/http answers 400.
func TestRefusalsOverASocket(t *testing.T) {
	cases, objects := refusedCases(t)
	server := httptest.NewServer(newFixture(t, objects))
	defer server.Close()
	wants := map[string]int{ // where a socket changes the outcome
		"tab after the key":       http.StatusOK, // white space around a field's value is not part of it (RFC 9110, 5.5)
		"space before the scheme": http.StatusOK,
		"NUL inside":              http.StatusBadRequest,
		"NUL after":               http.StatusBadRequest,
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			want := http.StatusUnauthorized
			if other, ok := wants[c.reason]; ok {
				want = other
			}
			if got := overSocket(t, server.Listener.Addr().String(), c.headers); got != want {
				t.Errorf("status %d, want %d", got, want)
			}
		})
	}
}

func overSocket(t *testing.T, address string, authorization []string) int {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var text strings.Builder
	text.WriteString("GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\n")
	for _, value := range authorization {
		text.WriteString("Authorization: " + value + "\r\n")
	}
	text.WriteString("\r\n")
	if _, err := io.WriteString(conn, text.String()); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// What a refusal costs does not grow with what was sent.
func TestRefusalAllocatesNoMoreForMore(t *testing.T) {
	f := newFixture(t, nil)
	// The least of several times: what others of this process allocate meanwhile is counted with it.
	cost := func(header string) (least uint64) {
		const runs = 50
		r := httptest.NewRequest(http.MethodGet, "/v1/whoami", nil)
		r.Header["Authorization"] = []string{header}
		for turn := range 5 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range runs {
				f.ServeHTTP(httptest.NewRecorder(), r)
			}
			runtime.ReadMemStats(&after)
			if n := (after.TotalAlloc - before.TotalAlloc) / runs; turn == 0 || n < least {
				least = n
			}
		}
		return least
	}
	short, long := "Bearer lmp_live_x", "Bearer lmp_live_"+strings.Repeat("x", 1_000_000)
	cost(short)
	if a, b := cost(short), cost(long); b > a+4096 {
		t.Errorf("%d bytes for a short header, %d for 1 MB", a, b)
	}
}

// A route is closed unless it says otherwise, and those that say otherwise are these.
func TestOpenRoutesAreThese(t *testing.T) {
	var open []string
	for i := range routes {
		if routes[i].Access == admission.Anyone {
			open = append(open, routes[i].Method+" "+routes[i].Path)
		}
	}
	want := []string{
		"GET /v1/accounts/oauth/{platform}/callback", "GET /v1/accounts/oauth/{platform}/client-metadata.json",
		"POST /v1/leaked", "GET /v1/openapi.json", "GET /healthz", "GET /readyz",
	}
	if diff := cmp.Diff(want, open); diff != "" {
		t.Errorf("routes that need no key (-want +got):\n%s", diff)
	}
	f := newFixtureOf(t, func(a *API) []endpoint.Route {
		return []endpoint.Route{{Method: http.MethodGet, Path: "/v1/new", Endpoint: endpoint.Returns(a.healthz)}}
	}, nil)
	if w := f.do(http.MethodGet, "/v1/new", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("a new route that says nothing about access: %d", w.Code)
	}
}
