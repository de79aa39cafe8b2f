// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"slices"

	"k8s.io/utils/ptr"
)

// Live lists the Leases, and names the replicas that have not expired: those that may accept keys. None: no process
// accepts any, unless one registers after the list was sent.
func (b *Barrier) Live(ctx context.Context) ([]string, error) {
	s, err := b.list(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for i := range s.leases {
		l := &s.leases[i]
		if r := b.replicas[l.Name]; r == nil || !r.expired(s.asked) {
			names = append(names, l.Name+" ("+ptr.Deref(l.Spec.HolderIdentity, "")+")")
		}
	}
	slices.Sort(names)
	return names, nil
}
