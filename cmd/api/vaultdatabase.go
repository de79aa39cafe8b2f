// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// keyUse is what a database says of the vault's keys. It holds for the moment at which it was read, so whoever
// decides by it writes right after. processes are those that live; one that has no keyset is among them, and knows no
// key. rows counts secrets by the key that has sealed them, also under keys that the keyset lacks.
type keyUse struct {
	work      *store.Work
	processes []store.VaultKeys
	rows      map[uint32]int
}

// mayPromote refuses a key that some process does not know: it could not open what the others seal.
func (d *keyUse) mayPromote(id uint32) error {
	if behind := connection.Behind(d.processes, id); len(behind) > 0 {
		return fmt.Errorf("refused: %d of %d processes of the API do not know key %d yet, such as %s; "+
			"a Secret takes up to two minutes to reach them, and each needs --vault-keyset",
			len(behind), len(d.processes), id, behind[0])
	}
	return nil
}

// mayRetire refuses keys that something needs. A process that does not know the primary key yet may still seal with
// what it was before.
func (d *keyUse) mayRetire(old []uint32, primary uint32) error {
	for _, id := range old {
		if n := d.rows[id]; n > 0 {
			return fmt.Errorf("refused: %d secrets are sealed under key %d; `vault reseal` seals them again", n, id)
		}
		if sealing := connection.SealingWith(d.processes, id); len(sealing) > 0 {
			return fmt.Errorf("refused: %d processes still seal with key %d, such as %s: they have not read the keyset "+
				"in which %d is primary yet", len(sealing), id, sealing[0], primary)
		}
	}
	return nil
}

// withDatabase opens the database that the API has, and reads what it says of the keys. The error is fs.ErrNotExist
// if the file of a SQLite database is missing: status can do without.
func (c *vaultCommand) withDatabase(ctx context.Context, do func(*keyUse) error) (err error) {
	// SQLite would make an empty one, in which no process lives and nothing is sealed.
	if path, ok := strings.CutPrefix(c.storage.databaseURL, "sqlite:"); ok {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("database: %w: --data-dir or --database-url must be those of the API", err)
		}
	}
	db, err := store.Open(store.Options{
		URL: c.storage.databaseURL, Clock: clock.RealClock{}, NewID: newID, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// Not Run, which would migrate the database, and have this command counted among the processes that must know a key.
	if err := db.Attach(ctx); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	d := &keyUse{work: db.Work()}
	// Processes before rows. The other way round, a process could seal under the old key once the rows are counted, and
	// have told that it seals under the new one when processes are read: mayRetire would let a key go that is needed.
	if d.processes, err = d.work.VaultKeys(ctx); err != nil {
		return err
	}
	if d.rows, err = d.work.SealedBy(ctx); err != nil {
		return err
	}
	return do(d)
}

// status is `vault status`. It works without a database, for a keyset that is somewhere else.
func (c *vaultCommand) status(ctx context.Context) error {
	k, err := c.read()
	if err != nil {
		return err
	}
	err = c.withDatabase(ctx, func(d *keyUse) error { return c.table(k, d) })
	// Only where there is none. One that does not answer is an error: without numbers, nothing would seem to be sealed.
	if errors.Is(err, fs.ErrNotExist) {
		c.sayf("no database: %v", err)
		return c.table(k, nil)
	}
	return err
}

// table shows the keys in the order in which they were added, and then those that secrets need and the keyset lacks.
// d is nil without a database: then nobody knows what is in the last two columns.
func (c *vaultCommand) table(k *vault.Keyset, d *keyUse) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tSTATE\tSECRETS\tKNOWN TO")
	state, ids := "older", k.Keys()
	if d != nil {
		for _, id := range sorted(d.rows) {
			if !k.Has(id) {
				ids = append(ids, id)
			}
		}
	}
	// Keys come in the order in which they were added, so state is what follows from the one before: all are older until
	// the primary one, and those behind it were added since. The missing ones are last for that reason, too.
	for _, id := range ids {
		switch {
		case id == k.Primary():
			state = "primary"
		case !k.Has(id):
			state = "missing"
		case state == "primary":
			state = "added"
		}
		secrets, known := "-", "-"
		if d != nil {
			secrets = fmt.Sprint(d.rows[id])
			known = fmt.Sprintf("%d of %d processes", len(d.processes)-len(connection.Behind(d.processes, id)), len(d.processes))
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", id, state, secrets, known)
	}
	return w.Flush()
}

func sorted(rows map[uint32]int) (ids []uint32) {
	for id := range rows {
		ids = append(ids, id)
	}
	// A map has another order each time, and so would the table.
	slices.Sort(ids)
	return ids
}

// resealPause is between two looks of a command that somebody watches.
const resealPause = time.Second

// reseal is `vault reseal`. Processes do the same at the same time, and neither harms the other. It seals by the
// keyset of FILE, whether processes have read that one by now or not. Nothing is sealed under a key that some process
// does not know yet (connection.Resealer), so until all do, it waits for them, for as long as --timeout says.
func (c *vaultCommand) reseal(ctx context.Context) error {
	k, err := c.read()
	if err != nil {
		return err
	}
	return c.withDatabase(ctx, func(d *keyUse) error {
		r, err := connection.NewResealer(connection.ResealOptions{
			Rows: d.work, Vault: vault.Fixed(k), Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler),
			Registerer: prometheus.NewRegistry(), // which nobody reads: a command is over before it could be asked
		})
		if err != nil {
			return err
		}
		var said retry.Complaint
		for total := 0; ; {
			p, err := r.Once(ctx)
			total += p.Resealed
			switch {
			case err != nil:
				return fmt.Errorf("after %d secrets: %w; what is done is done, call it again", total, err)
			case p.Waiting == 0 && p.Closed > 0:
				return fmt.Errorf("%d secrets are sealed again; %d more open with no key of this keyset: put the missing key "+
					"back (`vault status`), or connect their accounts again", total, p.Closed)
			case p.Waiting == 0:
				c.sayf("done: %d secrets are sealed again under key %d", total, k.Primary())
				return nil
			}
			if text := fmt.Sprintf("%d secrets are to be sealed again; processes that do not know key %d yet: %d",
				p.Waiting, k.Primary(), len(p.Behind)); said.Due(text, clock.RealClock{}.Now()) {
				c.sayf("%s", text)
			}
			if !retry.Pause(ctx, resealPause) {
				return fmt.Errorf("%d secrets are still to be sealed again: %w", p.Waiting, context.Cause(ctx))
			}
		}
	})
}
