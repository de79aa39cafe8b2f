// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
)

// known is a server that has a public URL, "" for none, and that Bluesky's servers can know.
func known(t *testing.T, publicURL string) *fixture {
	t.Helper()
	return newFixture(t, nil, func(c *parts) {
		c.PublicURL = publicURL
		p, _ := c.Platforms.Get(bluesky.Name)
		p.InBrowser, p.ClientMetadata = true, bluesky.New(bluesky.Config{Guard: outbound.NewGuard()}).ClientMetadata
		linkedin, _ := c.Platforms.Get("linkedin")
		c.Platforms = platform.List{p, linkedin}
	})
}

const metadataPath = "/v1/accounts/oauth/bluesky/client-metadata.json"

// TestClientMetadata: the document's own address is in it, to the byte: a platform compares them.
func TestClientMetadata(t *testing.T) {
	for _, base := range []string{ourOrigin, ourOrigin + "/below", ourOrigin + "/below/"} {
		f := known(t, base)
		w := f.do(http.MethodGet, metadataPath, "")
		checkStatus(t, base, w, http.StatusOK)
		var m struct {
			ClientID     string   `json:"client_id"`
			RedirectURIs []string `json:"redirect_uris"`
		}
		check(t, json.Unmarshal(w.Body.Bytes(), &m))
		want := map[bool]string{true: ourOrigin, false: ourOrigin + "/below"}[base == ourOrigin]
		if m.ClientID != want+metadataPath || m.RedirectURIs[0] != want+"/v1/accounts/oauth/bluesky/callback" {
			t.Errorf("%s: %s", base, w.Body)
		}
		if cache := w.Header().Get("Cache-Control"); cache != "public, max-age=300" {
			t.Errorf("%s: Cache-Control is %q", base, cache)
		}
	}
}

// TestNoClientMetadata: where there is none, whoever asks is told why.
func TestNoClientMetadata(t *testing.T) {
	for _, c := range []struct {
		publicURL, path string
		status          int
		code            string
	}{
		{"", metadataPath, http.StatusForbidden, platform.CodeNotEnabled},
		{"http://api.example.com", metadataPath, http.StatusForbidden, platform.CodeNotEnabled},
		{"https://10.0.0.1", metadataPath, http.StatusForbidden, platform.CodeNotEnabled},
		{ourOrigin, "/v1/accounts/oauth/linkedin/client-metadata.json", http.StatusNotFound, "not_found"},
		{ourOrigin, "/v1/accounts/oauth/none/client-metadata.json", http.StatusBadRequest, "validation_failed"},
	} {
		f := known(t, c.publicURL)
		w := f.do(http.MethodGet, c.path, "")
		if offered := f.offers()[0].Methods; slices.Contains(offered, platform.ByOAuth) != (c.publicURL == ourOrigin) {
			t.Errorf("%q: offered %v", c.publicURL, offered)
		}
		var answered struct{ Error struct{ Code string } }
		check(t, json.Unmarshal(w.Body.Bytes(), &answered))
		if w.Code != c.status || answered.Error.Code != c.code {
			t.Errorf("%q, %s: %d %s", c.publicURL, c.path, w.Code, w.Body)
		}
	}
}
