// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sandbox plays the part of every platform in the test environment: accounts are connected with any
// credentials, posts are checked like real ones, and nothing reaches a platform.
package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// WarningNoWrite is the code of the warning that every post of the sandbox carries. Clients branch on it, so it stays.
const WarningNoWrite = "sandbox.no_platform_write"

// player plays one platform. It is that platform's Connector and Publisher. It keeps no state, so any number of posts
// may go out at once, and a restart changes nothing.
type player struct {
	platform platform.Platform // as it is played
	newID    func() string
	clock    clock.WithTicker
}

// Of returns p with everything played that would talk to the platform. What can be known without talking to it, its
// limits above all, stays as it is: what the sandbox takes, the platform would. newID gives a string that it has never
// given before. The name stays too: clients, rules and stored posts are the same as with the platform.
func Of(p platform.Platform, newID func() string, clock clock.WithTicker) platform.Platform {
	p.Fields = fieldsOf(p.Fields)
	s := &player{platform: p, newID: newID, clock: clock}
	p.Connector, p.Publisher = s, s
	// Nothing is kept: no secret, that could expire, and no post, that could be asked about. Nor is there anything to be
	// known of a platform that is not there.
	// What else a platform's New sets, such as InBrowser, is not there: those that are played were never made by it.
	p.Refresher, p.Revoker, p.Asker, p.Looker, p.Notices = nil, nil, nil, nil, nil
	return p
}

// OfAll returns Of of each platform. All of them can be tried, also those that this program has no connector for yet.
func OfAll(l platform.List, newID func() string, clock clock.WithTicker) platform.List {
	played := make(platform.List, len(l))
	for i, p := range l {
		played[i] = Of(p, newID, clock)
	}
	return played
}

// Preflight checks what the real platform would refuse, and then the magic texts.
func (s *player) Preflight(c platform.Content) *platform.Failure {
	// The real rules first: a test that would fail on the platform is told so, whatever its magic text asks for.
	if f := s.platform.Check(c); f != nil {
		return f
	}
	if strings.Contains(c.Text, preflightFailed.Text) {
		// A copy: the magic text is shared by all posts, and a failure belongs to whoever gets it.
		f := preflightFailed.failure
		return &f
	}
	return nil
}

// Publish makes up a receipt, unless a magic text says otherwise. Credentials are not asked for. Media are opened, so
// that one that has vanished is noticed here as it would be on a platform. An error is what a mistake in a platform's
// part would be: package publish takes the outcome for unknown.
func (s *player) Publish(ctx context.Context, p platform.Publication) (platform.Outcome, error) {
	// First, so that it goes together with the others: a failure comes as late as a success, or not at all if the attempt
	// ends before.
	if strings.Contains(p.Content.Text, slow.Text) {
		if err := s.wait(ctx, slowFor); err != nil {
			return nil, err
		}
	}
	// In the order of Magic and not of the text, so that the documentation can say which one counts. Before media are
	// opened: a test of failures needs none.
	for _, m := range Magic {
		if m.outcome != nil && strings.Contains(p.Content.Text, m.Text) {
			return m.outcome(m.failure), nil
		}
	}
	for _, m := range p.Content.Media {
		r, err := m.Open(ctx)
		if err != nil {
			return nil, fmt.Errorf("open medium %s: %w", m.ID, err)
		}
		_ = r.Close() // nothing was read
	}
	r := platform.Receipt{Warnings: []platform.Warning{{
		Code:    WarningNoWrite,
		Message: "This is the test environment: nothing was sent to " + s.platform.Title + ".",
	}}}
	// The warning is with every post, so that nobody takes a test for a publication, whatever shows it.
	r.URI, r.CID = s.newRecord()
	if p.Content.FirstComment != "" {
		r.FirstCommentURI, r.FirstCommentCID = s.newRecord()
	}
	return platform.Published{Receipt: r}, nil
}

// newRecord makes up where a post would be. It looks like what a platform gives, and leads nowhere. newID makes each
// another one, also for the same text.
func (s *player) newRecord() (uri, cid string) {
	sum := sha256.Sum256([]byte(s.newID()))
	cid = "sandbox_" + hex.EncodeToString(sum[:16])
	return "https://sandbox.letmepost.dev/" + string(s.platform.Name) + "/" + cid, cid
}

// wait is retry.Pause on a clock that tests may step. The error is ctx's, so a slow post that is cut looks as it does
// with a slow platform.
func (s *player) wait(ctx context.Context, d time.Duration) error {
	timer := s.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}
