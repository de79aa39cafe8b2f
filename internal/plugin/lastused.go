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
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// envKey holds the key that the API is asked with: an argument would stand in the shell's history, and in the list of
// processes.
const envKey = "LMP_API_KEY"

const (
	askTimeout = 10 * time.Second
	maxAnswer  = 8 << 20 // some ten thousand keys
)

// lastUsed asks an API when the keys of the caller's organization were last used. The cluster does not know: an ApiKey
// that said it would be written with every request.
func (p *plugin) lastUsed(ctx context.Context, apiURL string) (map[types.UID]time.Time, error) {
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
		if err := ask(ctx, apiURL, key, cursor, &page); err != nil {
			return nil, fmt.Errorf("ask %s when keys were last used: %w", apiURL, err)
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

func ask(ctx context.Context, apiURL, key, cursor string, answer any) error {
	address := strings.TrimSuffix(apiURL, "/") + "/v1/api-keys"
	if cursor != "" {
		address += "?cursor=" + url.QueryEscape(cursor)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
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
