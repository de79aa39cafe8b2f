// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/internal/keyring"
	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// keysetEntry is where the keyset is in its Secret, and so the name of its file where that is mounted. The chart's
// --vault-keyset ends with it (_api.tpl).
const keysetEntry = "keyset.json"

// createSecret makes the Secret of a keyset. It only ever creates, and is permitted nothing else: one that is there
// may have sealed something, so that neither an upgrade nor a second install may touch it. The chart's job calls it,
// with a ServiceAccount of its own; the API's have no permission on Secrets at all.
func (c *vaultCommand) createSecret(ctx context.Context, k *vault.Keyset) error {
	text, err := k.Encode(c.kms)
	if err != nil {
		return err
	}
	config, err := keyring.ClusterConfig(c.kubeconfig, c.getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	// By hand and not with client-go's types: this program does not link what handles Secrets.
	core, scheme := schema.GroupVersion{Version: "v1"}, runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, core) // what the apiserver says of an error
	config.UserAgent, config.APIPath, config.GroupVersion = "letmepost-vault", "/api", &core
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return err
	}
	if c.namespace == "" {
		c.namespace = process.Namespace()
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
		"metadata": map[string]any{
			"name": c.secret, "namespace": c.namespace,
			"labels": map[string]string{"app.kubernetes.io/name": "letmepost-operator", "app.kubernetes.io/component": "vault"},
			"annotations": map[string]string{
				"letmepost.dev/about": "The keys of the vault. Without them, no account's secrets can be opened: back it up, " +
					"apart from the database.",
			},
		},
		"data": map[string][]byte{keysetEntry: text},
	})
	if err != nil {
		return err
	}
	// The type of the body is said by hand, too: to the client, which knows no Secrets, it is bytes.
	err = client.Post().Namespace(c.namespace).Resource("secrets").Body(body).
		SetHeader("Content-Type", "application/json").Do(ctx).Error()
	switch {
	case apierrors.IsAlreadyExists(err):
		c.sayf("the Secret %s/%s is there already, and is left alone", c.namespace, c.secret)
		// No error: the job runs again at each upgrade, which would fail otherwise.
		return nil
	case err != nil:
		return fmt.Errorf("make the Secret %s/%s: %w", c.namespace, c.secret, err)
	}
	c.sayf("made the Secret %s/%s with key %d; keep a copy of it where the database's backups are not",
		c.namespace, c.secret, k.Primary())
	return nil
}
