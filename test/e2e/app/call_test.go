// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The figures of the end-to-end tests are this program's: it must count each failure, and name it.
func TestOnce(t *testing.T) {
	const key = "the-key"
	whoami := httptest.NewServer(whoami("pod", key))
	defer whoami.Close()
	torn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10") // and then nothing
	}))
	defer torn.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, test := range []struct {
		reason, url, key string
		want             int
		counts           map[string]int
		unwanted         int
	}{
		{"the key is right", whoami.URL, key, 200, map[string]int{"200": 1}, 0},
		{"the key is wrong", whoami.URL, "another", 200, map[string]int{"401": 1}, 1},
		{"the key is wrong, as it should be", whoami.URL, "another", 401, map[string]int{"401": 1}, 0},
		{"an answer that ends too early is none", torn.URL, key, 200, map[string]int{"error": 1}, 1},
		{"nobody is there", gone.URL, key, 200, map[string]int{"error": 1}, 1},
	} {
		var output bytes.Buffer
		c := &caller{
			url: test.url, key: test.key, want: test.want, client: http.DefaultClient, began: time.Now(),
			counts: map[string]int{}, output: json.NewEncoder(&output),
		}
		c.once()
		if diff := cmp.Diff(test.counts, c.counts); diff != "" || c.unwanted != test.unwanted {
			t.Errorf("%s: %d unwanted, counts (-want +got):\n%s", test.reason, c.unwanted, diff)
		}
		if lines := strings.Count(output.String(), "\n"); lines != test.unwanted || strings.Contains(output.String(), key) {
			t.Errorf("%s: prints %s", test.reason, &output)
		}
	}
}
