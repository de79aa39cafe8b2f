// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// source lists and watches one resource, of a namespace or, with metav1.NamespaceAll, of the whole cluster.
type source struct {
	client    rest.Interface
	namespace string
	resource  string
	newList   func() runtime.Object
	forbidden func() // is called when a list is answered so. Optional
}

// String says what is followed, to people.
func (s source) String() string {
	if s.namespace == metav1.NamespaceAll {
		return s.resource
	}
	return s.resource + " of namespace " + s.namespace
}

// IsWatchListSemanticsUnSupported makes the reflector list and then watch. Streaming the first list as watch events
// costs the decoding of every object twice.
func (source) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext returns one page, consistent with the others. ApiKeys come as listedKeys.
func (s source) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	// Always the newest state. The reflector asks for "0" first, which may be answered from a stale cache, so that a
	// revoked key could come back; and after a broken watch for what it has seen last, which with a limit means exactly
	// that version: it would list the same past for ever.
	options.ResourceVersion, options.ResourceVersionMatch = "", ""
	list := s.newList()
	err := s.client.Get().
		Namespace(s.namespace).
		Resource(s.resource).
		VersionedParams(&options, metav1.ParameterCodec).
		Do(ctx).
		Into(list)
	if apierrors.IsForbidden(err) && s.forbidden != nil {
		s.forbidden()
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s, err)
	}
	if keys, ok := list.(*v1alpha1.ApiKeyList); ok {
		return listed(keys), nil
	}
	return list, nil
}

// WatchWithContext returns the changes that follow a list.
func (s source) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	w, err := s.client.Get().
		Namespace(s.namespace).
		Resource(s.resource).
		VersionedParams(&options, metav1.ParameterCodec).
		Watch(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", s, err)
	}
	return w, nil
}

// List and Watch complete cache.ListerWatcher; the reflector calls the two above.

func (s source) List(options metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), options)
}

func (s source) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), options)
}
