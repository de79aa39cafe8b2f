// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import "context"

// Write is one step of Run: what is due is written.
func (k *Keeper) Write(ctx context.Context) error { return k.write(ctx, batches, false) }

// Forget deletes what is known of keys that are gone.
func (k *Keeper) Forget(ctx context.Context) error { return k.forget(ctx) }

// Fold makes longer periods of what is older.
func (k *Keeper) Fold(ctx context.Context) error { return k.fold(ctx) }

// WriteAtOnce has n keys written in one transaction.
func (k *Keeper) WriteAtOnce(n int) { k.batch = n }

// Batches is how many transactions follow one another.
const Batches = batches
