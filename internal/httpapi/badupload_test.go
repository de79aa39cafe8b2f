// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// pngHeader is the beginning of a PNG that says it has this size.
func pngHeader(width, height uint32) string {
	ihdr := append([]byte("IHDR"), make([]byte, 13)...)
	binary.BigEndian.PutUint32(ihdr[4:], width)
	binary.BigEndian.PutUint32(ihdr[8:], height)
	ihdr[12], ihdr[13] = 8, 0 // 8 bits of grey
	chunk := binary.BigEndian.AppendUint32(ihdr, crc32.ChecksumIEEE(ihdr))
	return "\x89PNG\r\n\x1a\n\x00\x00\x00\x0d" + string(chunk)
}

// files are the keys of what is in the media folder.
func (f *fixture) files(t *testing.T) []string {
	t.Helper()
	var all []string
	check(t, f.config.Library.Each(t.Context(), "", time.Now().Add(time.Hour), func(keys []string) error {
		all = append(all, keys...)
		return nil
	}))
	return all
}

func TestBadUploads(t *testing.T) {
	f := newFixture(t, nil, func(c *parts) { c.Library = smallLibrary(t) })
	key := f.newKey(t)
	good := part{fileNamed, picture(t, 3)}
	complete := multiparts(key, "b", good)
	cut := func(n int) sent {
		s := complete
		s.body = s.body[:len(s.body)-n]
		return s
	}
	typed := func(contentType string) sent { return complete.with("Content-Type", contentType) }
	for _, c := range []struct {
		reason string
		s      sent
		status int
		rule   string
	}{
		{"JSON", typed("application/json"), 400, "media.content_type"},
		{"the bare file", typed("image/png"), 400, "media.content_type"},
		{"no boundary", typed("multipart/form-data"), 400, "media.content_type"},
		{"another multipart", typed("multipart/mixed; boundary=b"), 400, "media.content_type"},
		{"no body", sent{method: "POST", target: "/v1/media", key: key}.with("Content-Type", "multipart/form-data; boundary=b"), 400, "media.missing_file"},
		{"another boundary than declared", typed("multipart/form-data; boundary=c"), 400, "media.missing_file"},
		{"no part", multiparts(key, "b"), 400, "media.missing_file"},
		{"a part of another name", multiparts(key, "b", part{`form-data; name="image"`, picture(t, 3)}), 400, "media.missing_file"},
		{"a part without a name", multiparts(key, "b", part{`form-data`, picture(t, 3)}), 400, "media.missing_file"},
		{"an attachment", multiparts(key, "b", part{`attachment; name="file"`, picture(t, 3)}), 400, "media.missing_file"},
		{"another part first", multiparts(key, "b", part{`form-data; name="more"`, "x"}, good), 400, "more"},
		{"another part first, and no file", multiparts(key, "b", part{`form-data; name="more"`, "x"}), 400, "media.missing_file"},
		{"a file under another name", multiparts(key, "b", part{`form-data; name="image"; filename="a.gif"`, "GIF89a" + strings.Repeat("x", 9000)}), 400, "media.missing_file"},
		{"a profile that is none first", multiparts(key, "b", part{`form-data; name="profileId"`, "none"}, good), 404, ""},
		{"a profile that is none last", multiparts(key, "b", good, part{`form-data; name="profileId"`, "none"}), 404, ""},
		{"an empty profile", multiparts(key, "b", part{`form-data; name="profileId"`, ""}, good), 404, ""},
		{"a profile twice", multiparts(key, "b", part{`form-data; name="profileId"`, "a"}, part{`form-data; name="profileId"`, "a"}, good), 400, "profileId"},
		{"its name in another spelling", multiparts(key, "b", part{`form-data; name="profile_id"`, "a"}, good), 400, "profile_id"},
		{"a long profile", multiparts(key, "b", part{`form-data; name="profileId"`, strings.Repeat("a", 3000)}, good), 404, ""},
		{"two files", multiparts(key, "b", good, good), 400, "media.single_file"},
		{"another part last", multiparts(key, "b", good, part{`form-data; name="more"`, "x"}), 400, "more"},
		{"the end is missing", cut(6), 400, "media.parse_failed"},
		{"cut off in the file", cut(30), 400, "media.parse_failed"},
		{"an empty file", uploadOf(key, ""), 400, "media.empty_body"},
		{"text", uploadOf(key, "hello"), 400, "media.type"},
		{"a page with a script", uploadOf(key, "<!DOCTYPE html><script>alert(1)</script>"), 400, "media.type"},
		{"SVG", uploadOf(key, `<svg xmlns="http://www.w3.org/2000/svg"/>`), 400, "media.type"},
		{"a zip bomb, as an image", uploadOf(key, "PK\x03\x04\x14\x00\x00\x00\x08\x00"+strings.Repeat("\x00", 500)), 400, "media.type"},
		{"a gzip bomb, as an image", uploadOf(key, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"+strings.Repeat("\x00", 500)), 400, "media.type"},
		{"a decompression bomb: a few bytes that say they are 2.5 gigapixels", uploadOf(key, pngHeader(50_000, 50_000)), 400, "media.dimensions"},
		{"more pixels than can be counted", uploadOf(key, pngHeader(1<<31-1, 1<<31-1)), 400, "media.dimensions"},
		{"an image without pixels", uploadOf(key, pngHeader(0, 1)), 400, "media.broken"},
		{"the beginning of an image", uploadOf(key, picture(t, 3)[:12]), 400, "media.broken"},
		{"too large", uploadOf(key, "GIF89a\x01\x00\x01\x00\x00\x00\x00"+strings.Repeat("x", 1000)), 413, "media.size_max"},
	} {
		f.refused(t, c.reason, c.s, c.status, c.rule)
	}
	if n, files := f.rows(t, "media"), f.files(t); n != 0 || len(files) != 0 {
		t.Errorf("%d rows, files %v", n, files)
	}
	ok[medium](t, f, complete)
	if n, files := f.rows(t, "media"), f.files(t); n != 1 || len(files) != 1 {
		t.Errorf("after a good one: %d rows, files %v", n, files)
	}
}

// TestUploadsOfNothing: with a quota, too, an upload that brings no byte is told what is wrong with it, also if it is
// the first one of the process.
func TestUploadsOfNothing(t *testing.T) {
	quotas = store.Amounts{store.Bytes: 5 << 30}
	defer func() { quotas = nil }()
	f := newFixture(t, nil)
	key := f.newKey(t)
	f.refused(t, "an empty file", uploadOf(key, ""), 400, "media.empty_body")
	cut := uploadOf(key, "")
	cut.body = cut.body[:len(cut.body)-6]
	f.refused(t, "cut off before its first byte", cut, 400, "media.parse_failed")
}

// A name that climbs out is not even looked at: files have the names that the server gives them.
func TestNamesThatClimbOut(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	for _, name := range []string{"../../../../tmp/climbed", "/etc/passwd", `..\\..\\climbed`, "CON", strings.Repeat("../", 1000) + "x", "."} {
		m := ok[medium](t, f, multiparts(key, "b", part{`form-data; name="file"; filename="` + name + `"`, picture(t, 3)}))
		if !strings.HasPrefix(m.ID, "med_") || strings.Contains(m.URL, "climbed") {
			t.Errorf("%q: %+v", name, m)
		}
		if w := f.do(http.MethodGet, "/v1/media/"+m.ID+"/content", key); w.Body.String() != picture(t, 3) || w.Header().Get("Content-Type") != "image/png" {
			t.Errorf("%q: its bytes are others: %d %v", name, w.Code, w.Header())
		}
	}
	for _, key := range f.files(t) {
		if strings.Contains(key, "..") || !strings.Contains(key, "med_") {
			t.Errorf("a file is named %q", key)
		}
	}
	if _, err := os.Stat(filepath.Join(os.TempDir(), "climbed")); err == nil {
		t.Error("a name climbed out")
	}
	for _, target := range []string{"/v1/media/..%2f..%2fetc%2fpasswd", "/v1/media/%2e%2e/content", "/v1/media/..%5c..%5cx/content", "/v1/media/med_%00/content"} {
		checkStatus(t, target, f.do(http.MethodGet, target, key), http.StatusNotFound)
	}
	for _, target := range []string{"/v1/media/../../etc/passwd", "/v1/media/../posts"} {
		w := f.do(http.MethodGet, target, key)
		if w.Code != http.StatusNotFound || errorOf(t, w).Message != "There is no such endpoint." {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

// admitted tells of each caller that was let in.
type admitted struct {
	admission.Authenticator
	tell chan struct{}
}

func (a admitted) Admit(ctx context.Context, now time.Time, authorization []string, flight *authn.Flight) error {
	err := a.Authenticator.Admit(ctx, now, authorization, flight)
	a.tell <- struct{}{}
	return err
}

// onSocket is an API on a socket, by the real time: deadlines of connections are.
func onSocket(t *testing.T) (f *fixture, address string, in chan struct{}) {
	t.Helper()
	in = make(chan struct{}, 100)
	f = newFixture(t, nil, byRealTime(t), func(c *parts) {
		c.Library, c.Admission.Authenticator = smallLibrary(t), admitted{c.Admission.Authenticator, in}
	})
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, server.Listener.Addr().String(), in
}

// raw sends a header and then whatever write writes, and returns the answer.
func raw(t *testing.T, address, header string, write func(net.Conn)) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, header)
	check(t, err)
	written := make(chan struct{})
	go func() {
		defer close(written)
		write(conn)
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	check(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	conn.Close()
	<-written
	return response.StatusCode, string(text)
}

func header(target, key, contentType, length string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n%s\r\n\r\n", target, key, contentType, length)
}

// endless writes chunks until nobody reads them.
func endless(first, chunk string) func(net.Conn) {
	return func(conn net.Conn) {
		for next := first; ; next = chunk {
			if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(next), next); err != nil {
				return
			}
		}
	}
}

// endedBy writes something and then nothing more.
func endedBy(text string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
	}
}

func TestTruncatedAndEndlessBodies(t *testing.T) {
	f, address, _ := onSocket(t)
	key := f.newKey(t)
	const form = "multipart/form-data; boundary=b"
	opening := "--b\r\nContent-Disposition: " + fileNamed + "\r\n\r\n"
	for _, c := range []struct {
		reason, target, contentType, length string
		write                               func(net.Conn)
		status                              int
		rule                                string
	}{
		{"JSON that ends early", "/v1/posts", "application/json", "Content-Length: 100", endedBy(`{"targets":[`), 400, "body"},
		{"chunks that end early", "/v1/posts", "application/json", "Transfer-Encoding: chunked", endedBy("5\r\n{\"tex"), 400, "body"},
		{"chunks that are none", "/v1/posts", "application/json", "Transfer-Encoding: chunked", endedBy("x\r\n"), 400, "body"},
		{"JSON without end", "/v1/posts", "application/json", "Transfer-Encoding: chunked", endless(`{"text":"`, strings.Repeat("x", 10_000)), 413, "body.size"},
		{"JSON that is declared to be long", "/v1/posts", "application/json", "Content-Length: 999999999999", endedBy("{"), 413, "body.size"},
		{"a file that ends early", "/v1/media", form, "Content-Length: 1000", endedBy(opening + picture(t, 3)), 400, "media.parse_failed"},
		{"a file without end", "/v1/media", form, "Transfer-Encoding: chunked", endless(opening+"GIF89a\x01\x00\x01\x00\x00\x00\x00", strings.Repeat("x", 10_000)), 413, "media.size_max"},
		{"a file that is declared to be long", "/v1/media", form, "Content-Length: 999999999999", endedBy(opening), 413, "media.size_max"},
		{"a file that is declared to be a bit too long", "/v1/media", form, fmt.Sprint("Content-Length: ", 1000+formBytes+1), endedBy(opening), 413, "media.size_max"},
		{"a part's header without end", "/v1/media", form, "Transfer-Encoding: chunked", endless("--b\r\nContent-Disposition: ", strings.Repeat("x", 10_000)), 400, "media.part_header"},
		{"short lines without end before the first part", "/v1/media", form, "Transfer-Encoding: chunked", endless("x\r\n", strings.Repeat("x\r\n", 1000)), 400, "media.part_header"},
		{"a long line without end before the first part", "/v1/media", form, "Transfer-Encoding: chunked", endless("x", strings.Repeat("x", 10_000)), 400, "media.parse_failed"},
		{"parts without end", "/v1/media", form, "Transfer-Encoding: chunked", endless("--", "b\r\nContent-Disposition: form-data; name=other\r\n\r\nx\r\n--"), 400, "media.missing_file"},
		{"nothing but an opening without end", "/v1/media", form, "Transfer-Encoding: chunked", endless(opening, strings.Repeat("x", 10_000)), 413, "media.size_max"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			status, body := raw(t, address, header(c.target, key, c.contentType, c.length), c.write)
			if e := decode[endpoint.ErrorEnvelope](t, body).Error; status != c.status || e.Rule != c.rule {
				t.Errorf("%d %s, want %d %s", status, body, c.status, c.rule)
			}
		})
	}
	if n, files := f.rows(t, "posts", "media", "claims"), f.files(t); n != 0 || len(files) != 0 {
		t.Errorf("%d rows, files %v", n, files)
	}
}

// "Revocation is immediate": also for a key whose request does not come to its end.
func TestARevokedCallerWhoDoesNotSend(t *testing.T) {
	for _, c := range []struct{ target, contentType string }{
		{"/v1/posts", "application/json"}, {"/v1/media", "multipart/form-data; boundary=b"},
	} {
		f, address, in := onSocket(t)
		k, key := live(t)
		f.index.PutKey(k)
		status, body := raw(t, address, header(c.target, key, c.contentType, "Content-Length: 1000"), func(net.Conn) {
			<-in
			gone := k.DeepCopy()
			authntest.Deleting(gone)
			f.index.PutKey(gone)
		})
		if status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", c.target, status, body)
		}
	}
}

// What is taken is what the file is, whatever it is declared to be.
func TestTypesAreSniffed(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	s := multiparts(key, "b", part{`form-data; name="file"; filename="page.html"` + "\r\nContent-Type: text/html", picture(t, 9)})
	m := ok[medium](t, f, s)
	if m.ContentType != "image/png" || m.SizeBytes != int64(len(picture(t, 9))) || len(m.SHA256) != 64 {
		t.Errorf("%+v", m)
	}
	w := f.do(http.MethodGet, "/v1/media/"+m.ID+"/content", key)
	for name, want := range map[string]string{
		"Content-Type": "image/png", "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment", "Content-Length": itoa(len(picture(t, 9))),
	} {
		if got := w.Header()[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %s: browsers may make of it what they like", name, got, want)
		}
	}
}
