// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// revoking is a platform that says what it likes to those who give their access back.
type revoking struct {
	*rotating
	answer error
}

func (r revoking) Revoke(context.Context, platform.Account, platform.Secrets) error { return r.answer }

// TestDisconnectedAreCounted: each account that goes is counted once, by what became of the access at its platform.
func TestDisconnectedAreCounted(t *testing.T) {
	for outcome, c := range map[string]struct {
		to      platform.Refresher
		secrets platform.Secrets
	}{
		"revoked":    {revoking{newRotating(), nil}, first()},
		"refused":    {revoking{newRotating(), errors.New("no")}, first()},
		"impossible": {newRotating(), first()},
		// There is nothing to give back by, whatever the platform would say.
		"impossible ": {revoking{newRotating(), nil}, nil},
	} {
		p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), c.to)
		view := p.db.View(admitted(t))
		a := p.connect(t, view, c.secrets)
		done := p.Disconnecting(t.Context(), a.ID)
		if err := view.Write(t.Context(), func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) }); err != nil {
			t.Fatal(err)
		}
		done()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		p.Run(ended) // which tells those that are left
		want := "# HELP lmp_accounts_disconnected_total Accounts that were disconnected, by platform and what became of the " +
			"access there: revoked; refused, also by a platform that is away; impossible to take back.\n" +
			"# TYPE lmp_accounts_disconnected_total counter\n"
		for _, known := range []string{"impossible", "refused", "revoked"} {
			n := "0"
			if known == strings.TrimSpace(outcome) {
				n = "1"
			}
			want += `lmp_accounts_disconnected_total{outcome="` + known + `",platform="bluesky"} ` + n + "\n"
		}
		if err := testutil.GatherAndCompare(p.registry, strings.NewReader(want), "lmp_accounts_disconnected_total"); err != nil {
			t.Errorf("%s: %v", outcome, err)
		}
	}
}
