// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/retry"
)

// lookAgain is how long it takes until a watch that has ended is made anew. Without a pause, an apiserver that ends
// each watch at once would be asked in a loop. What is not watched but looked at again and again (rotate, doctor) goes
// by it, too.
const lookAgain = time.Second

// follow shows see each state of an ApiKey, nil while it is not there, until it has seen enough. It outlives watches
// that end and apiservers that are away. Its error is what no waiting helps against: that it is not allowed, or that
// ctx has ended, whose cause it is then.
//
// see is called in the caller's goroutine, never twice at once, and may see the same state again after a watch has
// ended. It must compare UIDs if it is about one object: under the name there may be another one by then. All other
// errors are waited out, as those of an apiserver that is away: whoever calls bounds that by ctx.
func (c *cluster) follow(ctx context.Context, namespace, name string, see func(*v1alpha1.ApiKey) (enough bool)) error {
	for {
		enough, err := c.followOnce(ctx, namespace, name, see)
		switch {
		case enough:
			return nil
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), isUnserved(err):
			return err
		case !retry.Pause(ctx, lookAgain):
			return context.Cause(ctx)
		}
	}
}

// followOnce is follow until a watch ends. It begins with a list of one, which any right to watch goes with, and which
// says from where on to watch when there is nothing as well.
func (c *cluster) followOnce(
	ctx context.Context, namespace, name string, see func(*v1alpha1.ApiKey) (enough bool),
) (enough bool, err error) {
	options := metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	list := new(v1alpha1.ApiKeyList)
	err = c.keys.Get().Namespace(namespace).Resource(resource).VersionedParams(&options, c.codec).Do(ctx).Into(list)
	if err != nil {
		return false, err
	}
	var now *v1alpha1.ApiKey
	if len(list.Items) > 0 {
		now = &list.Items[0]
	}
	if see(now) {
		return true, nil
	}
	options.Watch, options.ResourceVersion = true, list.ResourceVersion
	events, err := c.keys.Get().Namespace(namespace).Resource(resource).VersionedParams(&options, c.codec).Watch(ctx)
	if err != nil {
		return false, err
	}
	defer events.Stop()
	// An event that is an error, such as 410 for a version that is too old, shows nothing. The apiserver ends the watch
	// after it, and follow lists anew.
	for e := range events.ResultChan() {
		switch k, _ := e.Object.(*v1alpha1.ApiKey); e.Type {
		case watch.Added, watch.Modified:
			enough = see(k)
		case watch.Deleted:
			enough = see(nil)
		}
		if enough {
			return true, nil
		}
	}
	return false, nil
}
