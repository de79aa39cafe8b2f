// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
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
	for _, marks := range []int{5_000, 995} {
		media := make([]map[string]string, 4)
		for i := range media {
			alt := strings.Repeat("e"+strings.Repeat("\u0301", marks), 10)
			media[i] = map[string]string{"kind": "image", "mediaId": file.ID, "altText": alt}
		}
		targets := make([]map[string]string, 12)
		for i := range targets {
			targets[i] = map[string]string{"accountId": h.accounts[2], "text": fmt.Sprint(i, strings.Repeat("É", 2_900))}
		}
		a := h.on(ctx, jsonCall(http.MethodPost, "/v1/posts", map[string]any{
			"targets": targets, "media": media, "scheduledAt": time.Now().Add(time.Hour).UTC(),
		}).once(rand.Text()))
		h.lands(heavyTexting, a.ok())
	}
	_ = pass(ctx, 500*time.Millisecond)
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
func (h *hostile) search(ctx context.Context, dice *mathrand.Rand) {
	marks := strings.Repeat("%CC%81", 1+dice.IntN(200))
	h.burst(ctx, 300, func() {
		h.lands(searching, h.on(ctx, jsonCall(http.MethodGet, "/v1/posts?limit=200&q=e"+marks, nil)).ok())
	})
	_ = pass(ctx, 5*time.Second)
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

// burst is several, of which there is one at a time, whatever the attack: side by side they would show how much this
// machine can do, and not what one tenant can do to another.
func (h *hostile) burst(ctx context.Context, n int, do func()) {
	h.bursts.Lock()
	defer h.bursts.Unlock()
	if ctx.Err() == nil {
		h.several(n, do)
	}
}

func (h *hostile) unfinishedHeaders(ctx context.Context, _ *mathrand.Rand) {
	h.several(400, func() {
		h.raw(ctx, 2*time.Second, func(w io.Writer) {
			_, _ = io.WriteString(w, "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1<<20))
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
			_, _ = io.WriteString(w, "Content-Disposition: form-data; name=\"file\"; filename=\"x\"\r\nX: "+strings.Repeat("x", 9<<20))
		})
	})
}

// slowUploads begins files and bodies, most of which are there, and never ends them: each is held for as long.
func (h *hostile) slowUploads(ctx context.Context, _ *mathrand.Rand) {
	most := strings.Repeat(" ", 900_000)
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
				"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", h.key, rand.Text(), 1<<20, most)
		})
	})
	_ = pass(ctx, 2*time.Second)
}

// forwarded sends addresses, which a server looks at when it does not know the key: as many as fit, and far more.
func (h *hostile) forwarded(ctx context.Context, dice *mathrand.Rand) {
	commas := strings.Repeat(",", []int{15 << 10, 900 << 10}[dice.IntN(2)])
	h.burst(ctx, 60, func() {
		h.raw(ctx, 100*time.Millisecond, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-Forwarded-For: %s\r\n\r\n",
				typo(h.key), commas)
		})
	})
	_ = pass(ctx, time.Second)
}

// guess sends wrong keys from the neighbour's address: more than an address may.
func (h *hostile) guess(ctx context.Context, _ *mathrand.Rand) {
	for range 20 {
		_, _, _ = get(ctx, h.test.url+"/v1/whoami", "Bearer "+typo(h.key))
	}
}

func (h *hostile) slowPosts(ctx context.Context, _ *mathrand.Rand) {
	h.lands(postingSlowly, h.on(ctx, h.writing("sandbox:slow "+rand.Text(), time.Now().Add(3*time.Second), h.busy...)).ok())
	_ = pass(ctx, time.Second)
}

// oddBodies are sent many at once: each is small, and may be made to be large.
func (h *hostile) oddBodies(ctx context.Context, dice *mathrand.Rand) {
	bodies := []string{
		strings.Repeat("[", 500_000), `{"text":"` + strings.Repeat(`\u0000`, 150_000) + `"}`,
		strings.Repeat(" ", 900_000) + "{}", `{"` + strings.Repeat("k", 900_000) + `":1}`,
		`{"targets":[` + strings.Repeat(`{},`, 300_000) + `{}]}`,
	}
	send := func(body string) {
		c := call{method: http.MethodPost, path: "/v1/posts", contentType: "application/json", body: []byte(body)}
		h.on(ctx, c.once(rand.Text()))
	}
	send(bodies[dice.IntN(len(bodies))])
	h.burst(ctx, 100, func() { send(bodies[len(bodies)-1]) })
	_ = pass(ctx, 2*time.Second)
}

// guessIDs asks for what is the neighbour's, under its right id.
func (h *hostile) guessIDs(ctx context.Context, dice *mathrand.Rand) {
	h.victim.mu.Lock()
	ids := slices.Clone(h.victim.accepted)
	h.victim.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	id := ids[dice.IntN(len(ids))]
	for _, c := range []call{
		jsonCall(http.MethodGet, "/v1/posts/"+id, nil),
		jsonCall(http.MethodPost, "/v1/posts/"+id+"/retry", nil).once(rand.Text()),
		jsonCall(http.MethodDelete, "/v1/posts/"+id, nil).once(rand.Text()),
		jsonCall(http.MethodPost, "/v1/posts", map[string]any{
			"targets": []map[string]string{{"accountId": h.victim.accounts[0]}}, "text": "as somebody else",
		}).once(rand.Text()),
	} {
		if a := h.on(ctx, c); a.ok() {
			h.leak(c.method+" "+c.path, a.String())
		}
	}
}
