// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/keyring"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/internal/use"
)

// callers is what lets callers in, and what is known of them.
type callers struct {
	admission *admission.Admission
	uses      *use.Keeper
	sessions  *session.Manager // nil: the dashboard is switched off
	provider  *oidc.Provider   // that people sign in by; nil: there is none
}

// newCallers makes what lets callers in, and what writes down the use of their keys: as the keyring counts it, under
// the name by which a revocation tells of this process. While the process may rely on its keyring, a key that is not in
// that is gone.
func newCallers(
	o options, kubeconfigEnv string, keys *keyring.Keyring, p *publishing, registry prometheus.Registerer,
	logger *slog.Logger,
) (who callers, err error) {
	if who.provider, err = o.oidc.provider(o.publicURL); err != nil {
		return who, err
	}
	if who.sessions, err = newSessions(o, kubeconfigEnv, keys, p, who.provider, logger); err != nil {
		return who, err
	}
	if who.admission, err = newAdmission(o, keys, p, who.sessions); err != nil {
		return who, err
	}
	who.uses, err = use.New(use.Options{
		Index: keys.Index, Store: p.store, Environment: o.environment, Replica: keys.ShownName(),
		// Partial, because the index has no keys of namespaces that are not watched: what is noted of their use is not to be
		// taken for that of keys that are gone, and forgotten.
		Complete: keys.Serving, Partial: len(o.keys.Watched) > 0,
		Clock: clock.RealClock{}, Logger: logger, Registerer: registry,
	})
	return who, err
}
