// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// vaultFlags are where the keys are that accounts' secrets are sealed with: a file, because a Secret that is mounted is
// renewed in it, and because a key on the command line would show in the list of processes.
type vaultFlags struct {
	keyset string // "": there is none
	kmsKey string // "": the keyset is in clear text

	kms vault.KMS // after check
}

// addFlags adds the API's. `api vault` has its file as an argument, and takes only the second one.
func (f *vaultFlags) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.keyset, "vault-keyset", "",
		"File of the keys that what opens accounts is sealed with; `api vault init` makes one. "+
			"It is read again when it changes. Default: none, and no account can be connected or published to.")
	f.addKMSFlag(flags)
}

func (f *vaultFlags) addKMSFlag(flags *pflag.FlagSet) {
	flags.StringVar(&f.kmsKey, "vault-kms-key", "",
		"URI of the key of a KMS that has encrypted the keyset, for programs that were built with a KMS; "+
			"this one has none. Default: the keyset is in clear text.")
}

// check finds the KMS, among those whose package a build links: each registers itself with Tink. None is linked here.
// The error is a usageError.
func (f *vaultFlags) check() error {
	if f.kmsKey == "" {
		return nil
	}
	client, err := registry.GetKMSClient(f.kmsKey)
	if err != nil {
		return usageError{fmt.Sprintf("--vault-kms-key: this program was built without a KMS for %q; "+
			"docs/accounts.md says how to build one with it", f.kmsKey)}
	}
	if f.kms, err = client.GetAEAD(f.kmsKey); err != nil {
		return usageError{"--vault-kms-key: " + err.Error()}
	}
	return nil
}

// newVault makes the vault of a process, and what seals again what older keys have sealed. Nothing is read yet: a
// keyset is compared with the database first. In the test environment no account has secrets, and no keyset is missed.
func (p *publishing) newVault(o options, registry prometheus.Registerer, logger *slog.Logger) (err error) {
	if o.environment == key.Test && o.vault.keyset == "" {
		logger = slog.New(slog.DiscardHandler)
	}
	// Needs has no context, because no request asks: the vault does, for itself. The store bounds how long it takes.
	if p.vault, err = vault.New(vault.Options{
		Path: o.vault.keyset, KMS: o.vault.kms, Clock: clock.RealClock{}, Logger: logger, Registerer: registry,
		Needs: func() (map[uint32]int, error) { return p.store.Work().SealedBy(context.Background()) },
	}); err != nil {
		return err
	}
	p.resealer, err = connection.NewResealer(connection.ResealOptions{
		Rows: p.store.Work(), Vault: p.vault, Clock: clock.RealClock{}, Logger: logger, Registerer: registry,
	})
	return err
}

// vaultKeys is what other processes are told of the vault: a key may seal only once all of them know it. The one that
// seals comes first, by which connection.SealingWith tells it from the others.
func (p *publishing) vaultKeys() []uint32 {
	k, err := p.vault.Keyset()
	if err != nil {
		// No key is known: until this process has a keyset, `api vault promote` is refused.
		return nil
	}
	keys := []uint32{k.Primary()}
	for _, id := range k.Keys() {
		if id != k.Primary() {
			keys = append(keys, id)
		}
	}
	return keys
}

// runVault follows the keyset's file once there is a database to compare it with, until ctx ends. Before it is
// migrated, nothing tells which keys its secrets need, and the keyset of another installation could not be told from
// the right one.
func (p *publishing) runVault(ctx context.Context) {
	select {
	case <-p.store.Migrated():
		together(p.vault.Run, p.resealer.Run)(ctx)
	case <-ctx.Done():
	}
}
