// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

// IDOf is by which the row of a session is found.
func IDOf(token string) string { return idOf(token) }

// MaxAsking is how many credentials are asked about at once.
const MaxAsking = maxAsking

// Refuse is as if the apiserver had just refused a person's credential.
func Refuse(p *Person) { p.Cluster.refused.Store(true) }
