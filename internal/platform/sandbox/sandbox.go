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

// WarningNoWrite is the code of the warning that every post of the sandbox carries.
const WarningNoWrite = "sandbox.no_platform_write"

// Platform is a platform that is only played.
type Platform struct {
	limits platform.Limits
	newID  func() string
	clock  clock.WithTicker
}

// New returns the sandbox of one of platform.Names. newID gives a string that it has never given before.
func New(name platform.Name, newID func() string, clock clock.WithTicker) *Platform {
	limits, _ := platform.LimitsOf(name)
	return &Platform{limits: limits, newID: newID, clock: clock}
}

// Preflight checks what the real platform would refuse, and then the magic texts.
func (p *Platform) Preflight(c platform.Content) *platform.Failure {
	if f := p.limits.Check(c); f != nil {
		return f
	}
	if strings.Contains(c.Text, preflightFailed.Text) {
		f := *preflightFailed.failure
		return &f
	}
	return nil
}

// Publish makes up a receipt, unless a magic text says otherwise. Media are opened, so that one that has vanished is
// noticed.
func (p *Platform) Publish(ctx context.Context, _ platform.Account, c platform.Content) (platform.Receipt, error) {
	if strings.Contains(c.Text, slow.Text) {
		if err := p.wait(ctx, slowFor); err != nil {
			return platform.Receipt{}, err
		}
	}
	for _, m := range Magic {
		if m.failure != nil && strings.Contains(c.Text, m.Text) {
			f := *m.failure
			return platform.Receipt{}, &f
		}
	}
	for _, m := range c.Media {
		r, err := m.Open(ctx)
		if err != nil {
			return platform.Receipt{}, fmt.Errorf("open medium %s: %w", m.ID, err)
		}
		_ = r.Close() // nothing was read
	}
	r := platform.Receipt{Warnings: []platform.Warning{{
		Code:    WarningNoWrite,
		Message: "This is the test environment: nothing was sent to " + p.limits.Title + ".",
	}}}
	r.URI, r.CID = p.made()
	if c.FirstComment != "" {
		r.FirstCommentURI, r.FirstCommentCID = p.made()
	}
	return r, nil
}

// made returns where a post would be.
func (p *Platform) made() (uri, cid string) {
	sum := sha256.Sum256([]byte(p.newID()))
	cid = "sandbox_" + hex.EncodeToString(sum[:16])
	return "https://sandbox.letmepost.dev/" + string(p.limits.Platform) + "/" + cid, cid
}

func (p *Platform) wait(ctx context.Context, d time.Duration) error {
	timer := p.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}
