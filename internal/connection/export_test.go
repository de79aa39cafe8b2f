// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection

import "context"

// DueAtOnce is how many accounts one look takes.
const DueAtOnce = dueAtOnce

// Look is what Run does every so often.
func (k *Keeper) Look(ctx context.Context) error { return k.look(ctx) }
