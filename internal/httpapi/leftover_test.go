// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// Whoever sends all of a request before they read, as urllib does, is told why it was refused: on every route that
// takes a body, for every refusal that needs no body.
func TestRefusalsOfWhoeverSendsAllFirst(t *testing.T) {
	f := newFixture(t, nil, byRealTime(t), func(c *parts) { c.Library = smallLibrary(t) })
	address := served(t, f)
	good := f.newKey(t)
	body := strings.NewReader(strings.Repeat("x", 24<<20))
	for i := range routes {
		route := &routes[i]
		if !route.Changes() {
			continue
		}
		target := strings.NewReplacer("{platform}", "bluesky", "{id}", "00000000-0000-4000-8000-000000000000").Replace(route.Path)
		contentType := "application/json"
		tooLarge := http.StatusRequestEntityTooLarge
		if route.Takes() == nil && target == "/v1/media" {
			contentType = "multipart/form-data; boundary=b"
		}
		for _, c := range []struct {
			reason, method, target, key, more string
			status                            int
		}{
			{"a bad key", route.Method, target, "lmp_live_wrong", "", http.StatusUnauthorized},
			{"no such path", route.Method, target + "/none/none", good, "", http.StatusNotFound},
			{"no such method", "PUT", target, good, "", http.StatusMethodNotAllowed},
			{"too large", route.Method, target, good, "", tooLarge},
			{"a bad Idempotency-Key", route.Method, target, good, "Idempotency-Key: \"\r\n", 0},
		} {
			conn, err := net.Dial("tcp", address)
			check(t, err)
			check(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n",
				c.method, c.target, c.key, contentType, c.more, body.Size())
			check(t, err)
			_, _ = body.Seek(0, io.SeekStart)
			if _, err := io.Copy(conn, body); err != nil {
				t.Errorf("%s %s, %s: the connection broke: %v", c.method, c.target, c.reason, err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("%s %s, %s: no answer: %v", c.method, c.target, c.reason, err)
				conn.Close()
				continue
			}
			text, err := io.ReadAll(response.Body)
			check(t, err)
			if e := decode[endpoint.ErrorEnvelope](t, string(text)).Error; e.Message == "" || c.status != 0 && response.StatusCode != c.status {
				t.Errorf("%s %s, %s: %d %s, want %d", c.method, c.target, c.reason, response.StatusCode, text, c.status)
			}
			response.Body.Close()
			conn.Close()
		}
	}
}
