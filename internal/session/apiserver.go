// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// askTimeout bounds each request to the apiserver: somebody is looking at a page that waits for it.
const askTimeout = 10 * time.Second

// Apiserver is where people's credentials are good. It has none of its own: whatever is asked through it is asked in
// the name of a person, and never in that of this process. It is safe for concurrent use.
type Apiserver struct {
	config     *rest.Config // without credentials
	transport  http.RoundTripper
	parameters runtime.ParameterCodec
}

// NewApiserver takes from config where the apiserver is and whom it is certified by, and nothing else. It dials
// nothing.
func NewApiserver(config *rest.Config) (*Apiserver, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		v1alpha1.AddToScheme, corev1.AddToScheme, authorizationv1.AddToScheme, authenticationv1.AddToScheme,
		coordinationv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	anonymous := rest.AnonymousClientConfig(config)
	anonymous.UserAgent = "letmepost-dashboard" // the apiserver's audit log tells it from the rest of this process
	anonymous.QPS = -1                          // the apiserver's priority and fairness decides, which knows the person
	anonymous.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	// One for everybody: connections are shared, and each request says whose it is.
	transport, err := rest.TransportFor(anonymous)
	if err != nil {
		return nil, fmt.Errorf("client for the dashboard: %w", err)
	}
	return &Apiserver{anonymous, transport, runtime.NewParameterCodec(scheme)}, nil
}

// As returns the cluster as whoever has this bearer token reaches it. Nothing is asked yet.
func (a *Apiserver) As(token string) (*Cluster, error) {
	c := &Cluster{parameters: a.parameters, rights: rights{known: map[Right]answer{}}}
	client := &http.Client{Transport: &person{a.transport, "Bearer " + token, c}, Timeout: askTimeout}
	for _, of := range []struct {
		group schema.GroupVersion
		to    *rest.Interface
	}{
		{v1alpha1.GroupVersion, &c.letmepost},
		{corev1.SchemeGroupVersion, &c.core},
		{authorizationv1.SchemeGroupVersion, &c.authorization},
		{authenticationv1.SchemeGroupVersion, &c.authentication},
		{coordinationv1.SchemeGroupVersion, &c.coordination},
	} {
		config := rest.CopyConfig(a.config)
		config.APIPath, config.GroupVersion = "/apis", &of.group
		if of.group.Group == "" {
			config.APIPath = "/api"
		}
		r, err := rest.RESTClientForConfigAndClient(config, client)
		if err != nil {
			return nil, fmt.Errorf("client for a person: %w", err)
		}
		*of.to = r
	}
	return c, nil
}

type callsKey struct{}

// CountCalls has the requests to the apiserver counted that are made in a context: those of one page, of which its
// person may be waiting for several. Cluster.Calls has those of a whole session.
func CountCalls(ctx context.Context, calls *atomic.Int64) context.Context {
	return context.WithValue(ctx, callsKey{}, calls)
}

// person makes each request theirs, counts it, and notes whether they are still known. It stands below all clients,
// so that none of them can send anything that is not the person's, or is not counted.
type person struct {
	transport     http.RoundTripper
	authorization string
	of            *Cluster
}

func (p *person) RoundTrip(r *http.Request) (*http.Response, error) {
	// A RoundTripper must not change the request that it is given (net/http).
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", p.authorization)
	p.of.calls.Add(1)
	if n, ok := r.Context().Value(callsKey{}).(*atomic.Int64); ok {
		n.Add(1)
	}
	response, err := p.transport.RoundTrip(r)
	// About the credential; what its person may not do is a 403, and ends nothing.
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		p.of.refused.Store(true)
	}
	return response, err
}
