package kube

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Issuer is an OpenID provider whose ID tokens the apiserver takes. Whom it names sub is PREFIX + sub, in the groups
// PREFIX + each of its claim "groups".
type Issuer struct {
	URL    string
	CA     []byte // PEM
	Client string // whose ID tokens they are
	Prefix string
}

// authenticationFile is the apiserver's --authentication-config.
func (c *Cluster) authenticationFile() string {
	return filepath.Join(c.options.Dir, "authentication.json")
}

// writeIssuers writes that file. The apiserver would take another one in, too, but only looks after ten seconds whether
// that was of use: a control plane for each is faster.
func (c *Cluster) writeIssuers() error {
	issuers, err := c.options.Issuers(c.options.Dir)
	if err != nil {
		return fmt.Errorf("issuers that the apiserver trusts: %w", err)
	}
	type object = map[string]any
	var trusted []object
	for _, i := range issuers {
		trusted = append(trusted, object{
			"issuer": object{"url": i.URL, "certificateAuthority": string(i.CA), "audiences": []string{i.Client}},
			"claimMappings": object{
				"username": object{"claim": "sub", "prefix": i.Prefix},
				"groups":   object{"claim": "groups", "prefix": i.Prefix},
			},
		})
	}
	text, err := json.Marshal(object{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": trusted,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(c.authenticationFile(), text, 0o600)
}
