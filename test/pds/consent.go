// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pds

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/letmepost/letmepost-operator/test/browser"
	"github.com/letmepost/letmepost-operator/test/nodejs"
)

// Answer is what the account's owner says to somebody who wants access.
type Answer string

// The answers, which are the buttons of the server's page.
const (
	Allow Answer = "Authorize"
	Deny  Answer = "Deny access"
)

// Consent goes to a page of the server that asks for access to an account, as its owner: in the tab of a browser that
// nobody has signed in with, whose context this gets. It returns when the button is pressed; where the browser goes
// then is for the caller to see.
func (a *Account) Consent(tab context.Context, address string, with Answer) error {
	err := chromedp.Do(tab, chromedp.Navigate(address))
	if err != nil {
		return fmt.Errorf("go to the page: %w", err)
	}
	within, cancel := context.WithTimeout(tab, 30*time.Second)
	defer cancel()
	button := chromedp.Search(fmt.Sprintf("//button[normalize-space()=%q]", string(with)))
	if err := chromedp.Do(within,
		chromedp.SendKeys(chromedp.CSS("input[type=password]"), a.Password+"\r"), chromedp.Click(button),
	); err != nil {
		text, _ := browser.Read[string](tab, `document.body.innerText`)
		return fmt.Errorf("press %q: %w; the page says: %s", with, err, text)
	}
	return nil
}

// Expired is an access token of the server's with another end, signed as the server does in tests.
func (s *Server) Expired(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("a token of %d parts", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	claims := map[string]any{}
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		return "", err
	}
	claims["iat"], claims["exp"] = time.Now().Add(-3*time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	if text, err = json.Marshal(claims); err != nil {
		return "", err
	}
	return s.sign(parts[0] + "." + base64.RawURLEncoding.EncodeToString(text)), nil
}

// checkClientMetadata reads a document as the server does that fetches it.
const checkClientMetadata = `
const { oauthClientMetadataSchema, isOAuthClientIdDiscoverable } = require('@atproto/oauth-types')
const chunks = []
process.stdin.on('data', (c) => chunks.push(c)).on('end', () => {
  const metadata = oauthClientMetadataSchema.parse(JSON.parse(Buffer.concat(chunks)))
  if (!isOAuthClientIdDiscoverable(metadata.client_id)) throw new Error('nobody finds ' + metadata.client_id)
})`

// CheckClientMetadata says what is wrong with the metadata of a client. A server on loopback fetches none.
func CheckClientMetadata(ctx context.Context, document []byte) error {
	folder, err := nodejs.Home("pds")
	if err != nil {
		return err
	}
	node := exec.CommandContext(ctx, "node", "-e", checkClientMetadata)
	node.Dir, node.Stdin = folder, bytes.NewReader(document)
	if said, err := node.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}
