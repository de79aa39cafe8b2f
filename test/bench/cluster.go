// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// bed is a control plane to measure on, with the project's processes as real ones.
type bed struct {
	*kube.Cluster
	client client.WithWatch
	dir    string
	format key.Format
	random *rand.ChaCha8

	started int // processes
	loaded  int // keys
}

// onBed makes a section of one that needs a bed.
func onBed(measure func(context.Context, *report, *bed) error) func(context.Context, *report) error {
	return func(ctx context.Context, r *report) (err error) {
		dir, err := os.MkdirTemp("", "lmp-bench-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		b, err := newBed(ctx, dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Stop()) }()
		return measure(ctx, r, b)
	}
}

func newBed(ctx context.Context, dir string) (*bed, error) {
	cluster, err := kube.Start(
		ctx,
		kube.Options{
			Dir: dir, UnsafeNoFsync: true, Manifests: []string{"config/crd", "config/rbac", "config/gate/rbac.yaml"},
		},
	)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(cluster.AdminConfig(), client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		return nil, err
	}
	return &bed{Cluster: cluster, client: c, dir: dir, format: format, random: rand.NewChaCha8([32]byte{2})}, nil
}

func (b *bed) namespace(ctx context.Context) (string, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	err := b.client.Create(ctx, ns)
	return ns.Name, err
}

// restClient is what the API process lists and watches with.
func (b *bed) restClient() (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	cfg := b.AdminConfig()
	cfg.GroupVersion, cfg.APIPath = &v1alpha1.GroupVersion, "/apis"
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(cfg)
}

// run starts one of the project's programs as its own ServiceAccount, and waits until it is ready.
func (b *bed) run(ctx context.Context, program, account, readyURL string, args ...string) (*kube.Process, error) {
	kubeconfig := filepath.Join(b.dir, account+".kubeconfig")
	if err := b.ServiceAccountKubeconfig(ctx, "letmepost-system", account, kubeconfig); err != nil {
		return nil, err
	}
	p, err := kube.Run(kube.Command{
		Name: program,
		Path: kube.Path("bin/" + program),
		Args: append([]string{"--kubeconfig", kubeconfig}, args...),
		Env:  kube.MinimalEnv(),
		Log:  filepath.Join(b.dir, fmt.Sprintf("%s-%d.log", program, b.started)),
	})
	b.started++
	if err != nil {
		return nil, err
	}
	return p, kube.WaitReady(ctx, http.DefaultClient, readyURL, p)
}

// runController starts the controller, and returns the URL of its metrics too.
func (b *bed) runController(ctx context.Context) (*kube.Process, string, error) {
	ports, err := kube.FreePorts(2)
	if err != nil {
		return nil, "", err
	}
	p, err := b.run(ctx, "controller", "letmepost-controller", "http://"+kube.Address(ports[1])+"/readyz",
		"--leader-elect=false", "--concurrency", fmt.Sprint(applyConcurrency),
		"--metrics-bind-address", kube.Address(ports[0]), "--health-probe-bind-address", kube.Address(ports[1]))
	return p, "http://" + kube.Address(ports[0]) + "/metrics", err
}

// load puts n served keys straight into etcd, in the form in which the apiserver stores them, and returns their
// plaintexts; minting them one by one would take longer than what is to be measured. The name of key i is "loaded-i".
// They are brought by hash: a controller misses no Secrets of theirs, and finds nothing to do.
func (b *bed) load(ctx context.Context, namespace string, n int) ([]string, error) {
	return b.loadLike(ctx, namespace, n, false)
}

// loadMinted is load for keys that were minted, with their Secrets, in organizations of keysAnOrganization each, whose
// names begin with namespace.
func (b *bed) loadMinted(ctx context.Context, namespace string, n int) error {
	_, err := b.loadLike(ctx, namespace, n, true)
	return err
}

func (b *bed) loadLike(ctx context.Context, namespace string, n int, minted bool) ([]string, error) {
	progress("loading %d ApiKeys into etcd", n)
	stored, err := b.storedExample(ctx, namespace, minted)
	if err != nil {
		return nil, err
	}
	const batch = 50 // etcd takes at most 128 puts at once
	plaintexts := make([]string, n)
	for start := 0; start < n; start += batch {
		var puts []any
		for i := start; i < min(start+batch, n); i++ {
			if plaintexts[i], err = b.format.Mint(b.random, key.Live); err != nil {
				return nil, err
			}
			if minted {
				stored.Namespace = fmt.Sprintf("%s-%d", namespace, i/keysAnOrganization)
			}
			objects, err := b.variation(stored, fmt.Sprintf("loaded-%d", i), plaintexts[i])
			if err != nil {
				return nil, err
			}
			puts = append(puts, objects...)
		}
		if err := b.etcd(ctx, "txn", map[string]any{"success": puts}, nil); err != nil {
			return nil, err
		}
	}
	return plaintexts, nil
}

// keysAnOrganization is how many keys there are in each of the organizations of loadMinted.
const keysAnOrganization = 100

// storedExample is the stored form of an ApiKey as it is once it is served: managed fields, finalizer, conditions and
// all.
func (b *bed) storedExample(ctx context.Context, namespace string, minted bool) (*v1alpha1.ApiKey, error) {
	plaintext, err := b.format.Mint(b.random, key.Live)
	if err != nil {
		return nil, err
	}
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "example-"},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive},
	}
	if minted {
		// As kubectl apply and a GitOps tool leave it.
		k.Labels = map[string]string{"app.kubernetes.io/name": "website", "app.kubernetes.io/part-of": "shop"}
		k.Annotations = map[string]string{
			corev1.LastAppliedConfigAnnotation: `{"apiVersion":"letmepost.dev/v1alpha1","kind":"ApiKey","metadata":` +
				`{"annotations":{},"labels":{"app.kubernetes.io/name":"website","app.kubernetes.io/part-of":"shop"},` +
				`"name":"website","namespace":"shop"},` +
				`"spec":{"environment":"live"}}`,
		}
	} else {
		k.Spec.SecretHash = key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(namespace)).String()
	}
	if err := b.client.Create(ctx, k); err != nil {
		return nil, err
	}
	if err := b.protect(ctx, k); err != nil {
		return nil, err
	}
	var in corev1.Namespace // whose keys they are, to whoever reads them as its person
	if err := b.client.Get(ctx, client.ObjectKey{Name: namespace}, &in); err != nil {
		return nil, err
	}
	if err := b.patchStatus(ctx, k, string(in.UID), plaintext); err != nil {
		return nil, err
	}
	var answer struct {
		KVs []struct {
			Value []byte `json:"value"`
		} `json:"kvs"`
	}
	if err := b.etcd(ctx, "range", map[string]any{"key": etcdKey(namespace, k.Name)}, &answer); err != nil {
		return nil, err
	}
	if len(answer.KVs) != 1 {
		return nil, fmt.Errorf("etcd holds %d values for %s/%s", len(answer.KVs), namespace, k.Name)
	}
	stored := new(v1alpha1.ApiKey)
	if err := json.Unmarshal(answer.KVs[0].Value, stored); err != nil {
		return nil, err
	}
	stored.GenerateName = ""
	return stored, b.unload(ctx, namespace)
}

// unload takes all ApiKeys of a namespace straight out of etcd: their finalizers ask for a controller.
func (b *bed) unload(ctx context.Context, namespace string) error {
	// The namespace's prefix ends with "/"; what follows that is "0".
	first, end := etcdKey(namespace, ""), etcdKey(namespace, "")
	end[len(end)-1]++
	return b.etcd(ctx, "deleterange", map[string]any{"key": first, "range_end": end}, nil)
}

// protect puts the finalizer on, as the controller does.
func (b *bed) protect(ctx context.Context, k *v1alpha1.ApiKey) error {
	old := k.DeepCopy()
	k.Finalizers = append(k.Finalizers, v1alpha1.FinalizerRevocation)
	return b.client.Patch(ctx, k, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{}))
}

// patchStatus writes the status that the controller writes.
func (b *bed) patchStatus(ctx context.Context, k *v1alpha1.ApiKey, organizationID, plaintext string) error {
	now := metav1.NewTime(time.Now())
	old := k.DeepCopy()
	k.Status = v1alpha1.ApiKeyStatus{
		Hint:           b.format.Prefix(key.Live) + "…",
		OrganizationID: organizationID, MintedAt: &now, ObservedGeneration: 1,
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonActive,
			Message: "The key is served", ObservedGeneration: 1, LastTransitionTime: now,
		}},
	}
	k.Status.Hash = key.DigestOf(plaintext).BoundTo(lifecycle.OwnerOf(k, k.Status.OrganizationID)).String()
	if name := k.SecretName(); name != "" {
		k.Status.Hint, k.Status.Binding = b.format.Hint(plaintext), &v1alpha1.Binding{Name: name}
		k.Status.Conditions = append(k.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionSecretAvailable, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSecretCreated,
			Message: secretAvailable(name), ObservedGeneration: 1, LastTransitionTime: now,
		})
	}
	return b.client.Status().Patch(ctx, k, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{}))
}

// variation returns what puts another key like k into etcd and, if k was minted, its Secret.
func (b *bed) variation(k *v1alpha1.ApiKey, name, plaintext string) ([]any, error) {
	k = k.DeepCopy()
	k.Name, k.UID = name, types.UID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", b.loaded))
	b.loaded++
	k.Status.Hash = key.DigestOf(plaintext).BoundTo(lifecycle.OwnerOf(k, k.Status.OrganizationID)).String()
	if k.Spec.SecretHash != "" {
		k.Spec.SecretHash = k.Status.Hash
		put, err := putting(etcdKey(k.Namespace, name), k)
		return []any{put}, err
	}
	k.Status.Hint, k.Status.Binding = b.format.Hint(plaintext), &v1alpha1.Binding{Name: name}
	meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionSecretAvailable).Message = secretAvailable(name)
	s := keysecret.Encode(k, plaintext, "https://api.letmepost.dev")
	s.UID, s.CreationTimestamp = k.UID, k.CreationTimestamp
	putKey, err := putting(etcdKey(k.Namespace, name), k)
	if err != nil {
		return nil, err
	}
	putSecret, err := putting([]byte("/registry/secrets/"+k.Namespace+"/"+name), s)
	return []any{putKey, putSecret}, err
}

// putting is the request that puts an object into etcd.
func putting(at []byte, object any) (any, error) {
	value, err := json.Marshal(object)
	return map[string]any{"request_put": map[string]any{"key": at, "value": value}}, err
}

func secretAvailable(name string) string { return "Secret " + name + " holds the key" }

func etcdKey(namespace, name string) []byte {
	return []byte("/registry/" + v1alpha1.GroupVersion.Group + "/apikeys/" + namespace + "/" + name)
}

// etcd calls its JSON gateway. Byte slices travel as base64 both ways.
func (b *bed) etcd(ctx context.Context, call string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.EtcdURL()+"/v3/kv/"+call, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf(
			"etcd %s: %s %s: %w",
			call,
			resp.Status,
			base64.StdEncoding.EncodeToString(text[:min(len(text), 100)]),
			err,
		)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
