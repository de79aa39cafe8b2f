// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

// Len is the number of addresses that are remembered.
func (a *Addresses) Len() int { return a.meters.Len() }
