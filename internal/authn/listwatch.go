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

// listWatch lists and watches one resource, of a namespace or, with metav1.NamespaceAll, of the whole cluster.
type listWatch struct {
	client      rest.Interface
	namespace   string
	resource    string
	newList     func() runtime.Object
	onForbidden func() // is called when a list is answered with 403 Forbidden. Optional
	onList      func() // is called before the first page of a list is asked for. Optional
}

// String says what is followed, to people.
func (l listWatch) String() string {
	if l.namespace == metav1.NamespaceAll {
		return l.resource
	}
	return l.resource + " of namespace " + l.namespace
}

// IsWatchListSemanticsUnSupported makes the reflector list and then watch. Streaming the first list as watch events
// costs the decoding of every object twice. And a streamed list comes as objects, not in pages that compactList could
// make small.
func (listWatch) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext returns one page, consistent with the others. ApiKeys come as listedKeys.
func (l listWatch) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	// Always the newest state. The reflector asks for "0" first, which may be answered from a stale cache, so that a
	// revoked key could come back; and after a broken watch for what it has seen last, which with a limit means exactly
	// that version: it would list the same past for ever.
	options.ResourceVersion, options.ResourceVersionMatch = "", ""
	// Without a limit, it is the rest of a list whose pages the apiserver did not remember for long enough.
	if l.onList != nil && options.Continue == "" && options.Limit > 0 {
		l.onList()
	}
	list := l.newList()
	err := l.client.Get().
		Namespace(l.namespace).
		Resource(l.resource).
		VersionedParams(&options, metav1.ParameterCodec).
		Do(ctx).
		Into(list)
	if apierrors.IsForbidden(err) && l.onForbidden != nil {
		l.onForbidden()
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", l, err)
	}
	if keys, ok := list.(*v1alpha1.ApiKeyList); ok {
		return compactList(keys), nil
	}
	return list, nil
}

// WatchWithContext returns the changes that follow a list. The reflector asks for bookmarks, by which a replica
// announces a new resourceVersion even where nothing happens. It begins at the list's resourceVersion, so nothing in
// between is missed.
func (l listWatch) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	w, err := l.client.Get().
		Namespace(l.namespace).
		Resource(l.resource).
		VersionedParams(&options, metav1.ParameterCodec).
		Watch(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", l, err)
	}
	return w, nil
}

// List completes cache.ListerWatcher; the reflector calls ListWithContext.
func (l listWatch) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), options)
}

// Watch completes cache.ListerWatcher; the reflector calls WatchWithContext.
func (l listWatch) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), options)
}
