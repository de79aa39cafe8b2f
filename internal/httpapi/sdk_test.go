// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http/httptest"
	"testing"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/test/sdk"
)

// "The reference's published TypeScript SDK works unchanged": every call of it, over a socket, in both environments; on
// live also while no platform is built yet.
func TestTheReferencesSDK(t *testing.T) {
	for _, c := range []struct {
		reason      string
		environment key.Environment
		connected   bool
	}{
		{"live", key.Live, true},
		{"test", key.Test, true},
		{"live, without a platform", key.Live, false},
	} {
		t.Run(c.reason, func(t *testing.T) {
			profile := authntest.Profile(func(p *v1alpha1.Profile) { p.Name = "default" })
			k, plaintext := authntest.Minted(t, authntest.Format(t), c.environment)
			f := newFixture(t, []any{profile, k}, func(config *parts) {
				config.Clock, config.Environment = clock.RealClock{}, c.environment // deadlines of connections are by the real time
				config.Admission.Authenticator = authntest.Authenticator(t, config.Directory.(*authn.Index), c.environment, config.Clock)
				publishing(t, config, "")
				if !c.connected {
					notEnabled(config)
				}
			})
			server := httptest.NewServer(f)
			defer server.Close()
			err := sdk.Subject{
				Client:  sdk.Client{URL: server.URL, Key: plaintext},
				Profile: string(profile.UID), Connected: c.connected,
			}.Check(t.Context())
			if err != nil {
				t.Error(err)
			}
		})
	}
}
