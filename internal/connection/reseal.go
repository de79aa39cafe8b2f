// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

const (
	resealEvery = 15 * time.Second
	// resealAtOnce is small: each row is a transaction of its own, so that nobody waits for more than one.
	resealAtOnce = 100
)

// sealedRows is what a Resealer needs of the database. *store.Work is one.
type sealedRows interface {
	VaultKeys(ctx context.Context) ([]store.VaultKeys, error)
	SealedByOthers(ctx context.Context, key uint32, after store.SealedRow, limit int) ([]store.SealedRow, error)
	Reseal(ctx context.Context, row store.SealedRow, key uint32, sealed []byte) (bool, error)
}

// ResealOptions are what a Resealer is made of. All are required.
type ResealOptions struct {
	Rows       sealedRows
	Vault      *vault.Vault
	Clock      clock.PassiveClock
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Resealer seals again, under the vault's primary key, what other keys have sealed, so that those can be retired. Every
// process has one. None leads: a row is replaced only as it was read, so two at once do the work twice and no harm, and
// one that is killed leaves rows that the next look finds.
type Resealer struct {
	o       ResealOptions
	waiting prometheus.Gauge
	closed  prometheus.Gauge
	done    prometheus.Counter
}

// NewResealer makes one. The error is that of the metrics.
func NewResealer(o ResealOptions) (*Resealer, error) {
	r := &Resealer{
		o: o,
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lmp_vault_reseal_waiting",
			Help: "Secrets of accounts that are to be sealed again under the vault's primary key, when last looked.",
		}),
		closed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lmp_vault_closed",
			Help: "Secrets of accounts that no key of the vault opens, when last looked.",
		}),
		done: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lmp_vault_resealed_total",
			Help: "Secrets of accounts that this process has sealed again under the vault's primary key.",
		}),
	}
	for _, c := range []prometheus.Collector{r.waiting, r.closed, r.done} {
		if err := o.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of sealing again: %w", err)
		}
	}
	return r, nil
}

// Run looks every so often until ctx ends.
func (r *Resealer) Run(ctx context.Context) {
	var complaint retry.Complaint
	for retry.Pause(ctx, resealEvery) {
		p, err := r.Once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if complaint.Due(err.Error(), r.o.Clock.Now()) {
				r.o.Logger.Warn("could not seal accounts' secrets again under the vault's primary key, trying on", "error", err)
			}
		case p.Closed > 0:
			if complaint.Due(fmt.Sprint(p.Closed), r.o.Clock.Now()) {
				r.o.Logger.Error("no key of the vault opens some accounts' secrets: put the missing key back, or connect the "+
					"accounts again", "secrets", p.Closed)
			}
		default:
			complaint.Clear()
		}
		if p.Resealed > 0 {
			r.o.Logger.Info("accounts' secrets are sealed again under the vault's primary key", "secrets", p.Resealed)
		}
	}
}

// Resealing is how far it has come. After a look that breaks off, the numbers are those of a part.
type Resealing struct {
	Resealed int // by this look
	Waiting  int // that are still to be sealed again
	Closed   int // that no key opens: they wait for their key, or for a person who connects the account again
	// Behind are processes that do not know the primary key yet. Nothing is sealed again until they do: they could not
	// open it.
	Behind []string
}

// Once seals again all that is to be. What it has done when it fails is done. `api vault reseal` calls it, too.
func (r *Resealer) Once(ctx context.Context) (p Resealing, err error) {
	keys, err := r.o.Vault.Keyset()
	if err != nil {
		return p, nil //nolint:nilerr // the vault has said so, and there is nothing to seal with
	}
	processes, err := r.o.Rows.VaultKeys(ctx)
	if err != nil {
		return p, err
	}
	p.Behind = Behind(processes, keys.Primary())
	// A look that breaks off has counted a part: the gauges keep what the last whole one has found.
	defer func() {
		if err == nil {
			r.waiting.Set(float64(p.Waiting))
			r.closed.Set(float64(p.Closed))
		}
	}()
	for after := (store.SealedRow{}); ; {
		rows, err := r.o.Rows.SealedByOthers(ctx, keys.Primary(), after, resealAtOnce)
		if err != nil || len(rows) == 0 {
			return p, err
		}
		for _, row := range rows {
			if err := r.reseal(ctx, row, &p); err != nil {
				return p, err
			}
		}
		// What stays as it is, closed or waiting, would come again for ever otherwise.
		after = rows[len(rows)-1]
	}
}

// reseal seals one row again, and counts what became of it.
func (r *Resealer) reseal(ctx context.Context, row store.SealedRow, p *Resealing) error {
	of := vault.Of{Organization: row.Organization, Account: row.AccountID, Name: row.Name}
	// It is opened also while nothing may be sealed yet, so that what no key opens is counted as that.
	text, err := r.o.Vault.Open(row.Sealed, of)
	switch {
	case err != nil:
		p.Closed++
		return nil //nolint:nilerr // one that does not open must not keep the others from it
	case len(p.Behind) > 0:
		p.Waiting++
		return nil
	}
	sealed, err := r.o.Vault.Seal(text, of)
	if err != nil {
		return err
	}
	key, _ := vault.KeyID(sealed)
	done, err := r.o.Rows.Reseal(ctx, row, key, sealed)
	switch {
	case err != nil:
		return err
	case done:
		p.Resealed++
		r.done.Inc()
	default: // it has changed since, perhaps under the old key
		p.Waiting++
	}
	return nil
}

// Behind are the processes that do not know a key of the vault. One without a keyset knows none, and so is among
// them: it may come to read an old file.
func Behind(processes []store.VaultKeys, key uint32) (behind []string) {
	for _, p := range processes {
		if !slices.Contains(p.Keys, key) {
			behind = append(behind, p.Process)
		}
	}
	return behind
}

// SealingWith are the processes whose first key, the one that seals, is a key of the vault. While there is one,
// the key can't be retired: nothing would open what such a process seals next. That it comes first is the doing of
// whoever writes the list: vaultKeys of cmd/api.
func SealingWith(processes []store.VaultKeys, key uint32) (sealing []string) {
	for _, p := range processes {
		if len(p.Keys) > 0 && p.Keys[0] == key {
			sealing = append(sealing, p.Process)
		}
	}
	return sealing
}
