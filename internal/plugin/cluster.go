// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/discovery"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	batchclient "k8s.io/client-go/kubernetes/typed/batch/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

const (
	// fieldManager is who the apiserver says has set a field, and what its audit log has as the user agent.
	fieldManager = "kubectl-letmepost"
	// resource is always asked for below /apis/letmepost.dev/v1alpha1: there is no guessing by its name.
	resource = "apikeys"
	// page is how many keys are listed at once: few enough for an apiserver that has much to do, and many enough that ten
	// thousand are there within two seconds.
	page = 1000
)

// cluster is what the kubeconfig is about, as whoever it names. All of its clients share one connection. Its methods
// return the apiserver's errors as they are, because exit and follow look at what kind they are.
type cluster struct {
	context   string // of the kubeconfig
	namespace string // of -n, or of the context; "", which doctor sets: all of them
	config    *rest.Config
	keys      rest.Interface         // for our own resources, which have no generated client
	codec     runtime.ParameterCodec // writes options of lists and writes into the query

	core           coreclient.CoreV1Interface
	apps           appsclient.AppsV1Interface
	batch          batchclient.BatchV1Interface
	leases         coordinationclient.LeasesGetter
	authentication authenticationclient.AuthenticationV1Interface
	authorization  authorizationclient.AuthorizationV1Interface
	discovery      discovery.DiscoveryInterface
}

// scheme knows the objects that are printed, and those that are sent.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(s))
	utilruntime.Must(authenticationv1.AddToScheme(s))
	return s
}()

// cluster reads the kubeconfig and the flags that are about it. Nothing is asked of the apiserver yet. Each verb has
// one made when it runs, and not before: help, completion and a wrong command line need no kubeconfig. The error tells
// of the kubeconfig, and of no cluster.
func (p *plugin) cluster() (*cluster, error) {
	loader := p.flags.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	// The raw config is what stands in the files: --context is no part of it, and counts before it.
	c := &cluster{context: raw.CurrentContext}
	if *p.flags.Context != "" {
		c.context = *p.flags.Context
	}
	if c.namespace, _, err = loader.Namespace(); err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if c.config, err = p.flags.ToRESTConfig(); err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	c.config.UserAgent = fieldManager // so that the apiserver's audit log says what was used
	c.config.QPS = -1                 // the apiserver's priority and fairness decides, which knows who asks
	return c, c.connect()
}

// connect makes the clients, and asks nothing yet. The one for our resources has a codec that converts nothing: there
// is one version, and what the apiserver sends is shown as it is.
func (c *cluster) connect() error {
	ours := rest.CopyConfig(c.config)
	ours.APIPath, ours.GroupVersion = "/apis", &v1alpha1.GroupVersion
	ours.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.HTTPClientFor(c.config) // one for all, so that they share a connection
	if err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	var errs [8]error
	c.keys, errs[0] = rest.RESTClientForConfigAndClient(ours, client)
	c.core, errs[1] = coreclient.NewForConfigAndClient(c.config, client)
	c.apps, errs[2] = appsclient.NewForConfigAndClient(c.config, client)
	c.batch, errs[3] = batchclient.NewForConfigAndClient(c.config, client)
	c.leases, errs[4] = coordinationclient.NewForConfigAndClient(c.config, client)
	c.authentication, errs[5] = authenticationclient.NewForConfigAndClient(c.config, client)
	c.authorization, errs[6] = authorizationclient.NewForConfigAndClient(c.config, client)
	c.discovery, errs[7] = discovery.NewDiscoveryClientForConfigAndClient(c.config, client)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	c.codec = runtime.NewParameterCodec(scheme)
	return nil
}

// list returns the ApiKeys of a namespace, "" for all, that a selector of labels picks.
//
// It lists page by page. An apiserver that has compacted what the next page goes on from answers 410, and then the list
// begins anew without pages: what was read so far belongs to a state that is gone.
func (c *cluster) list(ctx context.Context, namespace, selector string) (*v1alpha1.ApiKeyList, error) {
	all := new(v1alpha1.ApiKeyList)
	options := metav1.ListOptions{LabelSelector: selector, Limit: page}
	for {
		list := new(v1alpha1.ApiKeyList)
		err := c.keys.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).
			VersionedParams(&options, c.codec).Do(ctx).Into(list)
		if apierrors.IsResourceExpired(err) && options.Continue != "" { // the list took too long: all at once, then
			all, options.Continue, options.Limit = new(v1alpha1.ApiKeyList), "", 0
			continue
		}
		if err != nil {
			return nil, err
		}
		all.ListMeta = metav1.ListMeta{ResourceVersion: list.ResourceVersion}
		all.Items = append(all.Items, list.Items...)
		if options.Continue = list.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// get reads an ApiKey of the namespace from the apiserver. That there is no such key, and that the cluster has no such
// resource, are both NotFound: isUnserved tells them apart.
func (c *cluster) get(ctx context.Context, name string) (*v1alpha1.ApiKey, error) {
	k := new(v1alpha1.ApiKey)
	return k, c.keys.Get().Namespace(c.namespace).Resource(resource).Name(name).Do(ctx).Into(k)
}

// create asks for an ApiKey, and returns it as the apiserver has it, with its defaults and its UID. Fields that the
// cluster does not know are an error, and are not dropped: a key without the limit that somebody asked for would be
// worse than none.
func (c *cluster) create(ctx context.Context, k *v1alpha1.ApiKey) (*v1alpha1.ApiKey, error) {
	made := new(v1alpha1.ApiKey)
	return made, c.keys.Post().Namespace(k.Namespace).Resource(resource).VersionedParams(&metav1.CreateOptions{
		FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict,
	}, c.codec).Body(k).Do(ctx).Into(made)
}

// annotate sets an annotation of this very ApiKey, and not of one that was made again under its name. The UID in the
// patch has the apiserver refuse it for another object (409), without a read before it.
func (c *cluster) annotate(ctx context.Context, k *v1alpha1.ApiKey, name, value string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": k.UID, "annotations": map[string]string{name: value},
	}})
	if err != nil {
		return err
	}
	return c.keys.Patch(types.MergePatchType).Namespace(k.Namespace).Resource(resource).Name(k.Name).
		VersionedParams(&metav1.PatchOptions{FieldManager: fieldManager}, c.codec).Body(patch).Do(ctx).Error()
}

// delete asks for the deletion of this very ApiKey. It returns before that is confirmed. The precondition matters where
// keys are chosen first and deleted later: a key that somebody has made meanwhile under the same name is another one. A
// dry run passes admission and its policies, and changes nothing.
//
// How what it owns goes is not said. By default that is in the background: the garbage collector takes the Secret once
// the ApiKey is gone. Orphaning it would leave a Secret in the way of the next key of that name.
func (c *cluster) delete(ctx context.Context, k *v1alpha1.ApiKey, dryRun bool) error {
	options := &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(k.UID))}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return c.keys.Delete().Namespace(k.Namespace).Resource(resource).Name(k.Name).Body(options).Do(ctx).Error()
}
