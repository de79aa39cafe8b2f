package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Issuer is an OpenID provider whose ID tokens the apiserver takes.
type Issuer struct {
	URL    string
	CA     []byte // PEM
	Client string // whose ID tokens they are
}

// authenticationFile is the apiserver's --authentication-config.
func (c *Cluster) authenticationFile() string {
	return filepath.Join(c.options.Dir, "authentication.yaml")
}

// writeIssuer writes that file. The apiserver would take another one in, too, but only looks after ten seconds whether
// that was of use: a control plane for each is faster.
func (c *Cluster) writeIssuer() error {
	i, err := c.options.Issuer(c.options.Dir)
	if err != nil {
		return fmt.Errorf("the issuer that the apiserver trusts: %w", err)
	}
	page, err := os.ReadFile(Path("docs/dashboard.md"))
	if err != nil {
		return err
	}
	text, err := i.authentication(string(page))
	if err != nil {
		return err
	}
	return os.WriteFile(c.authenticationFile(), []byte(text), 0o600)
}

var (
	authenticationBlock = regexp.MustCompile("(?s)```yaml\n([^`]*kind: AuthenticationConfiguration\n.*?)```")
	ownAuthority        = regexp.MustCompile(`(?m)^( *)# certificateAuthority: \|.*\n *# .*\n`)
)

// authentication is the file that people are told to write, with this issuer in the place of the example's: what they
// paste is what every test stands on.
func (i Issuer) authentication(page string) (string, error) {
	block := authenticationBlock.FindStringSubmatch(page)
	if block == nil {
		return "", fmt.Errorf("docs/dashboard.md shows no AuthenticationConfiguration")
	}
	pem := strings.Split(strings.TrimSpace(string(i.CA)), "\n")
	replaced := 0
	text := ownAuthority.ReplaceAllStringFunc(block[1], func(commented string) string {
		replaced++
		indent := ownAuthority.FindStringSubmatch(commented)[1]
		return indent + "certificateAuthority: |\n" + indent + "  " + strings.Join(pem, "\n"+indent+"  ") + "\n"
	})
	for example, own := range map[string]string{"https://id.example.com": i.URL, "letmepost-live": i.Client} {
		replaced += strings.Count(text, example)
		text = strings.ReplaceAll(text, example, own)
	}
	if replaced != 3 {
		return "", fmt.Errorf("docs/dashboard.md's AuthenticationConfiguration has no URL, audience and authority to put "+
			"the test's into:\n%s", block[1])
	}
	return text, nil
}
