// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// KeysLabeled returns at most limit ApiKeys that have this label with this value. The apiserver picks them out, so
// that an organization with many keys costs it little to send. They come in the order of their names, by which those
// beyond limit are missing.
func (c *Cluster) KeysLabeled(
	ctx context.Context, namespace, label, value string, limit int64,
) ([]v1alpha1.ApiKey, error) {
	list := new(v1alpha1.ApiKeyList)
	err := c.letmepost.Get().Namespace(namespace).Resource("apikeys").VersionedParams(&metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(labels.Set{label: value}).String(), Limit: limit,
	}, c.parameters).Do(ctx).Into(list)
	return list.Items, err
}

// UnlabelKey takes a label off the ApiKey with this UID, and off none that was made again under its name.
func (c *Cluster) UnlabelKey(ctx context.Context, namespace, name string, id types.UID, label string) error {
	if err := possible(apiKeys, name); err != nil {
		return err
	}
	// null takes a member away (RFC 7396). Where there is no such label, nothing changes, and that is no error. The UID
	// stands in the patch because a patch has no preconditions.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": id, "labels": map[string]any{label: nil}},
	})
	if err != nil {
		return err
	}
	return ofAnother(name, c.letmepost.Patch(types.MergePatchType).Namespace(namespace).Resource("apikeys").Name(name).
		VersionedParams(&metav1.PatchOptions{FieldManager: fieldManager}, c.parameters).Body(patch).Do(ctx).Error())
}
