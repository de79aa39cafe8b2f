// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// heavyTexts stores as much as it can with one request: few characters that are very many bytes, which is refused, and
// as many bytes as are taken, of letters that a search has to look up. Each target has a text of its own, or they would
// be one post several times.
func (h *hostile) heavyTexts(ctx context.Context, _ *mathrand.Rand) {
	image, _ := uploadOf(pixel)
	var file struct{ ID string }
	if h.on(ctx, image).into(&file) != nil {
		return
	}
	// As many characters as a text may have, or fewer, and three times its bytes.
	if a := h.on(ctx, h.heavy(file.ID, strings.Repeat("\u20d0", 1_900))); a.ok() {
		h.leak("a text of many bytes", "was let in: "+a.String())
	}
	h.lands(heavyTexting, h.on(ctx, h.heavy(file.ID, strings.Repeat("\u0301", 995))).ok())
	_ = pass(ctx, 500*time.Millisecond)
}

// heavy is a call with as many posts as one may have, each with much text, and with these marks on each letter of that
// of its images, which are all one file. "" is no file.
func (h *hostile) heavy(file, marks string) call {
	media := []map[string]string{}
	for len(media) < 4 && file != "" {
		media = append(media, map[string]string{"kind": "image", "mediaId": file, "altText": strings.Repeat("e"+marks, 10)})
	}
	targets := make([]map[string]string, 12)
	for i := range targets {
		targets[i] = map[string]string{"accountId": h.accounts[2], "text": fmt.Sprint(i, strings.Repeat("É", 2_900))}
	}
	return jsonCall(http.MethodPost, "/v1/posts", map[string]any{
		"targets": targets, "media": media, "scheduledAt": time.Now().Add(time.Hour).UTC(),
	}).once(rand.Text())
}

// longPages asks for as much as it can be answered with, many times at once.
func (h *hostile) longPages(ctx context.Context, _ *mathrand.Rand) {
	for _, path := range []string{"/v1/media?limit=200", "/v1/accounts?limit=200", "/v1/api-keys?limit=200"} {
		h.on(ctx, jsonCall(http.MethodGet, path, nil))
	}
	h.burst(ctx, 120, func() { h.lands(pagingLong, h.on(ctx, jsonCall(http.MethodGet, "/v1/posts?limit=200", nil)).ok()) })
	_ = pass(ctx, time.Second)
}

// search sends far more searches at once than there are connections to the database, and each looks at all it may.
// There are more texts than that: a search that finds nothing in them has looked at all of them if it says that it is
// over.
func (h *hostile) search(ctx context.Context, dice *mathrand.Rand) {
	const enough = 3 << 20
	for h.stored < enough && ctx.Err() == nil {
		c := h.heavy("", "")
		if !h.on(ctx, c).ok() {
			return
		}
		h.stored += len(c.body)
	}
	var page struct{ NextCursor string }
	if a := h.on(ctx, jsonCall(http.MethodGet, "/v1/posts?q=nowhere", nil)); a.into(&page) == nil && page.NextCursor == "" {
		h.leak("a search", "has looked at all that there is")
	}
	marks := strings.Repeat("%CC%81", 1+dice.IntN(200))
	h.burst(ctx, 300, func() {
		h.lands(searching, h.on(ctx, jsonCall(http.MethodGet, "/v1/posts?limit=200&q=e"+marks, nil)).ok())
	})
	_ = pass(ctx, 5*time.Second)
}

// newGreat writes files of as much of one letter as is sent at once, one for each letter that somebody sends so often.
func newGreat() (dir string) {
	GinkgoHelper()
	dir = GinkgoT().TempDir()
	for _, letter := range "x ," {
		content := bytes.Repeat([]byte(string(letter)), 9<<20)
		Expect(os.WriteFile(filepath.Join(dir, string(letter)), content, 0o600)).To(Succeed())
	}
	return dir
}

// pour sends very many of a letter, as long as the other side takes them. The kernel does, from a file: the race
// detector looks at all memory that is sent, and keeps the machine busier with gigabytes of it than all that the
// processes have to do with them. The neighbour would wait for that, and not for what the tenant does to them.
func (h *hostile) pour(w io.Writer, letter string, length int64) {
	file, err := os.Open(filepath.Join(h.great, letter))
	if err == nil {
		_, _ = io.CopyN(w, file, length)
		_ = file.Close()
	}
}

// raw opens a connection to the test API, writes, and keeps it open for a while.
func (h *hostile) raw(ctx context.Context, lasts time.Duration, write func(io.Writer)) {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(h.test.url, "http://"))
	if err != nil {
		return
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(lasts + time.Second))
	write(connection)
	_ = pass(ctx, lasts)
}

func (h *hostile) several(n int, do func()) {
	var group sync.WaitGroup
	for range n {
		group.Go(do)
	}
	group.Wait()
}

// burst is several in turn.
func (h *hostile) burst(ctx context.Context, n int, do func()) {
	h.inTurn(ctx, func() { h.several(n, do) })
}

// inTurn does what keeps the machine busy, of which there is one at a time, whatever the attack: side by side they
// would show how much this machine can do, and not what one tenant can do to another.
func (h *hostile) inTurn(ctx context.Context, do func()) {
	h.bursts.Lock()
	defer h.bursts.Unlock()
	if ctx.Err() == nil {
		do()
	}
}

func (h *hostile) unfinishedHeaders(ctx context.Context, _ *mathrand.Rand) {
	h.several(400, func() {
		h.raw(ctx, 2*time.Second, func(w io.Writer) {
			_, _ = io.WriteString(w, "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nX: ")
			h.pour(w, "x", 1<<20)
		})
	})
}

// uploading begins an upload by hand, up to its payload.
func (h *hostile) uploading(w io.Writer, length int) {
	_, _ = fmt.Fprintf(w, "POST /v1/media HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: %s\r\n"+
		"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n--b\r\n", h.key, rand.Text(), length)
}

func (h *hostile) partHeaders(ctx context.Context, _ *mathrand.Rand) {
	h.several(60, func() {
		h.raw(ctx, 2*time.Second, func(w io.Writer) {
			h.uploading(w, 50<<20)
			_, _ = io.WriteString(w, "Content-Disposition: form-data; name=\"file\"; filename=\"x\"\r\nX: ")
			h.pour(w, "x", 9<<20)
		})
	})
}

// slowUploads begins files and bodies, most of which are there, and never ends them: each is held for as long.
func (h *hostile) slowUploads(ctx context.Context, _ *mathrand.Rand) {
	h.burst(ctx, 300, func() {
		h.raw(ctx, 2*time.Second, func(w io.Writer) {
			h.uploading(w, 50<<20)
			_, _ = io.WriteString(w, "Content-Disposition: form-data; name=\"file\"; filename=\"x.png\"\r\nContent-Type: image/png\r\n\r\n")
			_, _ = w.Write(pixel)
		})
	})
	h.burst(ctx, 400, func() {
		h.raw(ctx, 2*time.Second, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "POST /v1/posts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: %s\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", h.key, rand.Text(), 1<<20)
			h.pour(w, " ", 900_000)
		})
	})
	_ = pass(ctx, 2*time.Second)
}

// forwarded sends addresses, which a server looks at when it does not know the key: as many as fit, and far more.
func (h *hostile) forwarded(ctx context.Context, dice *mathrand.Rand) {
	length := []int64{15 << 10, 900 << 10}[dice.IntN(2)]
	h.burst(ctx, 60, func() {
		h.raw(ctx, 100*time.Millisecond, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-Forwarded-For: ",
				typo(h.key))
			h.pour(w, ",", length)
			_, _ = io.WriteString(w, "\r\n\r\n")
		})
	})
	_ = pass(ctx, time.Second)
}

// guess sends wrong keys from the neighbour's address: more than an address may, whatever other address it names.
func (h *hostile) guess(ctx context.Context, dice *mathrand.Rand) {
	for range 20 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.test.url+"/v1/whoami", http.NoBody)
		if err != nil {
			return
		}
		request.Header.Set("Authorization", "Bearer "+typo(h.key))
		request.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.%d.%d, 10.9.%d.%d", dice.IntN(256), dice.IntN(256), dice.IntN(256), dice.IntN(256)))
		response, err := httpClient.Do(request)
		if err != nil {
			continue
		}
		response.Body.Close()
		h.lands(guessing, response.StatusCode == http.StatusTooManyRequests)
	}
}

// misplace sends the tenant's own key where names and values belong, in the ways that programs write it: what is sent
// there may be logged, sent back, and kept with an answer.
func (h *hostile) misplace(ctx context.Context, dice *mathrand.Rand) {
	forms := []string{
		h.key, hex.EncodeToString([]byte(h.key)), base64.StdEncoding.EncodeToString([]byte(h.key)),
		strings.Trim(fmt.Sprintf("%d", []byte(h.key)), "[]"),
	}
	form := forms[dice.IntN(len(forms))]
	calls := []call{
		jsonCall(http.MethodGet, "/v1/posts?"+url.QueryEscape(form)+"=1", nil),
		jsonCall(http.MethodGet, "/v1/posts?status="+url.QueryEscape(form), nil),
		jsonCall(http.MethodGet, "/v1/posts/"+url.PathEscape(form), nil),
		jsonCall(http.MethodPost, "/v1/posts", map[string]any{form: 1}).once(h.key + rand.Text()),
		jsonCall(http.MethodPost, "/v1/posts", map[string]any{"targets": []any{map[string]any{form: 1}}}).once(rand.Text()),
		jsonCall(http.MethodPost, "/v1/posts", map[string]any{"targets": []any{map[string]any{"platform": form}}}).once(rand.Text()),
	}
	for _, c := range calls {
		a := h.on(ctx, c)
		if len(newNeedles(h.key).in(a.body)) > 0 {
			h.leak("a key that is sent back", a.String())
		}
	}
}

func (h *hostile) slowPosts(ctx context.Context, _ *mathrand.Rand) {
	h.lands(postingSlowly, h.on(ctx, h.writing("sandbox:slow "+rand.Text(), time.Now().Add(3*time.Second), h.busy...)).ok())
	_ = pass(ctx, time.Second)
}

// odd are bodies that are small, and may be made to be large.
var odd = [][]byte{
	bytes.Repeat([]byte("["), 500_000), []byte(`{"text":"` + strings.Repeat(`\u0000`, 150_000) + `"}`),
	[]byte(strings.Repeat(" ", 900_000) + "{}"), []byte(`{"` + strings.Repeat("k", 900_000) + `":1}`),
	[]byte(`{"targets":[` + strings.Repeat(`{},`, 300_000) + `{}]}`),
}

// oddBodies are sent many at once.
func (h *hostile) oddBodies(ctx context.Context, dice *mathrand.Rand) {
	send := func(body []byte) {
		c := call{method: http.MethodPost, path: "/v1/posts", contentType: "application/json", body: body}
		h.on(ctx, c.once(rand.Text()))
	}
	send(odd[dice.IntN(len(odd))])
	h.burst(ctx, 100, func() { send(odd[len(odd)-1]) })
	_ = pass(ctx, 2*time.Second)
}

// guessIDs asks for what is the neighbour's, under its right id, and has to be told what it is told of an id that never
// was, to the byte.
func (h *hostile) guessIDs(ctx context.Context, dice *mathrand.Rand) {
	h.victim.mu.Lock()
	posts := slices.Clone(h.victim.accepted)
	h.victim.mu.Unlock()
	if len(posts) == 0 {
		return
	}
	post, account := posts[dice.IntN(len(posts))], h.victim.accounts[0]
	for _, c := range []struct {
		id   string
		call func(id string) call
	}{
		{post, func(id string) call { return jsonCall(http.MethodGet, "/v1/posts/"+id, nil) }},
		{post, func(id string) call {
			return jsonCall(http.MethodPatch, "/v1/posts/"+id, map[string]string{"text": "x"})
		}},
		{post, func(id string) call { return jsonCall(http.MethodPost, "/v1/posts/"+id+"/retry", nil) }},
		{post, func(id string) call { return jsonCall(http.MethodDelete, "/v1/posts/"+id, nil) }},
		{account, func(id string) call { return jsonCall(http.MethodGet, "/v1/accounts/"+id, nil) }},
		{account, func(id string) call { return jsonCall(http.MethodGet, "/v1/posts?accountId="+id, nil) }},
		{account, func(id string) call {
			return jsonCall(http.MethodPost, "/v1/posts", map[string]any{
				"targets": []map[string]string{{"accountId": id}}, "text": "as somebody else", "publishNow": true,
			})
		}},
	} {
		const others = "0123456789abcdef"
		at := len(c.id) - 1 - dice.IntN(8)
		never := c.id[:at] + string(others[(strings.IndexByte(others, c.id[at])+1)%len(others)]) + c.id[at+1:]
		is, was := h.told(ctx, c.call(c.id), c.id), h.told(ctx, c.call(never), never)
		if is != was && is != "" && was != "" {
			h.leak(c.call("ID").method+" "+c.call("ID").path, is+"\nand of what never was: "+was)
		}
	}
}

// told is what the tenant is answered about an id, without what differs from one answer to the next. "" is nothing: no
// answer, or that it has too much under way.
func (h *hostile) told(ctx context.Context, c call, id string) string {
	if c.method != http.MethodGet {
		c = c.once(rand.Text())
	}
	a := h.on(ctx, c)
	if a.status == 0 || a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable {
		return ""
	}
	return requestID.ReplaceAllString(strings.ReplaceAll(a.String(), id, "ID"), "")
}

var requestID = regexp.MustCompile(`"requestId":"[^"]*"`)
