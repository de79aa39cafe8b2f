// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// envKey holds the key that the API is asked with: an argument would stand in the shell's history, and in the list of
// processes.
const envKey = "LMP_API_KEY"

const (
	// askTimeout is for all pages together: it also ends an API that always has another one.
	askTimeout = 10 * time.Second
	// maxAnswer bounds one page, which may come from anything that listens there. What is cut is no JSON, and an error.
	maxAnswer = 8 << 20 // some ten thousand keys
)

// lastUsed asks an API when the keys of the caller's organization were last used. The cluster does not know: an ApiKey
// that said it would be written with every request. It is asked as any client of the API asks, page by page, and sees
// what the key sees: one organization, or one Profile, and uses in its own environment. Keys that were never used are
// not in the answer. The address is checked as that which a token is sent to.
func (p *plugin) lastUsed(ctx context.Context, apiURL string) (map[types.UID]time.Time, error) {
	api, err := safeAddress(apiURL, "key")
	if err != nil {
		return nil, err
	}
	key := p.Getenv(envKey)
	if key == "" {
		return nil, usage("--api-url asks with a key: set %s to one of this organization", envKey)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	used, cursor := map[types.UID]time.Time{}, ""
	for {
		var page struct {
			Data []struct {
				ID         types.UID  `json:"id"`
				LastUsedAt *time.Time `json:"lastUsedAt"`
			} `json:"data"`
			NextCursor string `json:"nextCursor"`
		}
		if err := ask(ctx, api, key, cursor, &page); err != nil {
			return nil, fmt.Errorf("ask %s when keys were last used: %w", api, err)
		}
		for _, k := range page.Data {
			if k.LastUsedAt != nil {
				used[k.ID] = *k.LastUsedAt
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return used, nil
		}
	}
}

// ask gets one page of the API's keys. Its errors have the status and nothing of the body, which may be of anything
// that listens there; and never the key.
func ask(ctx context.Context, api *url.URL, key, cursor string, answer any) error {
	address := api.JoinPath("v1", "api-keys")
	if cursor != "" {
		address.RawQuery = url.Values{"cursor": {cursor}}.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	// A redirect would take the key elsewhere.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %s", response.Status)
	}
	return json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer)
}
