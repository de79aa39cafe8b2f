// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/internal/outbound"
)

const (
	// handingFor bounds how long an API may take to give a link for a token. It is not short, because the API asks the
	// apiserver first whose token that is.
	handingFor = 30 * time.Second
	// maxHanded is more than an API has to say of it.
	maxHanded = 64 << 10
)

// safeAddress returns where an API is that a credential may be sent to: nobody on the way reads it. That of its
// dashboard is as good. A path, a query or a password in it is refused, and not dropped: then it is an address of
// something else than an API. The error is a usageError, before anything is asked for; credential is its word for what
// would be sent.
func safeAddress(text, credential string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(strings.TrimSuffix(text, "/"), dashboardPath))
	switch {
	case err != nil, u.Host == "", u.Scheme != "https" && u.Scheme != "http",
		u.User != nil, u.Path != "", u.RawQuery != "":
		return nil, usage("--api-url: want where the API is, such as https://api.example.com")
	case u.Scheme == "http" && !outbound.IsLoopback(u.Hostname()):
		return nil, usage("--api-url: your %s would be readable on its way to %s: take https, or forward a port to your "+
			"machine and take http://localhost", credential, u.Host)
	}
	return u, nil
}

// tokenFor returns a bearer token of whoever runs this, or one that they have made for a ServiceAccount of the
// namespace. A ServiceAccount's token is made without an audience, and so is for the apiserver, as a person's is: the
// dashboard acts with it there. It lasts as long as the apiserver has it by default, an hour.
func (p *plugin) tokenFor(ctx context.Context, c *cluster, serviceAccount string) (string, error) {
	if serviceAccount != "" {
		request, err := c.core.ServiceAccounts(c.namespace).
			CreateToken(ctx, serviceAccount, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			return "", fmt.Errorf("make a token for ServiceAccount %s/%s: %w", c.namespace, serviceAccount, err)
		}
		return request.Status.Token, nil
	}
	token, err := bearerToken(ctx, c.config)
	if err != nil {
		return "", err
	}
	if token == "" {
		return "", fmt.Errorf("context %s has no bearer token, but a certificate or another way to sign in, which can't be "+
			"handed over: say --service-account NAME, to be one of namespace %s that you may make tokens for "+
			"(create serviceaccounts/token)", c.context, c.namespace)
	}
	return token, nil
}

// bearerToken finds out which token a kubeconfig comes to, whether it has one, a file with one, or a program that asks
// somebody for it: it is what client-go puts into a request, which goes nowhere. "": it puts in none. The obvious way,
// reading the fields of the config, would have to repeat how client-go chooses among them. The address is one that no
// name server knows (RFC 2606), should the request ever get past headerSeen.
func bearerToken(ctx context.Context, config *rest.Config) (string, error) {
	if config.Impersonate.UserName != "" {
		return "", usage("--as can't be handed over: the dashboard would be signed in as yourself")
	}
	// The layers are those of every request to the apiserver, the program that a kubeconfig names (exec) among them.
	seen := &headerSeen{}
	layers, err := rest.HTTPWrappersForConfig(config, seen)
	if err != nil {
		return "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://nowhere.invalid", http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := layers.RoundTrip(r)
	if err != nil {
		return "", fmt.Errorf("get your token: %w", err)
	}
	_ = response.Body.Close()
	token, _ := strings.CutPrefix(seen.authorization, "Bearer ")
	if token == seen.authorization { // none, or a password
		return "", nil
	}
	return token, nil
}

// headerSeen keeps the credential of the request that it is given, and sends nothing. It stands where the network
// would, below all that client-go puts around a request.
type headerSeen struct{ authorization string }

// RoundTrip implements http.RoundTripper. The answer is one that no layer above it takes for a reason to ask again.
func (h *headerSeen) RoundTrip(r *http.Request) (*http.Response, error) {
	h.authorization = r.Header.Get("Authorization")
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

// handToken gives an API a token, and returns the link that it gives for it. The link is opened by a program of this
// machine, which opens files and other schemes as well. So only one counts that leads to the dashboard at the very
// address that was asked, whatever the API says.
func handToken(ctx context.Context, api *url.URL, token string) (link string, err error) {
	body, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, handingFor)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, api.JoinPath(dashboardPath, "handover").String(),
		bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	// As a browser says it at such addresses: an API behind a proxy that ends HTTPS can't tell by itself.
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // whoever it leads to is not whom the token was meant for
	}}
	response, err := client.Do(r)
	if err != nil {
		return "", fmt.Errorf("hand your token to the API: %w", err)
	}
	defer response.Body.Close()
	var answer struct{ Path, Error string }
	err = json.NewDecoder(io.LimitReader(response.Body, maxHanded)).Decode(&answer)
	// An absolute address in the answer replaces the host, and is found out below.
	to, wrong := api.Parse(answer.Path)
	switch {
	case response.StatusCode == http.StatusCreated && err == nil && wrong == nil && to.Scheme == api.Scheme &&
		to.Host == api.Host && strings.HasPrefix(to.Path, dashboardPath+"/"):
		return to.String(), nil
	case err == nil && answer.Error != "":
		return "", fmt.Errorf("the API does not take your token (%d): %s", response.StatusCode, answer.Error)
	}
	return "", fmt.Errorf("%s answers %d, and is no API of this version with a dashboard (--dashboard)",
		api.JoinPath(dashboardPath, "handover"), response.StatusCode)
}
